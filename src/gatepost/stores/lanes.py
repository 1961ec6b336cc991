"""Whose lanes this node sends. A lane has one owner, so that order, concurrency and rate of an endpoint hold however
many nodes there are.

On SQLite there is one node, and it owns them all. On PostgreSQL nodes share them in groups (`postgres_nodes.py`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

GROUPS: Final = 256  # an endpoint's lane belongs to the group of its key modulo this


class LaneListener(Protocol):
    """The delivery engine, as its store knows it."""

    def lanes_gained(self, owns: Callable[[int], bool]) -> None:
        """These endpoints' lanes are this node's from now on: what waits for them stands in the store."""
        ...

    def lanes_leaving(self, owns: Callable[[int], bool]) -> Awaitable[None]:
        """Send nothing more of these. Returns once all of theirs that was in flight is recorded."""
        ...

    def lanes_lost(self, owns: Callable[[int], bool]) -> None:
        """They are somebody else's already: forget what is in flight, nothing of it can be recorded."""
        ...

    def news(self, endpoints: Collection[int]) -> None:
        """Another node wrote deliveries for these endpoints."""
        ...

    def may_send(self) -> None:
        """`Lanes.until` moved."""
        ...


class Lanes:
    """The lanes of this node. Owned by the store; the engine asks it, and hears of changes as its `listener`."""

    __slots__ = ("groups", "listener", "until")

    def __init__(self, groups: frozenset[int] | None = None) -> None:
        self.groups = groups  # None: all
        self.until = math.inf if groups is None else 0.0  # loop time until which this node may send
        self.listener: LaneListener | None = None

    def owns(self, endpoint: int) -> bool:
        return self.groups is None or endpoint % GROUPS in self.groups


def of_groups(groups: Collection[int]) -> Callable[[int], bool]:
    return lambda endpoint: endpoint % GROUPS in groups
