"""What comes of a try: the attempt that is recorded and the delivery's next state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatepost.deliveries.payloads import Payload
from gatepost.deliveries.schedule import next_due
from gatepost.destinations.base import Result
from gatepost.lifecycle import Event, State, after
from gatepost.model import Attempt, Endpoint, Trigger
from gatepost.stores.base import Completion


class Attempts:
    """Makes completions by the retry schedule of the configuration."""

    __slots__ = ("_jitter", "_random", "_schedule")

    def __init__(self, schedule: Sequence[float], jitter: float, random: Callable[[], float]) -> None:
        self._schedule = schedule
        self._jitter = jitter
        self._random = random

    def completion(
        self, message: int, endpoint: Endpoint, tries: int, payload: Payload, result: Result, *, manual: bool
    ) -> Completion:
        """`tries` counts those before this one. Retries are due from the moment this one ended."""
        tries += 1
        due = None
        ok = result.ok
        if ok:
            event = Event.SUCCEEDED
        else:
            due = next_due(self._schedule, self._jitter, tries, result.started + result.duration, self._random)
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


def expired(message: int, endpoint: Endpoint, tries: int, now: float) -> Completion:
    """The payload is not kept any more, so that nothing can be sent."""
    return cancelled(message, endpoint, tries, now, "", "the payload has expired")


def cancelled(message: int, endpoint: Endpoint, tries: int, now: float, event_type: str, reason: str) -> Completion:
    """Nothing is sent, now or later, and the attempt says why."""
    attempt = Attempt(0, message, endpoint.key, endpoint.app, event_type, False, 0, endpoint.url, now, 0.0, b"", reason)
    return Completion(attempt, after(State.PENDING, Event.CANCELLED), tries, None)
