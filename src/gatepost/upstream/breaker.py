"""The circuit breaker of a service, as one table. The table in docs/upstreams.md is this one.

CLOSED ──too many failures──► OPEN ──its time is over──► HALF_OPEN ──probes succeeded──► CLOSED
                               ▲                            │
                               └────────a probe failed──────┘

Pure: the caller brings the time. Each admission belongs to the state in which it was given: what comes of a try that
began before the breaker opened says nothing about the service now, and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from gatepost.config.services import Breaker as Settings
from gatepost.upstream.window import Window


class State(Enum):
    CLOSED = "closed"  # every try passes and is counted
    OPEN = "open"  # none passes
    HALF_OPEN = "half-open"  # a few pass, to see


class Event(Enum):
    TOO_MANY_FAILURES = "the share of failures in the window is reached"
    TIME_OVER = "`open` has passed, and a request comes"
    PROBE_FAILED = "a probe failed"
    PROBES_SUCCEEDED = "`probes` probes succeeded"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CLOSED, Event.TOO_MANY_FAILURES): State.OPEN,
    (State.OPEN, Event.TIME_OVER): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, Event.PROBES_SUCCEEDED): State.CLOSED,
}


class Breaker:
    """Mutable; one a service. `changed` is called after each transition, with the counts that led to it."""

    __slots__ = ("_changed", "_era", "_opened", "_out", "_settings", "_succeeded", "_window", "state")

    def __init__(self, settings: Settings, changed: Callable[[State, int, int], None]) -> None:
        self.state = State.CLOSED
        self._settings = settings
        self._changed = changed
        self._window = Window(settings.window)
        self._era = 1  # of the state; each transition begins another
        self._opened = 0.0
        self._out = 0  # probes under way
        self._succeeded = 0  # probes

    def admit(self, now: float) -> int:
        """0: no. Otherwise the admission, to be handed to `record` or `forget`, once. `now` in monotonic seconds."""
        if self.state is State.CLOSED:
            return self._era
        if self.state is State.OPEN:
            if now < self._opened + self._settings.open:
                return 0
            self._go(Event.TIME_OVER)
        if self._out >= self._settings.probes:
            return 0
        self._out += 1
        return self._era

    def wait(self, now: float) -> float:
        """Seconds after which one that was not admitted may come again."""
        return max(1.0, self._opened + self._settings.open - now) if self.state is State.OPEN else 1.0

    def record(self, admission: int, now: float, *, failed: bool) -> None:
        if admission != self._era:
            return
        if self.state is State.CLOSED:
            window = self._window
            window.add(now, 1, failed)
            settings = self._settings
            if failed and window.total >= settings.minimum and window.marked >= settings.share * window.total:
                self._opened = now
                self._go(Event.TOO_MANY_FAILURES)
        elif failed:
            self._opened = now
            self._go(Event.PROBE_FAILED)
        else:
            self._out -= 1
            self._succeeded += 1
            if self._succeeded >= self._settings.probes:
                self._go(Event.PROBES_SUCCEEDED)

    def forget(self, admission: int) -> None:
        """Nothing came of it: the client left, say."""
        if admission == self._era and self.state is State.HALF_OPEN:
            self._out -= 1

    def _go(self, event: Event) -> None:
        total, failures = self._window.total, self._window.marked
        self.state = TRANSITIONS[self.state, event]
        self._era += 1
        self._out = self._succeeded = 0
        self._window.clear()
        self._changed(self.state, total, failures)
