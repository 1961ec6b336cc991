"""What is kept for how long, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw

from gatepost.stores.keeping import Body, What
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_rows import to_json

T = TypeVar("T")
_SQL: Final = queries("sqlite")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteKeeping:
    """`KeepingStore`."""

    async def bodies(self: _Engine, what: What, after: int, before: int, limit: int) -> list[Body]:
        return await self._read(_bodies, f"old_{what}", (after, before, limit))

    async def forget(self: _Engine, what: What, bodies: Sequence[Body], rule: str, reached: int) -> None:
        def act(batch: Batch) -> None:
            if bodies:
                batch.connection.execute(_SQL[f"forget_{what}"], (_ids(bodies),))
            batch.connection.execute(_SQL["put_retention_mark"], (rule, reached))

        await self._write(act)

    async def overdue_payloads(self: _Engine, now: float, limit: int) -> list[Body]:
        return await self._read(_bodies, "overdue_payloads", (now, limit))

    async def forget_overdue(self: _Engine, bodies: Sequence[Body]) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["forget_payloads"], (_ids(bodies),))
            batch.connection.execute(_SQL["drop_keeps"], (_ids(bodies),))

        await self._write(act)

    async def retention_marks(self: _Engine) -> dict[str, int]:
        return dict(await self._read(_rows, "retention_marks", ()))

    async def keep_marks(self: _Engine, rules: Collection[str]) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["drop_retention_marks"], (to_json(list(rules)),))

        await self._write(act)


def _rows(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> list[Any]:
    return connection.execute(_SQL[query], values).fetchall()


def _bodies(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> list[Body]:
    return [Body(*row) for row in _rows(connection, query, values)]


def _ids(bodies: Sequence[Body]) -> str:
    return to_json([body.id for body in bodies])
