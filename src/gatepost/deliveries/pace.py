"""How fast a lane may send: GCRA, a leaky bucket that is one number. Pure: the moment is handed in."""

from __future__ import annotations

from typing import Final

# Seconds that a lane may be ahead of its pace. Timers are exact to a millisecond: a lane of 1,000 a second sends ten at
# once, one of 100 or less is spaced evenly.
AHEAD: Final = 0.01


class Pace:
    """At most so many requests a second. `rate` may change at any time."""

    __slots__ = ("_theoretical", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate  # a second
        self._theoretical = 0.0  # when the next one would come at an even pace

    def reserve(self, now: float) -> float:
        """Take the next place: when it is, at `now` or later. Whoever asks next gets a later one."""
        theoretical = max(self._theoretical, now)
        self._theoretical = theoretical + 1.0 / self.rate
        return max(now, theoretical - AHEAD)
