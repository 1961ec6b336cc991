"""What is kept for how long, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol, TypeVar

from gatepost.stores.keeping import Body, What
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresKeeping:
    """`KeepingStore`."""

    async def bodies(self: _Engine, what: What, after: int, before: int, limit: int) -> list[Body]:
        rows = await self._read(lambda db: db.fetch(_SQL[f"old_{what}"], after, before, limit))
        return [Body(*row) for row in rows]

    async def forget(self: _Engine, what: What, bodies: Sequence[Body], rule: str, reached: int) -> None:
        async def act(batch: Batch) -> None:
            if bodies:
                await _forget(batch, what, bodies)
            await batch.connection.execute(_SQL["put_retention_mark"], rule, reached)

        await self._write(act)

    async def overdue_payloads(self: _Engine, now: float, limit: int) -> list[Body]:
        rows = await self._read(lambda db: db.fetch(_SQL["overdue_payloads"], now, limit))
        return [Body(*row) for row in rows]

    async def forget_overdue(self: _Engine, bodies: Sequence[Body]) -> None:
        async def act(batch: Batch) -> None:
            await _forget(batch, "payloads", bodies)
            await batch.connection.execute(_SQL["drop_keeps"], [body.id for body in bodies])

        await self._write(act)

    async def retention_marks(self: _Engine) -> dict[str, int]:
        return dict(await self._read(lambda db: db.fetch(_SQL["retention_marks"])))

    async def keep_marks(self: _Engine, rules: Collection[str]) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["drop_retention_marks"], list(rules))

        await self._write(act)


async def _forget(batch: Batch, what: What, bodies: Sequence[Body]) -> None:
    await batch.connection.execute(_SQL[f"forget_{what}"], [body.app for body in bodies], [body.id for body in bodies])
