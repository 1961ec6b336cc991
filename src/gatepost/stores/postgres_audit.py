"""Who changed what, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from gatepost.stores.audit import AuditRecord, Change, audit_of, row_of
from gatepost.stores.base import Filter, Page
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.postgres_reader import List, read_page
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    def _new_id(self) -> int: ...
    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresAudit:
    """`AuditStore`."""

    async def put_audit(self: _Engine, change: Change) -> None:
        values: tuple[Any, ...] = row_of(change.record(self._new_id(), None))

        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["put_audit"], *values)

        await self._write(act)

    async def list_audit(self: _Engine, narrow: Filter) -> Page[AuditRecord]:
        wanted = List(_SQL["list_audit"], _SQL["list_audit_bound"], None, (), (), False)
        return await self._read(lambda db: read_page(db, wanted, narrow, audit_of))

    async def drop_audit(self: _Engine, before: int, limit: int) -> int:
        async def act(batch: Batch) -> int:
            status: str = await batch.connection.execute(_SQL["drop_audit"], before, limit)
            return int(status.rpartition(" ")[2])

        return await self._write(act)

    def _audited(
        self, act: Callable[[Batch], Awaitable[T]], change: Change, identifier: int
    ) -> Callable[[Batch], Awaitable[T]]:
        async def both(batch: Batch) -> T:
            result = await act(batch)
            values: tuple[Any, ...] = row_of(change.record(identifier, result))
            await batch.connection.execute(_SQL["put_audit"], *values)
            return result

        return both
