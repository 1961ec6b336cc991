"""Reading along, in the SQLite store: its ids are commit order, so a position is the last id that was seen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol, TypeVar

import apsw

from gatepost import ids
from gatepost.model import Message
from gatepost.stores.base import Filter, Page
from gatepost.stores.following import Followed
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch

T = TypeVar("T")
_SQL: Final = queries("sqlite")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...
    async def list_messages(self, app: int, narrow: Filter) -> Page[Message]: ...


class SqliteFollowing:
    """`FollowingStore`."""

    async def follow(
        self: _Engine, app: int, position: str, limit: int, event_types: Collection[str] | None, channel: str | None
    ) -> Followed:
        after = int(position or 0)
        if not 0 <= after < 1 << 63:
            raise ValueError(position)
        narrow = Filter(limit=limit, iterator=after, ascending=True, event_types=event_types, channel=channel)
        page = await self.list_messages(app, narrow)
        last = page.items[-1].id if page.items else after
        reached = last if page.done or page.iterator is None else page.iterator
        return Followed(page.items, str(max(last, reached)) if reached else position, page.done)

    async def position_at(self: _Engine, app: int, moment: float) -> str:
        return str(max(0, ids.first_at(moment) - 1))

    async def poller_position(self: _Engine, app: int, poller: str) -> str:
        return await self._read(_position, app, poller) or ""

    async def keep_poller_position(self: _Engine, app: int, poller: str, position: str) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["keep_poller_position"], (app, poller, position))

        await self._write(act)


def _position(connection: apsw.Connection, app: int, poller: str) -> Any:
    return connection.execute(_SQL["poller_position"], (app, poller)).get
