"""The part of the store contract about what the control API keeps beside apps and messages: event types, tokens of
portals, answers that a repeated POST gets again; and what it asks of deliveries: how many there are, and to forget
contents.

`base.Store` has it; `tests/conformance/test_control_store.py` holds for every implementation.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from gatepost.model import EventType

FORGET: Final = 8  # rows that are out of date, deleted beside each new one


class EventTypes:
    """The event types in memory, as the last commit left them: looked at for every message. Owned by the store."""

    __slots__ = ("_by_name", "names")

    def __init__(self) -> None:
        self._by_name: dict[str, EventType] = {}
        self.names: list[str] = []  # ascending

    def get(self, name: str) -> EventType | None:
        return self._by_name.get(name)

    def load(self, event_types: Iterable[EventType]) -> None:
        for event_type in event_types:
            self.put(event_type)

    def put(self, event_type: EventType) -> None:
        if event_type.name not in self._by_name:
            insort(self.names, event_type.name)
        self._by_name[event_type.name] = event_type

    def drop(self, name: str) -> None:
        if self._by_name.pop(name, None) is not None:
            del self.names[bisect_left(self.names, name)]


class DeliveryCounts(NamedTuple):
    """How many deliveries of an endpoint stand where."""

    delivered: int = 0
    exhausted: int = 0
    waiting: int = 0  # tried, and to be tried again
    untried: int = 0
    set_aside: int = 0  # skipped or cancelled


class KeptAnswer(NamedTuple):
    """What a POST with an idempotency key was answered. `digest` is of that request's body."""

    digest: bytes
    status: int
    body: bytes


class ControlStore(Protocol):
    event_types: EventTypes

    async def put_event_type(self, event_type: EventType, *, new: bool = False) -> EventType:
        """Insert or replace, by name; sets `updated`, and `created` where it is 0. Raises ValueError where it is to be
        `new` and the name is taken, StoreUnavailable."""
        ...

    async def delete_event_type(self, name: str) -> None:
        """Messages of that type stay. Nothing happens where it is gone."""
        ...

    async def put_portal_token(self, digest: bytes, app: int, expires: float) -> None:
        """`digest` is the token's SHA-256; the token itself is kept nowhere."""
        ...

    async def portal_token(self, digest: bytes) -> int | None:
        """The key of the app that it opens; None where it is unknown, or over."""
        ...

    async def delete_portal_token(self, digest: bytes) -> bool: ...

    async def keep_answer(self, place: bytes, answer: KeptAnswer, expires: float) -> None:
        """`place` is a digest of path, query and key. The first one kept stays until it expires."""
        ...

    async def kept_answer(self, place: bytes) -> KeptAnswer | None: ...

    async def count_deliveries(
        self, app: int, endpoint: int, since: float | None, until: float | None
    ) -> DeliveryCounts:
        """Of the messages made from `since` on and before `until` (Unix seconds). Looks at each delivery of that time:
        0.1 µs a row."""
        ...

    async def expunge_message(self, app: int, message: int) -> None:
        """Forget its payload."""
        ...

    async def expunge_attempt(self, attempt: int) -> None:
        """Forget the response."""
        ...
