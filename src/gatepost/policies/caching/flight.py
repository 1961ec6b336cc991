"""One request under way that others wait for, so that a target answers it once."""

from __future__ import annotations

import asyncio
from enum import Enum, auto


class Outcome(Enum):
    STORED = auto()  # look it up
    ALONE = auto()  # it is not stored, or failed: everyone for himself, at once
    AGAIN = auto()  # who led has left: somebody else may lead


class Flight:
    """Mutable; owned by the storage while it is under way. Ended once."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[Outcome]] = []

    def join(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append(future)
        return future

    def end(self, outcome: Outcome) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():  # its client may have left
                future.set_result(outcome)
