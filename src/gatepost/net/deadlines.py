"""Time-outs without timers: everything that has one stands in one set, which is swept four times a second.

A timer that is set and cancelled for each request costs 2.3 µs; a sweep over a thousand connections costs that once.
A time-out therefore fires up to a quarter of a second late.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

NEVER: Final = float("inf")
INTERVAL: Final = 0.25  # seconds


class Expiring(Protocol):
    deadline: float  # monotonic seconds; NEVER while there is none

    def expire(self, now: float) -> None:
        """The deadline has passed. Called again at the next sweep unless `deadline` moves or the object leaves."""
        ...


class Deadlines:
    """The set of one event loop. Whoever joins must leave."""

    __slots__ = ("_handle", "_loop", "_members")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[Expiring] = set()
        self._handle: asyncio.TimerHandle | None = None

    def join(self, member: Expiring) -> None:
        self._members.add(member)
        if self._handle is None:
            self._handle = self._loop.call_later(INTERVAL, self._tick)

    def leave(self, member: Expiring) -> None:
        self._members.discard(member)

    def _tick(self) -> None:
        self._handle = self._loop.call_later(INTERVAL, self._tick) if self._members else None
        self.sweep(self._loop.time())

    def sweep(self, now: float) -> None:
        for member in [m for m in self._members if m.deadline <= now]:
            member.expire(now)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._members.clear()
