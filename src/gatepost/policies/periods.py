"""What a quota counts in: calendar days and months (UTC), or a rolling period. Pure code over Unix seconds.

A count is an `array` of 64-bit integers, which is also how the store keeps it:

    calendar   number of the day or month · used
    rolling    used · bucket · count · bucket · count …   (`limiters.SlidingBuckets`)

A clock that goes back never gives anything back: what was counted in a later period goes on counting.
"""

from __future__ import annotations

import time
from array import array
from calendar import timegm
from math import inf
from typing import Protocol

from gatepost.plans import DAY
from gatepost.policies.limiters import SlidingBuckets


class Period(Protocol):
    def start(self, now: float) -> array[int]:
        """The count after a first request."""
        ...

    def used(self, count: array[int], now: float) -> int: ...
    def add(self, count: array[int], now: float) -> None: ...
    def renews(self, count: array[int], now: float) -> float:
        """Seconds until there is more."""
        ...

    def ends(self, count: array[int]) -> float:
        """Unix seconds when all of it counts no more."""
        ...

    def seconds(self, now: float) -> int:
        """How long the present period is."""
        ...


def period_named(period: str | float) -> Period:
    return Rolling(period) if isinstance(period, float) else Month() if period == "month" else Day()


class Day:
    """Days of UTC."""

    __slots__ = ()

    def start(self, now: float) -> array[int]:
        return array("q", (self._number(now), 1))

    def used(self, count: array[int], now: float) -> int:
        return count[1] if count[0] >= self._number(now) else 0

    def add(self, count: array[int], now: float) -> None:
        number = self._number(now)
        if count[0] >= number:
            count[1] += 1
        else:
            count[0], count[1] = number, 1

    def renews(self, count: array[int], now: float) -> float:
        return self._begins(max(count[0], self._number(now)) + 1) - now

    def ends(self, count: array[int]) -> float:
        return self._begins(count[0] + 1)

    def seconds(self, now: float) -> int:
        number = self._number(now)
        return int(self._begins(number + 1) - self._begins(number))

    def _number(self, now: float) -> int:
        return int(now // DAY)

    def _begins(self, number: int) -> float:
        return number * DAY


class Month(Day):
    """Months of UTC."""

    __slots__ = ("_from", "_last", "_until")

    def __init__(self) -> None:
        self._last = 0
        self._from = inf
        self._until = -inf

    def _number(self, now: float) -> int:
        if not self._from <= now < self._until:  # asking the calendar costs 1 µs
            date = time.gmtime(now)
            self._last = date.tm_year * 12 + date.tm_mon - 1
            self._from = self._begins(self._last)
            self._until = self._begins(self._last + 1)
        return self._last

    def _begins(self, number: int) -> float:
        return float(timegm((number // 12, number % 12 + 1, 1, 0, 0, 0)))


class Rolling(SlidingBuckets):
    """The last so many seconds, in 128 parts and one more: never more than the limit in any of them, and up to a 128th
    of the period late."""

    __slots__ = ()

    def __init__(self, seconds: float) -> None:
        super().__init__(0, seconds)

    def start(self, now: float) -> array[int]:
        return self._start(now)

    def used(self, count: array[int], now: float) -> int:
        self._drop(count, int(now / self._width))
        return count[0]

    def add(self, count: array[int], now: float) -> None:
        if len(count) > 1 and count[-2] > int(now / self._width):
            count[0] += 1
            count[-1] += 1
        else:
            self._count(count, now)

    def renews(self, count: array[int], now: float) -> float:
        return self._leaves(count[1]) - now if len(count) > 1 else 0.0

    def ends(self, count: array[int]) -> float:
        return self._leaves(count[-2]) if len(count) > 1 else 0.0

    def seconds(self, now: float) -> int:
        return int(self.window)
