"""Several messages in one signed request, for endpoints that ask for it (`batch`).

Which go together is decided when they are sent: up to so many messages and bytes, once there are enough or the first
has waited long enough. The batch's number is its first message's id. It is stored with the first failure, so that every
later try sends the same messages under the same `webhook-id` (`batch_…`). Where the receiver answers 400 or 413, or the
schedule is over, each message goes on alone: one that it cannot take must not hold back the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gatepost import ids
from gatepost.deliveries.backpressure import pause_of
from gatepost.deliveries.shape import Shape, ShapeError, Unwanted
from gatepost.destinations.base import Result
from gatepost.lifecycle import State
from gatepost.stores.base import Completion

if TYPE_CHECKING:
    from gatepost.deliveries.engine import Deliveries, _Job
    from gatepost.deliveries.payloads import Payload

ALONE: Final = 0  # the batch number of what goes on by itself
SPLIT: Final = frozenset({400, 413})


class Together:
    """One batch, from its turn until its result. `jobs[0]` leads: it alone counts as a request under way."""

    __slots__ = ("_engine", "_missing", "jobs")

    def __init__(self, engine: Deliveries, jobs: Sequence[_Job]) -> None:
        self._engine = engine
        self._missing = len(jobs)
        self.jobs = list(jobs)

    def begin(self) -> None:
        for job in self.jobs:
            payload = self._engine._payloads.get(job.message)
            if payload is not None:
                self._arrived(job, payload)
            else:
                self._engine._payloads.want(job.message, lambda found, job=job: self._arrived(job, found))  # type: ignore[misc]

    def _arrived(self, job: _Job, payload: Payload | None) -> None:
        if payload is not None:
            job.payload = payload
        else:
            job.gone = True
        self._missing -= 1
        if not self._missing and self.jobs[0] in self._engine._jobs:
            # Not at once: what ends without a request would nest as deep as the lane is long.
            self._engine._loop.call_soon(self._send)

    def _send(self) -> None:
        engine = self._engine
        leader = self.jobs[0]
        lane = leader.lane
        if leader not in engine._jobs:
            return
        if lane.paused or lane.endpoint not in engine._endpoints:
            engine._abandon_all(self.jobs)
            return
        endpoint = engine._endpoints[lane.endpoint]
        sender = engine._sender(lane.endpoint)
        shape = engine._shapes.get(lane.endpoint)
        batching = endpoint.settings.batch
        if shape is None or batching is None:
            engine._abandon_all(self.jobs)  # it asks for no batches any more: they are read again, and go alone
            return
        going: list[_Job] = []
        ended: list[_Job] = []
        left: list[_Job] = []
        size = 2
        for place, job in enumerate(self.jobs):
            job.endpoint = endpoint
            if job.gone or self._fails(job, shape):
                ended.append(job)
                continue
            size += len(shape.part(job.payload)) + 1
            if going and size > batching.bytes and lane.batch_of.get(job.message) is None:
                left = self.jobs[place:]
                break
            going.append(job)
        self.jobs = going
        if going and going[0] is not leader:
            leader.follows, going[0].follows = True, False
        for job in ended:
            engine._end_alone(job, shape)
        if left:
            engine._put_back(left)
        if not going:
            engine._over(lane, leader.probe, ok=True)
            engine._go_on(lane)
            return
        body = shape.batch([job.payload for job in going])
        number = lane.batch_of.get(going[0].message) or going[0].message
        sending = sender.send(ids.encode("batch", number).encode(), body, self._done)
        for job in going:
            job.sending = sending

    def _fails(self, job: _Job, shape: Shape) -> bool:
        try:
            shape.part(job.payload)
        except (ShapeError, Unwanted):
            return True
        return False

    def _done(self, result: Result) -> None:
        engine = self._engine
        leader = self.jobs[0]
        lane = leader.lane
        pause = None if result.ok else pause_of(result, lane.strain)
        completions = [self._completion(job, result, pause) for job in self.jobs]
        if not result.ok:
            engine._judge(leader, result, pause)
            self._keep_together(completions, result)
        elif engine._health.states:
            engine._recovered(lane)
        engine._over(lane, leader.probe, ok=result.ok)
        for job, completion in zip(self.jobs, completions, strict=True):
            engine.delivered += result.ok
            engine.failed += not result.ok
            engine._record(job, completion)
        engine._go_on(lane)

    def _completion(self, job: _Job, result: Result, pause: float | None) -> Completion:
        lane = job.lane
        return self._engine._attempts.completion(
            job.message,
            job.endpoint,
            job.tries,
            job.payload,
            result,
            manual=job.message in lane.manual,
            since=lane.since.get(job.message),
            pause=pause,
        )

    def _keep_together(self, completions: Sequence[Completion], result: Result) -> None:
        """All of them at the same moment again, or each alone from now on."""
        if len(completions) == 1:
            return
        first = completions[0]
        split = result.status in SPLIT or any(c.state is not State.PENDING for c in completions)
        now = result.started + result.duration
        number = self.jobs[0].lane.batch_of.get(self.jobs[0].message) or self.jobs[0].message
        for completion in completions:
            completion.state = State.PENDING
            completion.due = now if split else first.due
            completion.batch = ALONE if split else number
