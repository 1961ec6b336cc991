"""Who changed what, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from gatepost.stores.audit import AuditRecord, Change, audit_of, row_of
from gatepost.stores.base import Filter, Page
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_reader import List, read_page

T = TypeVar("T")
_SQL: Final = queries("sqlite")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    def _new_id(self) -> int: ...
    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteAudit:
    """`AuditStore`."""

    async def put_audit(self: _Engine, change: Change) -> None:
        identifier = self._new_id()

        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["put_audit"], row_of(change.record(identifier, None)))

        await self._write(act)

    async def list_audit(self: _Engine, narrow: Filter) -> Page[AuditRecord]:
        wanted = List(_SQL["list_audit"], _SQL["list_audit_bound"], {}, False)
        return await self._read(read_page, wanted, narrow, audit_of)

    async def drop_audit(self: _Engine, before: int, limit: int) -> int:
        def act(batch: Batch) -> int:
            batch.connection.execute(_SQL["drop_audit"], (before, limit))
            return batch.connection.changes()

        return await self._write(act)

    def _audited(self, act: Callable[[Batch], T], change: Change, identifier: int) -> Callable[[Batch], T]:
        def both(batch: Batch) -> T:
            result = act(batch)
            batch.connection.execute(_SQL["put_audit"], row_of(change.record(identifier, result)))
            return result

        return both
