"""Two counts over the last seconds: how many, and how many of them were of a kind. Pure; the caller brings the time."""

from __future__ import annotations

from typing import Final

_SLICES: Final = 10


class Window:
    """`total` and `marked` of the last `seconds`, forgotten a tenth of them at a time: what it says is never older than
    the window, and up to a tenth of it younger."""

    __slots__ = ("_at", "_marked", "_totals", "_width", "marked", "total")

    def __init__(self, seconds: float) -> None:
        self.total = 0
        self.marked = 0
        self._width = seconds / _SLICES
        self._totals = [0] * _SLICES
        self._marked = [0] * _SLICES
        self._at = 0

    def add(self, now: float, total: int, marked: int) -> None:
        """`now` in monotonic seconds."""
        self.move(now)
        place = self._at % _SLICES
        self._totals[place] += total
        self._marked[place] += marked
        self.total += total
        self.marked += marked

    def move(self, now: float) -> None:
        """Forget what is too old at `now`."""
        at = int(now / self._width)
        gone = at - self._at
        if gone <= 0:
            return
        self._at = at
        if gone >= _SLICES:
            self.clear()
            return
        for place in range(at - gone + 1, at + 1):
            place %= _SLICES
            self.total -= self._totals[place]
            self.marked -= self._marked[place]
            self._totals[place] = self._marked[place] = 0

    def clear(self) -> None:
        self.total = self.marked = 0
        self._totals = [0] * _SLICES
        self._marked = [0] * _SLICES
