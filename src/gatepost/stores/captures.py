"""The part of the store contract about captures: single exchanges kept whole, with what is secret in them left out.

`base.Store` has it; `tests/conformance/test_capture_store.py` holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Captured(NamedTuple):
    """One exchange, redacted before it came here."""

    id: int  # as `ids.py` makes them: it rises with time
    time: float  # Unix seconds, when its head was parsed
    route: str
    status: int  # 0: no response was begun
    document: bytes  # JSON, as `analytics/capture_document.py` makes it


class CaptureStore(Protocol):
    async def put_captures(self, captures: Sequence[Captured]) -> None:
        """Insert; an id that is there already stays as it is. Raises StoreUnavailable."""
        ...

    async def capture(self, identifier: int) -> Captured | None: ...

    async def list_captures(
        self, *, route: str | None, low: int, high: int, before: int | None, limit: int
    ) -> list[Captured]:
        """The latest first: those with `low` <= status < `high` and an id less than `before`. Fewer than `limit`: there
        are no more."""
        ...

    async def drop_captures(self, before: int, most: int, limit: int) -> int:
        """Delete those with an id less than `before` and what is more than the latest `most`, at most `limit`: how many
        were deleted."""
        ...
