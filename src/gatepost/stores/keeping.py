"""The part of the store contract about what is kept for how long: bodies of messages and attempts, in the order in
which they were made, and a mark for how far each rule has come. `gatepost/retention.py` decides.

Bodies are nulled in place (0.9 µs a row, where deleting a row costs 14 to 28); rows stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

What: TypeAlias = Literal["payloads", "responses"]


class Body(NamedTuple):
    """A message's payload, or the response of an attempt."""

    id: int
    app: int  # the app's key
    event_type: str
    size: int  # bytes; 0 where it is gone, or there never was one
    until: float | None  # Unix seconds; a message that asked for a time of its own


class KeepingStore(Protocol):
    async def bodies(self, what: What, after: int, before: int, limit: int) -> list[Body]:
        """Those with ids between the two, ascending, whatever their size."""
        ...

    async def forget(self, what: What, bodies: Sequence[Body], rule: str, reached: int) -> None:
        """Forget these bodies, and note in the same transaction how far `rule` has come. Raises StoreUnavailable."""
        ...

    async def overdue_payloads(self, now: float, limit: int) -> list[Body]:
        """Of messages whose own time is over."""
        ...

    async def forget_overdue(self, bodies: Sequence[Body]) -> None: ...

    async def retention_marks(self) -> dict[str, int]:
        """By rule: the id up to which it has looked."""
        ...

    async def keep_marks(self, rules: Collection[str]) -> None:
        """Drop the marks of every other rule."""
        ...
