"""What comes of a try: the attempt that is recorded and the delivery's next state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gatepost import ids
from gatepost.deliveries.payloads import Payload
from gatepost.deliveries.schedule import next_due
from gatepost.destinations.base import Result
from gatepost.lifecycle import Event, State, after
from gatepost.model import Attempt, Endpoint, Trigger
from gatepost.stores.base import Completion

DEADLINE: Final = 432_000.0  # seconds: five days, longer than the default schedule


class Attempts:
    """Makes completions by the endpoint's retry schedule, or the configuration's."""

    __slots__ = ("_deadline", "_jitter", "_ordered", "_random", "_schedule")

    def __init__(
        self,
        schedule: Sequence[float],
        jitter: float,
        random: Callable[[], float],
        *,
        ordered_schedule: Sequence[float] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._schedule = schedule
        self._ordered = schedule if ordered_schedule is None else ordered_schedule
        self._deadline = deadline
        self._jitter = jitter
        self._random = random

    def completion(
        self,
        message: int,
        endpoint: Endpoint,
        tries: int,
        payload: Payload,
        result: Result,
        *,
        manual: bool,
        ordered: bool = False,
        since: float | None = None,
        pause: float | None = None,
    ) -> Completion:
        """`tries` counts those before this one. Retries are due from the moment this one ended.

        `since` is when the delivery was asked for again (None: its time counts from acceptance). `pause` is how many
        seconds the receiver wants to be left alone: such a try is not counted.
        """
        if pause is None:
            tries += 1
        due = None
        ok = result.ok
        if ok:
            event = Event.SUCCEEDED
        else:
            ended = result.started + result.duration
            schedule, deadline = self._rule(endpoint, payload.event_type, ordered)
            if pause is None:
                due = next_due(schedule, self._jitter, tries, ended, self._random)
            else:
                due = ended + pause * (1.0 + self._jitter * self._random() * 0.1)  # never earlier than it says
            if due is not None and due > (ids.seconds_of(message) if since is None else since) + deadline:
                due = None
            event = Event.FAILED_LAST if due is None else Event.FAILED
        attempt = Attempt(
            0,
            message,
            endpoint.key,
            endpoint.app,
            payload.event_type,
            ok,
            result.status,
            endpoint.url,
            result.started,
            result.duration,
            result.body,
            result.error,
            Trigger.MANUAL if manual else Trigger.SCHEDULED,
        )
        return Completion(attempt, after(State.PENDING, event), tries, due)

    def too_late(self, message: int, endpoint: Endpoint, event_type: str, since: float | None, now: float) -> bool:
        """Whether the time that the endpoint gives this delivery was over before it could be sent. The configuration's
        deadline ends retries only: what waited for a node that was down is still tried once."""
        settings = endpoint.settings
        if settings.deadline is None and not settings.types:
            return False
        rule = settings.types.get(event_type)
        deadline = settings.deadline if rule is None or rule.deadline is None else rule.deadline
        return deadline is not None and now > (ids.seconds_of(message) if since is None else since) + deadline

    def _rule(self, endpoint: Endpoint, event_type: str, ordered: bool) -> tuple[Sequence[float], float]:
        """Schedule and deadline: of the event type at this endpoint, of the endpoint, of the configuration."""
        settings = endpoint.settings
        schedule: Sequence[float] | None = settings.schedule
        deadline = settings.deadline
        rule = settings.types.get(event_type)
        if rule is not None:
            schedule = schedule if rule.schedule is None else rule.schedule
            deadline = deadline if rule.deadline is None else rule.deadline
        if schedule is None:
            schedule = self._ordered if ordered else self._schedule
        return schedule, self._deadline if deadline is None else deadline


def late(message: int, endpoint: Endpoint, tries: int, now: float, event_type: str) -> Completion:
    """Its deadline passed before it could be sent."""
    completion = cancelled(message, endpoint, tries, now, event_type, "its deadline passed before it could be sent")
    completion.state = after(State.PENDING, Event.FAILED_LAST)
    return completion


def expired(message: int, endpoint: Endpoint, tries: int, now: float) -> Completion:
    """The payload is not kept any more, so that nothing can be sent."""
    return cancelled(message, endpoint, tries, now, "", "the payload has expired")


def cancelled(message: int, endpoint: Endpoint, tries: int, now: float, event_type: str, reason: str) -> Completion:
    """Nothing is sent, now or later, and the attempt says why."""
    attempt = Attempt(0, message, endpoint.key, endpoint.app, event_type, False, 0, endpoint.url, now, 0.0, b"", reason)
    return Completion(attempt, after(State.PENDING, Event.CANCELLED), tries, None)
