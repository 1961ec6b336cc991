"""Captures, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw

from gatepost.stores.captures import Captured
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch

T = TypeVar("T")
_SQL: Final = queries("sqlite")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteCaptures:
    """`CaptureStore`."""

    async def put_captures(self: _Engine, captures: Sequence[Captured]) -> None:
        def act(batch: Batch) -> None:
            batch.connection.executemany(_SQL["put_capture"], captures)

        await self._write(act)

    async def capture(self: _Engine, identifier: int) -> Captured | None:
        found = await self._read(_captures, "capture", {"id": identifier})
        return found[0] if found else None

    async def list_captures(
        self: _Engine, *, route: str | None, low: int, high: int, before: int | None, limit: int
    ) -> list[Captured]:
        values = {"route": route, "low": low, "high": high, "before": before, "limit": limit}
        return await self._read(_captures, "list_captures", values)

    async def drop_captures(self: _Engine, before: int, most: int, limit: int) -> int:
        def act(batch: Batch) -> int:
            batch.connection.execute(_SQL["drop_captures"], {"before": before, "most": most, "limit": limit})
            return batch.connection.changes()

        return await self._write(act)


def _captures(connection: apsw.Connection, query: str, values: dict[str, Any]) -> list[Captured]:
    return [Captured(*row) for row in connection.execute(_SQL[query], values)]
