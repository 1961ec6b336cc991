"""`Deliveries`: brings what the store holds to its endpoints.

Everything runs on the event loop, as callbacks; a task is made only to read from the store. What is true stands in the
store: memory may be dropped at any moment, and a delivery counts as made once its completion is committed.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from gatepost import ids, log
from gatepost.clock import Clock
from gatepost.config.schema import Deliveries as Settings
from gatepost.deliveries.agenda import Agenda
from gatepost.deliveries.attempt import Attempts, cancelled, expired, late
from gatepost.deliveries.backpressure import GONE, OVERLOADED, pause_of, rest_after
from gatepost.deliveries.batches import Together
from gatepost.deliveries.health import Health
from gatepost.deliveries.lane import Lane, split_due, whole_batches
from gatepost.deliveries.order import Order
from gatepost.deliveries.pace import Pace
from gatepost.deliveries.payloads import Payload, Payloads
from gatepost.deliveries.replays import Replays
from gatepost.deliveries.reports import FAILING, Reports
from gatepost.deliveries.shape import Shape, ShapeError, Unwanted, shape_of
from gatepost.deliveries.turns import Turns
from gatepost.destinations.base import Destination, Result, Sender, Sending
from gatepost.errors import StoreUnavailable
from gatepost.model import Delivery, Endpoint, LaneState
from gatepost.stores.base import Completion, NewMessage, Store
from gatepost.stores.delivering import BEFORE_ALL

READS: Final = 4  # reads of the store under way at once
READ_ROWS: Final = 256  # keys a read: sixteen rounds of a full window
READ_GAP: Final = 0.1  # seconds between two reads of one lane that only retries ask for
KEYS: Final = 200_000  # keys in all lanes (about 150 bytes each); beyond, a lane holds no more than READ_ROWS
UNCOMMITTED: Final = 2_000  # completions that may wait for their commit before sending pauses
COMMIT_RETRY: Final = 0.25  # seconds until a completion is handed in again that a writable store refused
READ_RETRY: Final = 1.0  # seconds until a read that failed is made again
FOREVER: Final = 1e12  # Unix seconds
SKIP_LOOK: Final = 1_000  # ordering keys that are looked at for the one that holds up the line
LONGEST_NAP: Final = 60.0  # seconds: the wall clock may jump, timers follow the other one


class Deliveries:
    """The delivery engine of one node, which owns every lane. Made once; `store.on_commit(deliveries.accept)`, then
    `start`, then `stop`.

    The plain numbers `delivered`, `failed` (attempts), `in_flight`, `waiting` (lanes that could send) and `held`
    (keys in memory) are for metrics.
    """

    def __init__(
        self,
        store: Store,
        destination: Destination,
        settings: Settings,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        dice: random.Random | None = None,
    ) -> None:
        self._store = store
        self._destination = destination
        self._clock = clock
        self._loop = loop
        self._endpoints: Final = store.directory.endpoints
        self._lane_keys = settings.lane_keys
        self._concurrency = settings.concurrency
        self._turns = Turns(settings.connections)
        self._agenda = Agenda()
        self._attempts = Attempts(
            settings.schedule,
            settings.jitter,
            (dice or random.Random()).random,  # noqa: S311 - it spreads retries
            ordered_schedule=settings.ordered_schedule,
            deadline=settings.deadline,
        )
        self._payloads = Payloads(settings.payload_cache, store.messages, loop)
        self._lanes: dict[int, Lane] = {}
        self._disabled = {key for key, endpoint in self._endpoints.items() if endpoint.disabled}
        self._in_order: set[int] = set()  # endpoints that may have something pending that goes in order
        self._paces: dict[int, Pace] = {}  # by app, of those with one
        self._rests = Agenda()  # by monotonic time: when which lane has rested
        self._rest_timer: asyncio.TimerHandle | None = None
        self._health = Health(settings.disable_after)
        self._writes: set[asyncio.Task[None]] = set()
        self.reports = Reports(store.directory)
        self.replays = Replays(store, clock, self._woken)
        self._senders: dict[int, Sender] = {}
        self._shapes: dict[int, Shape] = {}  # of those with a sender that do not get payloads as they came
        self._app_name = store.directory.app_name
        self._api_url = settings.api_url
        self._to_read: deque[Lane] = deque()
        self._reads: set[asyncio.Task[None]] = set()
        self._jobs: set[_Job] = set()  # in flight, or to be committed
        self._uncommitted: list[_Job] = []  # the store refused their completions; they are handed in again
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = FOREVER
        self._running = False
        self._blocked = False  # the store cannot write: sending on would only repeat what cannot be recorded
        self._drained: asyncio.Future[None] | None = None
        self.delivered = 0
        self.failed = 0
        self.held = 0
        self._owned = store.lanes
        self._leased = not math.isinf(self._owned.until)  # others may take the lanes of a node that does not renew
        self._again: set[tuple[int, int]] = set()  # (endpoint, message) to be sent again once a try is recorded
        self._recorded = asyncio.Event()  # something that was in flight is
        self._owned.listener = self
        store.directory.watch(self._endpoint_changed)
        store.on_writable(self._writable_changed)

    @property
    def in_flight(self) -> int:
        return self._turns.in_flight

    @property
    def waiting(self) -> int:
        return len(self._turns)

    # life

    async def start(self) -> None:
        """Take up what the store holds. Reads one time an endpoint; the deliveries themselves when they are due."""
        self._running = True  # what is accepted while the store is read may be missing in its answer
        self._health.load(await self._store.lane_states())
        self._agenda.load(await self._store.next_due())
        await self._find_ordered(self._owned.owns)
        self.wake()
        self.replays.start()

    async def stop(self, grace: float) -> None:
        """Send nothing new; wait up to `grace` seconds until what is in flight is recorded; cut off the rest, which
        is sent again after the next start."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        await self.replays.stop()
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._payloads.close()
        for task in self._reads:
            task.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)
        for job in [job for job in self._jobs if job.sending is None and job.completion is None]:
            self._abandon(job)  # it waited for its payload
        if self._jobs:
            self._drained = self._loop.create_future()
            await asyncio.wait([self._drained], timeout=grace)
        for job in list(self._jobs):
            if job.completion is None and job.sending is not None:
                job.sending.cancel()
        self._jobs.clear()

    # what comes in

    def accept(self, messages: Sequence[NewMessage]) -> None:
        """These were committed: hand them to their endpoints' lanes. Called by the store, in commit order."""
        if not self._running:
            return  # the store has them; `start` finds them there
        lanes = self._lanes
        room = self._room()
        for message in messages:
            if not message.endpoints:
                continue
            self._payloads.put(message)
            orders = message.orders
            for key in message.endpoints:
                if orders is not None and key in orders:
                    self._ordered_news(key)
                    continue
                lane = lanes.get(key) or self._open(key)
                if lane is not None and lane.add(message.id, room):
                    self.held += 1
                    if not lane.queued:
                        self._turns.join(lane)
                elif lane is not None and lane.spilled:
                    self._tell_backlog(lane)
                    self._plan_read(lane)
        self._pump()

    async def resend(self, message: int, endpoint: int) -> Delivery | None:
        """Send it again, now, as a person asked. None if the store knows no such message. Raises StoreUnavailable."""
        now = self._clock.now()
        delivery = await self._store.resend(message, endpoint, now)
        if delivery is not None and self._running:
            lane = self._lanes.get(endpoint) or self._open(endpoint)
            if lane is None:
                return delivery  # deleted, or disabled: it waits on disk
            if len(lane.held) < self._lane_keys + READ_ROWS:
                if lane.add_manual(message, delivery.tries, now):
                    self.held += 1
                    self._turns.join(lane)
                    self._pump()
                elif all(ready != message for ready, _ in lane.ready):
                    # A try is under way, and what comes of it would be the last word: it is asked for again then.
                    self._again.add((endpoint, message))
            else:
                lane.spilled = True
        return delivery

    async def skip(self, endpoint: int, message: int | None = None) -> int | None:
        """Cancel what holds up an endpoint that gets its messages in order, so that the next one goes: `message`, or
        the oldest that has failed and waits for its next try. Returns which, None if there is none. Raises
        StoreUnavailable."""
        if message is None:
            heads = await self._store.heads(endpoint, BEFORE_ALL, SKIP_LOOK)
            message = min((head.message for head in heads if head.tries), default=None)
            if message is None:
                return None
        # First on disk: until then it holds its place in memory, so that no read brings it back.
        skipped = await self._store.skip(message, endpoint)
        lane = self._lanes.get(endpoint)
        for job in [job for job in self._jobs if job.lane is lane and job.message == message]:
            if job.completion is None:
                if job.sending is not None:
                    job.sending.cancel()
                self._abandon(job)
        if lane is not None and lane.drop(message):
            self.held -= 1
        if self._running:
            self._ordered_news(endpoint)
            self._pump()
        return message if skipped else None

    def wake(self) -> None:
        """Look at the agenda: lanes with something due read it from the store, those that have rested go on."""
        if not self._running:
            return
        self._end_rests()
        for key in self._agenda.take(self._clock.now()):
            lane = self._lanes.get(key) or self._open(key)
            if lane is not None:
                lane.overdue = True
                if lane.order is not None:
                    lane.order.news = True
                self._plan_read(lane)
        self._set_timer()

    # lanes

    def _open(self, key: int) -> Lane | None:
        """A new lane; None where the endpoint is gone, or disabled (it is opened when that ends), or another node's."""
        endpoint = self._endpoints.get(key)
        if endpoint is None or endpoint.disabled or not self._owned.owns(key):
            return None
        lane = self._lanes[key] = Lane(key, self._concurrency)
        self._dress(lane, endpoint)
        until = self._health.paused_until(key)
        if until is not None and until > (now := self._clock.now()):
            self._rest(lane, until - now)
        return lane

    def _dress(self, lane: Lane, endpoint: Endpoint) -> None:
        """Give a lane what its endpoint's settings say."""
        lane.limit(endpoint.settings.concurrency or self._concurrency)
        lane.batching = endpoint.settings.batch
        rate = endpoint.rate_limit
        if not rate:
            lane.pace = None
        elif lane.pace is None:
            lane.pace = Pace(rate)
        else:
            lane.pace.rate = rate
        app = self._store.directory.apps.get(endpoint.app)
        throttle = None if app is None else app.throttle_rate
        if throttle:
            self._paces.setdefault(endpoint.app, Pace(throttle)).rate = throttle
        else:
            self._paces.pop(endpoint.app, None)
        lane.paced = bool(rate or throttle)
        if lane.order is None and (endpoint.settings.ordering or endpoint.key in self._in_order):
            lane.order = Order()

    def _close_if_idle(self, lane: Lane) -> None:
        if lane.idle:
            self._lanes.pop(lane.endpoint, None)

    def _endpoint_changed(self, key: int, endpoint: Endpoint | None) -> None:
        self._senders.pop(key, None)
        self._shapes.pop(key, None)
        lane = self._lanes.get(key)
        if endpoint is not None and lane is not None:
            self._dress(lane, endpoint)
        self._tell_changed(key, endpoint)
        if endpoint is None:
            self._agenda.forget(key)
            self._rests.forget(key)
            self._in_order.discard(key)
            for job in [job for job in self._jobs if job.lane.endpoint == key and job.completion is None]:
                if job.sending is not None:
                    job.sending.cancel()
                self._abandon(job)
            if lane is not None:
                self._pause(lane)
                del self._lanes[key]
            self._pump()
        elif endpoint.disabled:
            if lane is not None and not lane.paused:
                self._pause(lane)
        elif self._running and (lane is None or lane.paused) and self._owned.owns(key):
            # New, or enabled again: only the store knows whether something waits.
            lane = lane or self._open(key)
            if lane is not None:
                lane.resume()
                self._plan_read(lane)

    def _pause(self, lane: Lane) -> None:
        before = len(lane.held)
        lane.pause()
        self.held -= before - len(lane.held)

    def _room(self) -> int:
        return self._lane_keys if self.held < KEYS else min(self._lane_keys, READ_ROWS)

    # reads

    def _plan_read(self, lane: Lane) -> None:
        if (
            self._running
            and not lane.read_planned
            and (lane.wants_read(self._room()) or (lane.order is not None and self._wants_heads(lane, lane.order)))
        ):
            lane.read_planned = True
            self._to_read.append(lane)
            self._start_reads()

    def _start_reads(self) -> None:
        while self._to_read and len(self._reads) < READS and self._running:
            lane = self._to_read.popleft()
            lane.read_planned = False
            if lane.wants_read(self._room()):
                self._begin_read(self._read(lane, lane.read_begins()))
            if lane.order is not None and self._wants_heads(lane, lane.order):
                self._begin_read(self._read_heads(lane, lane.order, lane.order.read_begins()))

    def _begin_read(self, read: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(read, name="gatepost-lane-read")
        self._reads.add(task)
        task.add_done_callback(self._read_over)

    def _read_over(self, task: asyncio.Task[None]) -> None:
        self._reads.discard(task)
        if not task.cancelled():
            task.result()  # a fault of the store is not hidden: it goes to the loop's exception handler
        self._start_reads()

    async def _read(self, lane: Lane, skip: frozenset[int]) -> None:
        limit = min(max(1, self._room() - len(lane.held)), READ_ROWS)
        try:
            rows = await self._store.due(lane.endpoint, FOREVER, limit, skip=skip)
        except Exception as error:
            lane.read_failed()
            self._agenda.note(lane.endpoint, self._clock.now() + READ_RETRY)
            self._set_timer()
            if isinstance(error, StoreUnavailable):
                return
            raise
        now = self._clock.now()
        due, whole, later = split_due(rows, now, limit)
        if not whole:
            due = whole_batches(due)
        self.held += lane.read_done(due, whole=whole)
        if later is not None and lane.endpoint in self._endpoints:
            self._agenda.note(lane.endpoint, max(later, now + READ_GAP))
            self._set_timer()
        self._turns.join(lane)
        self._plan_read(lane)
        self._close_if_idle(lane)
        self._pump()

    # what goes in order

    def _ordered_news(self, key: int) -> None:
        """There may be a head on disk that memory does not have."""
        self._in_order.add(key)
        lane = self._lanes.get(key) or self._open(key)
        if lane is not None:
            if lane.order is None:
                lane.order = Order()
            lane.order.news = True
            self._plan_read(lane)

    async def _find_ordered(self, owns: Callable[[int], bool]) -> None:
        now = self._clock.now()
        for key in await self._store.lanes_in_order():
            if owns(key):
                self._in_order.add(key)
                self._agenda.note(key, now)

    def _wants_heads(self, lane: Lane, order: Order) -> bool:
        return order.wants_read(self._room()) and not lane.paused

    async def _read_heads(self, lane: Lane, order: Order, after: int) -> None:
        limit = min(max(1, self._room() - len(lane.held)), READ_ROWS)
        try:
            heads = await self._store.heads(lane.endpoint, after, limit)
        except Exception as error:
            order.read_failed()
            self._agenda.note(lane.endpoint, self._clock.now() + READ_RETRY)
            self._set_timer()
            if isinstance(error, StoreUnavailable):
                return
            raise
        ready = order.found(heads, self._clock.now(), limit)
        if lane.paused or self._lanes.get(lane.endpoint) is not lane:
            order.give_back(head.message for head in ready)
            return
        self.held += lane.heads_found(ready)
        due = order.take_due()
        if due is not None:
            self._agenda.note(lane.endpoint, due)
            self._set_timer()
        self._turns.join(lane)
        self._plan_read(lane)
        self._close_if_idle(lane)
        self._pump()

    # rests

    def _rest(self, lane: Lane, seconds: float) -> None:
        """Send nothing of this lane for so long."""
        until = self._clock.monotonic() + seconds
        lane.resting = True
        lane.rest_until = max(lane.rest_until, until)
        self._rests.note(lane.endpoint, until)
        self._set_rest_timer()

    def _end_rests(self) -> None:
        now = self._clock.monotonic()
        for key in self._rests.take(now):
            lane = self._lanes.get(key)
            if lane is None:
                continue
            if lane.rest_until > now:
                self._rests.note(key, lane.rest_until)
                continue
            lane.resting = False
            self._turns.join(lane)  # what gathered goes, too
            self._plan_read(lane)
            self._close_if_idle(lane)
        self._set_rest_timer()
        self._pump()

    def _set_rest_timer(self) -> None:
        until = self._rests.earliest()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        if until is not None and self._running:
            self._rest_timer = self._loop.call_later(max(0.0, until - self._clock.monotonic()), self._end_rests)

    def _in_time(self, lane: Lane) -> bool:
        """Whether this lane's next place has come, at its own pace and its app's. If not, it rests until then."""
        if lane.reserved:
            lane.reserved = False
            return True
        at = now = self._clock.monotonic()
        if lane.pace is not None:
            at = lane.pace.reserve(now)
        endpoint = self._endpoints.get(lane.endpoint)
        pace = None if endpoint is None else self._paces.get(endpoint.app)
        if pace is not None:
            at = max(at, pace.reserve(now))
        if at <= now:
            return True
        lane.reserved = True
        self._rest(lane, at - now)
        return False

    # what becomes of endpoints

    def _judge(self, job: _Job, result: Result, pause: float | None) -> None:
        """A try failed: what that says of the receiver."""
        lane, key = job.lane, job.lane.endpoint
        now = self._clock.now()
        if pause is not None or result.status in OVERLOADED:
            rest = rest_after(lane.strain) if pause is None else pause
            if not lane.resting:
                lane.strain += 1
            lane.narrow()
            self._rest(lane, rest)
        state = self._health.failed(key, now, None if pause is None else now + pause)
        if result.status == GONE:
            self._disable(key, now, "the receiver answered 410 Gone")
        elif self._health.is_hopeless(key, now):
            self._disable(key, now, "every attempt has failed for too long")
        elif state is not None:
            self._later(self._store.put_lane_state(state))

    def _recovered(self, lane: Lane) -> None:
        """A try succeeded where others had failed."""
        lane.strain = 0
        state = self._health.succeeded(lane.endpoint)
        if state is not None:
            self._later(self._store.put_lane_state(state))

    def _disable(self, key: int, now: float, reason: str) -> None:
        endpoint = self._endpoints.get(key)
        if endpoint is not None and not endpoint.disabled:
            state = self._health.disabled(key, now, reason)
            log.event("endpoint_disabled", level="warning", endpoint=ids.encode("ep", endpoint.id), reason=reason)
            self._later(self._store.disable_endpoint(state))

    def _tell_changed(self, key: int, endpoint: Endpoint | None) -> None:
        """Tell that an endpoint was disabled or enabled, where its lane is this node's."""
        was_disabled = key in self._disabled
        if endpoint is None:
            self._disabled.discard(key)
            self._health.forget(key)
        elif endpoint.disabled and not was_disabled:
            self._disabled.add(key)
            state = self._health.states.get(key)
            if self._owned.owns(key):
                since, reason = (None, "") if state is None else (state.failing_since, state.reason)
                self.reports.disabled(endpoint, self._clock.now(), since, reason)
        elif was_disabled and not endpoint.disabled:
            self._disabled.discard(key)
            known = key in self._health.states
            self._health.forget(key)
            if self._owned.owns(key):
                self.reports.enabled(endpoint)
                if known and self._running:
                    self._later(self._store.put_lane_state(LaneState(key)))

    def _tell_backlog(self, lane: Lane) -> None:
        if not lane.backlog:
            lane.backlog = True
            endpoint = self._endpoints.get(lane.endpoint)
            if endpoint is not None:
                self.reports.backlog(endpoint, len(lane.held))

    def _later(self, write: Coroutine[Any, Any, object]) -> None:
        """A write that nobody waits for."""

        async def run() -> None:
            try:
                await write
            except StoreUnavailable:
                pass  # the next failure says it again

        task = self._loop.create_task(run(), name="gatepost-lane-state")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _woken(self, key: int) -> None:
        """Something of this endpoint was made pending on disk."""
        self._agenda.note(key, self._clock.now())
        if key in self._in_order:
            self._ordered_news(key)
        self.wake()

    # sending

    def _pump(self) -> None:
        """Send while someone may send."""
        if self._blocked or not self._running or (self._leased and self._loop.time() >= self._owned.until):
            return
        turns = self._turns
        while len(self._jobs) < UNCOMMITTED and (turn := turns.next()) is not None:
            lane, probe = turn
            if lane.paced and not self._in_time(lane):
                turns.left(probe)
                continue
            if lane.batching is not None and self._gathers(lane):
                turns.left(probe)
                continue
            message, tries = lane.take()
            job = _Job(self, lane, message, tries, probe)
            self._jobs.add(job)
            if lane.batching is not None and (along := lane.take_along(message)):
                self._send_together(job, along)
                continue
            payload = self._payloads.get(message)
            if payload is not None:
                job.send(payload)
            else:
                self._payloads.want(message, job.send)
            if lane.sendable:
                turns.join(lane)

    # batches

    def _gathers(self, lane: Lane) -> bool:
        """Whether this lane waits for more messages to go together with those that it has."""
        assert lane.batching is not None
        now = self._clock.monotonic()
        if lane.enough or (lane.gathering is not None and now >= lane.gathering):
            lane.gathering = None
            return False
        if lane.gathering is None:
            lane.gathering = now + lane.batching.wait
            self._rests.note(lane.endpoint, lane.gathering)
            self._set_rest_timer()
        return True

    def _send_together(self, leader: _Job, along: Sequence[tuple[int, int]]) -> None:
        jobs = [leader]
        for message, tries in along:
            job = _Job(self, leader.lane, message, tries, leader.probe)
            job.follows = True
            self._jobs.add(job)
            jobs.append(job)
        Together(self, jobs).begin()
        self._turns.join(leader.lane)

    def _put_back(self, jobs: Sequence[_Job]) -> None:
        """They do not fit: they go with the next ones."""
        for job in reversed(jobs):
            self._jobs.discard(job)
            job.lane.ready.appendleft((job.message, job.tries))
        self._turns.join(jobs[0].lane)
        self._pump()

    def _end_alone(self, job: _Job, shape: Shape) -> None:
        """It cannot go with the others: its payload is gone, or cannot be shaped, or is not wanted."""
        now = self._clock.now()
        if job.gone:
            self._record(job, expired(job.message, job.endpoint, job.tries, now))
            return
        try:
            shape.part(job.payload)
        except Unwanted as error:
            reason = str(error)
            self._record(job, cancelled(job.message, job.endpoint, job.tries, now, job.payload.event_type, reason))
        except ShapeError as error:
            self.failed += 1
            result = Result(0, b"", str(error), now, 0.0)
            manual, since = job.message in job.lane.manual, job.lane.since.get(job.message)
            self._record(
                job,
                self._attempts.completion(
                    job.message, job.endpoint, job.tries, job.payload, result, manual=manual, since=since
                ),
            )

    def _abandon_all(self, jobs: Sequence[_Job]) -> None:
        lane = jobs[0].lane
        for job in jobs:
            self._abandon(job)
        if not lane.paused:
            lane.overdue = True
            self._plan_read(lane)
        self._pump()

    # one at a time

    def _sender(self, key: int) -> Sender:
        sender = self._senders.get(key)
        if sender is None:
            endpoint = self._endpoints[key]
            sender = self._senders[key] = self._destination.sender(endpoint)
            shape = shape_of(endpoint.settings, self._app_name(endpoint.app), self._api_url)
            if shape is not None:
                self._shapes[key] = shape
        return sender

    def _read_shaped(self, job: _Job, shape: Shape) -> None:
        task = self._loop.create_task(self._send_again(job, shape), name="gatepost-shaped-read")
        self._reads.add(task)
        task.add_done_callback(self._read_over)

    async def _send_again(self, job: _Job, shape: Shape) -> None:
        """A later try sends what the first one sent, if that was sent at all."""
        try:
            body = await self._store.shaped(job.lane.endpoint, job.message)
        except StoreUnavailable:
            if job in self._jobs:
                self._abandon(job)
                self._agenda.note(job.lane.endpoint, self._clock.now() + READ_RETRY)
                self._set_timer()
            return
        if job in self._jobs:
            job.send_shaped(shape, body)

    def _finished(self, job: _Job, completion: Completion, *, ok: bool) -> None:
        lane = job.lane
        if not job.follows:
            self._over(lane, job.probe, ok=ok)
        self._record(job, completion)
        self._go_on(lane)

    def _over(self, lane: Lane, probe: bool, *, ok: bool) -> None:
        """A request is."""
        self._turns.left(probe)
        lane.finished(ok=ok)

    def _record(self, job: _Job, completion: Completion) -> None:
        job.completion = completion
        self._store.complete(completion, job.committed)

    def _go_on(self, lane: Lane) -> None:
        if lane.sendable:
            self._turns.join(lane)
        if lane.spilled or lane.overdue:
            self._plan_read(lane)
        self._pump()

    def _abandon(self, job: _Job) -> None:
        """Nothing was made of it, or nobody wants to know: it stays as it is on disk."""
        if not job.follows:
            self._turns.left(job.probe)
            job.lane.abandoned()
        self._forget(job)

    def _committed(self, job: _Job, completion: Completion) -> None:
        lane = job.lane
        self._forget(job)
        if completion.due is not None and lane.endpoint in self._endpoints:
            self._agenda.note(lane.endpoint, completion.due)
            if completion.due < self._timer_due:
                self._set_timer()
        attempt = completion.attempt
        if not attempt.ok or completion.tries > FAILING:
            self.reports.attempt(job.endpoint, completion, counted=completion.tries > job.tries)
        if lane.spilled or lane.overdue or lane.order is not None:
            self._plan_read(lane)
        if not lane.held:
            self._close_if_idle(lane)
        if len(self._jobs) == UNCOMMITTED - 1:
            self._pump()

    def _forget(self, job: _Job) -> None:
        self._jobs.discard(job)
        if job.message in job.lane.held:
            job.lane.released(job.message)
            self.held -= 1
        if self._again and (job.lane.endpoint, job.message) in self._again:
            self._again.discard((job.lane.endpoint, job.message))
            self._resend_later(job.message, job.lane.endpoint)
        self._recorded.set()
        if self._drained is not None and not self._jobs and not self._drained.done():
            self._drained.set_result(None)

    def _resend_later(self, message: int, endpoint: int) -> None:
        if self._running:
            task = self._loop.create_task(self._resend_again(message, endpoint), name="gatepost-resend")
            self._reads.add(task)
            task.add_done_callback(self._read_over)

    async def _resend_again(self, message: int, endpoint: int) -> None:
        with suppress(StoreUnavailable):  # it was pending before the try ended, and says so on disk if that was lost
            await self.resend(message, endpoint)

    # lanes that change hands (`stores.lanes.LaneListener`)

    def lanes_gained(self, owns: Callable[[int], bool]) -> None:
        if self._running:
            task = self._loop.create_task(self._take_up(owns), name="gatepost-lane-read")
            self._reads.add(task)
            task.add_done_callback(self._read_over)

    async def _take_up(self, owns: Callable[[int], bool]) -> None:
        try:
            waiting = await self._store.next_due()
            await self._find_ordered(owns)
            self._health.load({key: s for key, s in (await self._store.lane_states()).items() if owns(key)})
        except StoreUnavailable:
            await asyncio.sleep(READ_RETRY)
            self.lanes_gained(owns)
            return
        for key, due in waiting.items():
            if owns(key):
                self._agenda.note(key, due)
        self.wake()

    async def lanes_leaving(self, owns: Callable[[int], bool]) -> None:
        for lane in [lane for lane in self._lanes.values() if owns(lane.endpoint)]:
            self._agenda.forget(lane.endpoint)
            if not lane.paused:
                self._pause(lane)
        while any(owns(job.lane.endpoint) for job in self._jobs):
            self._recorded.clear()
            await self._recorded.wait()
        for key in [key for key in self._lanes if owns(key)]:
            del self._lanes[key]

    def lanes_lost(self, owns: Callable[[int], bool]) -> None:
        for job in [job for job in self._jobs if owns(job.lane.endpoint)]:
            if job.completion is None:
                if job.sending is not None:
                    job.sending.cancel()
                self._abandon(job)
            else:
                self._forget(job)
        self._uncommitted = [job for job in self._uncommitted if not owns(job.lane.endpoint)]
        for lane in [lane for lane in self._lanes.values() if owns(lane.endpoint)]:
            self._agenda.forget(lane.endpoint)
            self._pause(lane)
            del self._lanes[lane.endpoint]

    def news(self, endpoints: Collection[int]) -> None:
        now = self._clock.now()
        for key in endpoints:
            if self._owned.owns(key):
                self._agenda.note(key, now)
        self.wake()

    def may_send(self) -> None:
        self._pump()

    # a store that cannot write

    def _writable_changed(self, writable: bool) -> None:
        self._blocked = not writable
        if writable:
            log.event("deliveries_resumed", attempts=len(self._uncommitted))
            self._hand_in_again()
            self._pump()
        else:
            log.event("deliveries_paused", level="error", reason="the store cannot record attempts")

    def _refused(self, job: _Job) -> None:
        self._uncommitted.append(job)
        if len(self._uncommitted) == 1:
            self._loop.call_later(COMMIT_RETRY, self._hand_in_again)

    def _hand_in_again(self) -> None:
        if self._store.writable:
            jobs, self._uncommitted = self._uncommitted, []
            for job in jobs:
                assert job.completion is not None
                self._store.complete(job.completion, job.committed)

    # the timer

    def _set_timer(self) -> None:
        due = self._agenda.earliest()
        if due is None or not self._running:
            return
        if self._timer is not None:
            if due >= self._timer_due:
                return
            self._timer.cancel()
        self._timer_due = due
        nap = min(max(0.0, due - self._clock.now()), LONGEST_NAP)
        self._timer = self._loop.call_later(nap, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_due = FOREVER
        self.wake()


class _Job:
    """One delivery, from its turn until its completion is on disk."""

    __slots__ = (
        "completion", "endpoint", "engine", "follows", "gone", "lane", "message", "payload", "probe",
        "sending", "shaped", "tries",
    )  # fmt: skip

    endpoint: Endpoint  # as it was when the try began
    payload: Payload

    def __init__(self, engine: Deliveries, lane: Lane, message: int, tries: int, probe: bool) -> None:
        self.engine = engine
        self.lane = lane
        self.message = message
        self.tries = tries
        self.probe = probe
        self.follows = False  # it goes in another one's request
        self.gone = False  # its payload is
        self.sending: Sending | None = None
        self.shaped: bytes | None = None  # None: the payload goes as it came
        self.completion: Completion | None = None

    def send(self, payload: Payload | None) -> None:
        """The payload is there (None: the store does not have it any more)."""
        engine = self.engine
        if self not in engine._jobs:
            return  # the endpoint was deleted, or the engine stopped, while it was read
        if self.lane.paused:
            engine._abandon(self)
            engine._pump()
            return
        self.endpoint = engine._endpoints[self.lane.endpoint]
        if payload is None:
            engine._finished(self, expired(self.message, self.endpoint, self.tries, engine._clock.now()), ok=True)
            return
        self.payload = payload
        settings = self.endpoint.settings
        if settings.deadline is not None or settings.types:
            now, since = engine._clock.now(), self.lane.since.get(self.message)
            if engine._attempts.too_late(self.message, self.endpoint, payload.event_type, since, now):
                completion = late(self.message, self.endpoint, self.tries, now, payload.event_type)
                engine._loop.call_soon(self.ended, completion)
                return
        sender = engine._sender(self.lane.endpoint)
        shape = engine._shapes.get(self.lane.endpoint)
        if shape is None:
            self.sending = sender.send(payload.id, payload.body, self.done)
        elif self.tries:
            engine._read_shaped(self, shape)
        else:
            self.send_shaped(shape, None)

    def send_shaped(self, shape: Shape, body: bytes | None) -> None:
        """Send `body`, which an earlier try sent, or what `shape` makes of the payload."""
        engine = self.engine
        self.shaped = b""
        try:
            self.shaped = shape.body(self.payload) if body is None else body
        except ShapeError as error:
            # Not at once: one failure after the other would nest as deep as the lane is long.
            engine._loop.call_soon(self.not_sent, str(error))
        except Unwanted as error:
            engine._loop.call_soon(self.unwanted, str(error))
        else:
            self.sending = engine._sender(self.lane.endpoint).send(self.payload.id, self.shaped, self.done)

    def ended(self, completion: Completion) -> None:
        """Over without a try."""
        if self in self.engine._jobs:
            self.engine._finished(self, completion, ok=True)

    def not_sent(self, reason: str) -> None:
        if self in self.engine._jobs:
            self.done(Result(0, b"", reason, self.engine._clock.now(), 0.0))

    def unwanted(self, reason: str) -> None:
        engine = self.engine
        if self in engine._jobs:
            now = engine._clock.now()
            completion = cancelled(self.message, self.endpoint, self.tries, now, self.payload.event_type, reason)
            completion.shaped = self.shaped
            engine._finished(self, completion, ok=True)

    def done(self, result: Result) -> None:
        engine = self.engine
        lane = self.lane
        ok = result.ok
        if ok:
            engine.delivered += 1
        else:
            engine.failed += 1
        pause = None if ok else pause_of(result, lane.strain)
        completion = engine._attempts.completion(
            self.message,
            self.endpoint,
            self.tries,
            self.payload,
            result,
            manual=self.message in lane.manual,
            ordered=lane.order is not None and self.message in lane.order,
            since=lane.since.get(self.message),
            pause=pause,
        )
        if not ok:
            engine._judge(self, result, pause)
        elif engine._health.states:
            engine._recovered(lane)
        completion.shaped = self.shaped
        engine._finished(self, completion, ok=ok)

    def committed(self, on_disk: bool) -> None:
        completion = self.completion
        assert completion is not None
        if on_disk:
            self.engine._committed(self, completion)
        else:
            self.engine._refused(self)
