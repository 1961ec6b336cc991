"""The part of the store contract for bodies that endpoints' transforms made.

A body is kept from the first failed try on (`Completion.shaped`) until its delivery is over, so that every later try
sends the same bytes, whatever became of the endpoint's settings meanwhile.
"""

from __future__ import annotations

from typing import Protocol


class ShapedStore(Protocol):
    async def shaped(self, endpoint: int, message: int) -> bytes | None:
        """What the tries of this delivery send; None where nothing was kept. Raises StoreUnavailable."""
        ...
