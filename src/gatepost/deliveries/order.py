"""Deliveries that go one after another: of each ordering key the first pending one, and nothing else. Pure.

    disk ──found──► head (in the lane: ready, in flight, to be committed) ──released──► look again

What stands behind a head stays on disk until the head's end is committed, so memory holds at most one delivery a key,
and at most as many keys as a lane has room for; keys are gone through in turn. A read may be older than what memory
knows: heads that were released while it ran are ignored in its answer, and it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatepost.model import Delivery
from gatepost.stores.delivering import BEFORE_ALL


class Order:
    """The ordered part of a lane. Owned by it."""

    __slots__ = ("_due", "_ended", "_keys", "after", "keys_of", "news", "reading")

    def __init__(self) -> None:
        self.keys_of: dict[int, int] = {}  # message → its ordering key, of those that memory holds
        self._keys: set[int] = set()
        self.after = BEFORE_ALL  # where the next read goes on
        self.news = True  # there may be heads on disk that memory does not have
        self.reading = False
        self._ended: set[int] = set()
        self._due: float | None = None  # when the first head of this round is due that is not due yet

    def __contains__(self, message: int) -> bool:
        return message in self.keys_of

    @property
    def idle(self) -> bool:
        return not (self.keys_of or self.news or self.reading)

    def wants_read(self, room: int) -> bool:
        return self.news and not self.reading and len(self.keys_of) <= room // 2

    def read_begins(self) -> int:
        """Behind which key to read."""
        self.reading = True
        self.news = False
        return self.after

    def found(self, heads: Sequence[Delivery], now: float, limit: int) -> list[Delivery]:
        """What a read of `limit` keys says: the heads that may be sent now."""
        self.reading = False
        ready = []
        for head in heads:
            key = head.ordering
            if key is None or key in self._keys:
                continue
            if head.message in self._ended:
                self.news = True  # the read is older than its end
            elif head.due is not None and head.due > now:
                self._due = head.due if self._due is None else min(self._due, head.due)
            else:
                ready.append(head)
                self._keys.add(key)
                self.keys_of[head.message] = key
        self._ended = set()
        if len(heads) < limit:
            self.after = BEFORE_ALL
        else:
            last = heads[-1].ordering
            assert last is not None
            self.after = last
            self.news = True
        return ready

    def take_due(self) -> float | None:
        """When the first head is due that was found too early."""
        due, self._due = self._due, None
        return due

    def read_failed(self) -> None:
        self.reading = False
        self.news = True

    def released(self, message: int) -> None:
        """What came of it is on disk, or it was given back to it: the next of its key may go."""
        key = self.keys_of.pop(message, None)
        if key is not None:
            self._keys.discard(key)
            self.news = True
            if self.reading:
                self._ended.add(message)

    def give_back(self, messages: Iterable[int]) -> None:
        for message in messages:
            self.released(message)
