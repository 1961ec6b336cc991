"""What a quota counts in: calendar days and months (UTC), or a rolling period. Pure code over Unix seconds.

A count is an `array` of 64-bit integers, which is also how the store keeps it:

    calendar   number of the day or month · used in it
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
    def spend(self, count: array[int], limit: int, now: float) -> int:
        """Count one more, unless `limit` are used: how many are used then, or -1."""
        ...

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
    """Days of UTC. The present one is remembered: a quota asks three times a request."""

    __slots__ = ("_from", "_number", "_until")

    def __init__(self) -> None:
        self._number = 0
        self._from, self._until = inf, -inf

    def start(self, now: float) -> array[int]:
        if not self._from <= now < self._until:
            self._see(now)
        return array("q", (self._number, 1))

    def used(self, count: array[int], now: float) -> int:
        if not self._from <= now < self._until:
            self._see(now)
        return count[1] if count[0] >= self._number else 0

    def spend(self, count: array[int], limit: int, now: float) -> int:
        if not self._from <= now < self._until:
            self._see(now)
        if count[0] < self._number:
            count[0], count[1] = self._number, 0
        used = count[1]
        if used >= limit:
            return -1
        count[1] = used = used + 1
        return used

    def renews(self, count: array[int], now: float) -> float:
        if not self._from <= now < self._until:
            self._see(now)
        return (self._until if count[0] <= self._number else self._begins(count[0] + 1)) - now

    def ends(self, count: array[int]) -> float:
        return self._begins(count[0] + 1)

    def seconds(self, now: float) -> int:
        if not self._from <= now < self._until:
            self._see(now)
        return int(self._until - self._from)

    def _see(self, now: float) -> None:
        self._number = number = self._number_of(now)
        self._from, self._until = self._begins(number), self._begins(number + 1)

    def _number_of(self, now: float) -> int:
        return int(now // DAY)

    def _begins(self, number: int) -> float:
        return number * DAY


class Month(Day):
    """Months of UTC."""

    __slots__ = ()

    def _number_of(self, now: float) -> int:
        date = time.gmtime(now)
        return date.tm_year * 12 + date.tm_mon - 1

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

    def spend(self, count: array[int], limit: int, now: float) -> int:
        bucket = int(now / self._width)
        if count[0] >= limit:
            self._drop(count, bucket)
            if count[0] >= limit:
                return -1
        if len(count) > 1 and count[-2] > bucket:
            count[0] += 1
            count[-1] += 1
        else:
            self._count(count, now)
        return count[0]

    def renews(self, count: array[int], now: float) -> float:
        return self._leaves(count[1]) - now if len(count) > 1 else 0.0

    def ends(self, count: array[int]) -> float:
        return self._leaves(count[-2]) if len(count) > 1 else 0.0

    def seconds(self, now: float) -> int:
        return int(self.window)
