"""The part of the store contract about reading along: an app's messages in commit order, from a position on.

`base.Store` has it; `tests/conformance/test_following.py` holds for every implementation. Ids are not commit order
where several nodes write, so a position is the store's own text: compared with nothing, handed back as it came.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, Protocol

from gatepost.model import Message

SCAN: Final = 2_000  # messages looked at for one page


class Followed(NamedTuple):
    """A page may be short, even empty, with `done` False: go on from `position`."""

    messages: list[Message]
    position: str
    done: bool


class FollowingStore(Protocol):
    async def follow(
        self, app: int, position: str, limit: int, event_types: Collection[str] | None, channel: str | None
    ) -> Followed:
        """Messages that were committed after `position` ("": from the first one kept), in the order of their commits.
        None is ever left out, or comes later with an earlier position. Raises ValueError for a position that this
        store never gave."""
        ...

    async def position_at(self, app: int, moment: float) -> str:
        """Before every message that was made at or after that moment (Unix seconds)."""
        ...

    async def poller_position(self, app: int, poller: str) -> str:
        """What was kept last; "" where nothing was."""
        ...

    async def keep_poller_position(self, app: int, poller: str, position: str) -> None: ...
