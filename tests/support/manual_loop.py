"""A loop that only keeps timers, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatepost.clock import ManualClock


class ManualTimer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """The part of an event loop that timers need. `advance` moves the clock and runs what is due, in order."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        return self._clock.monotonic()

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(self.time() + delay, lambda: (callback(*args), None)[1])
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.time() + seconds
        while due := [t for t in self._timers if not t.cancelled and t.when <= end]:
            timer = min(due, key=lambda t: t.when)
            self._timers.remove(timer)
            self._clock.advance(max(0.0, timer.when - self.time()))
            timer.call()
        self._clock.advance(end - self.time())
