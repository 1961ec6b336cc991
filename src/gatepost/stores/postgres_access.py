"""Who may call, in the PostgreSQL store: consumers, keys, plans, and what quotas have counted.

Each change leaves a line in `access_change`, in its transaction, so that other nodes read what changed, nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import asyncpg
import msgspec

from gatepost.clock import Clock
from gatepost.model import Consumer, Key, Plan
from gatepost.stores.access import StoredAccess
from gatepost.stores.base import Filter, Page, QuotaCount
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.postgres_reader import List, read_page
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_access import FORGOTTEN, consumer_of, key_of
from gatepost.stores.sqlite_rows import names_or_null, texts_or_null, to_json

T = TypeVar("T")
_SQL: Final = queries("postgresql")
_plan: Final = msgspec.json.Decoder(Plan).decode

CHANGES_KEPT: Final = 86_400.0  # seconds: a node that was away for longer has started anew


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    access: StoredAccess
    _clock: Clock

    def _new_id(self) -> int: ...
    def _tell(self) -> None: ...
    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresAccess:
    """`AccessStore`. Memory changes on the loop, in commit order, before the caller goes on."""

    access: StoredAccess

    async def put_consumer(self: _Engine, consumer: Consumer) -> Consumer:
        identifier, now = consumer.id or self._new_id(), self._clock.now()
        stored = await self._write(
            lambda batch: _put_consumer(batch, consumer, identifier, now), self.access.put_consumer
        )
        self._tell()
        return stored

    async def delete_consumer(self: _Engine, consumer: int) -> None:
        def forget(digests: list[bytes]) -> None:
            self.access.drop_consumer(consumer)
            for digest in digests:
                self.access.drop_key(digest)

        await self._write(lambda batch: _delete_consumer(batch, consumer), forget)
        self._tell()

    async def consumer(self: _Engine, identifier: int) -> Consumer | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["consumer"], identifier))
        return None if row is None else consumer_of(row)

    async def consumer_named(self: _Engine, name: str) -> Consumer | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["consumer_named"], name))
        return None if row is None else consumer_of(row)

    async def consumer_with_key(self: _Engine, key: int) -> Consumer | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["consumer_with_key"], key))
        return None if row is None else consumer_of(row)

    async def list_consumers(self: _Engine, narrow: Filter) -> Page[Consumer]:
        wanted = List(
            _SQL["list_consumers"], _SQL["list_consumers_bound"], None, (narrow.tag,), (), narrow.tag is not None
        )
        return await self._read(
            lambda db: read_page(db, wanted, narrow, lambda row: consumer_of((row[1], row[0], *row[2:])))
        )

    async def put_keys(self: _Engine, keys: Sequence[Key]) -> list[Key]:
        now = self._clock.now()
        named = [
            msgspec.structs.replace(key, id=key.id or self._new_id(), created=key.created or now, updated=now)
            for key in keys
        ]

        def remember(_: None) -> None:
            for key in named:
                self.access.put_key(key)

        await self._write(lambda batch: _put_keys(batch, named), remember)
        self._tell()
        return named

    async def delete_key(self: _Engine, key: int) -> None:
        def forget(digest: bytes | None) -> None:
            if digest is not None:
                self.access.drop_key(digest)

        await self._write(lambda batch: _delete_key(batch, key), forget)
        self._tell()

    async def key(self: _Engine, identifier: int) -> Key | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["key"], identifier))
        return None if row is None else key_of(row)

    async def list_keys(self: _Engine, consumer: int, narrow: Filter) -> Page[Key]:
        wanted = List(_SQL["list_keys"], _SQL["list_keys_bound"], consumer, (narrow.tag,), (), narrow.tag is not None)
        return await self._read(lambda db: read_page(db, wanted, narrow, key_of))

    async def tell_expired_keys(self: _Engine, until: float, limit: int) -> list[Key]:
        async def act(batch: Batch) -> list[Key]:
            return [key_of(row) for row in await batch.connection.fetch(_SQL["tell_expired_keys"], until, limit)]

        return await self._write(act)

    async def put_plan(self: _Engine, plan: Plan) -> Plan:
        now = self._clock.now()
        plan = msgspec.structs.replace(plan, created=plan.created or now, updated=now)

        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["put_plan"], plan.name, to_json(plan))
            await _note(batch, "plan", plan.name)

        await self._write(act, lambda _: self.access.put_plan(plan))
        self._tell()
        return plan

    async def delete_plan(self: _Engine, name: str) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["delete_plan"], name)
            await _note(batch, "plan", name)

        await self._write(act, lambda _: self.access.drop_plan(name))
        self._tell()

    async def quota_counts(self: _Engine) -> list[QuotaCount]:
        return [
            QuotaCount(*row) for row in await self._read(lambda db: db.fetch(_SQL["quota_counts"], self._clock.now()))
        ]

    async def put_quota_counts(self: _Engine, counts: Sequence[QuotaCount]) -> None:
        now = self._clock.now()
        unique = {(count.scope, count.key): count for count in counts}
        ordered = [unique[name] for name in sorted(unique)]

        async def act(batch: Batch) -> None:
            if ordered:
                await batch.connection.execute(_SQL["put_quota_counts"], *zip(*ordered, strict=True))
            await batch.connection.execute(_SQL["forget_quota_counts"], now, FORGOTTEN)

        await self._write(act)


async def load_access(connection: Connection, access: StoredAccess) -> None:
    """What memory holds of it, read whole."""
    for row in await connection.fetch(_SQL["consumers"]):
        access.put_consumer(consumer_of(row))
    async with connection.transaction():
        async for consumer, digest, expires in connection.cursor(_SQL["access_keys"], prefetch=1_000):
            access.load_key(consumer, digest, expires)
    for (document,) in await connection.fetch(_SQL["plans"]):
        access.put_plan(_plan(document))


async def follow_access(connection: Connection, access: StoredAccess, since: str) -> None:
    """Read again what other nodes, or this one, changed since the transaction `since`."""
    changes: dict[str, list[str]] = {"consumer": [], "key": [], "plan": []}
    for kind, name in await connection.fetch(_SQL["access_changes"], since):
        changes[kind].append(name)
    if changes["consumer"]:
        keys = [int(name) for name in changes["consumer"]]
        found = {row[0]: row for row in await connection.fetch(_SQL["some_consumers"], keys)}
        for key in keys:
            if key in found:
                access.put_consumer(consumer_of(found[key]))
            else:
                access.drop_consumer(key)
    if changes["key"]:
        digests = [bytes.fromhex(name) for name in changes["key"]]
        there = {row[2]: row for row in await connection.fetch(_SQL["keys_with_digests"], digests)}
        for digest in digests:
            if digest in there:
                access.put_key(key_of(there[digest]))
            else:
                access.drop_key(digest)
    if changes["plan"]:
        documents = await connection.fetch(_SQL["some_plans"], changes["plan"])
        plans = {plan.name: plan for plan in (_plan(document) for (document,) in documents)}
        for name in changes["plan"]:
            if name in plans:
                access.put_plan(plans[name])
            else:
                access.drop_plan(name)


async def _note(batch: Batch, kind: str, name: str) -> None:
    await batch.connection.execute(_SQL["note_access"], kind, name, batch.now)
    await batch.connection.execute(_SQL["forget_access"], batch.now - CHANGES_KEPT)


async def _put_consumer(batch: Batch, consumer: Consumer, identifier: int, now: float) -> Consumer:
    """Raises ValueError where the name is taken, LookupError where the consumer is gone."""
    c = consumer
    columns: tuple[Any, ...] = (
        c.name, texts_or_null(c.tags), to_json(c.metadata), texts_or_null(c.plans), names_or_null(c.routes),
        c.disabled, c.declared,
    )  # fmt: skip
    try:
        if c.key == 0:
            created = c.created or now
            key = await batch.connection.fetchval(_SQL["insert_consumer"], identifier, *columns, created, now)
            c = msgspec.structs.replace(c, key=key, id=identifier, created=created, updated=now)
        else:
            row = await batch.connection.fetchrow(_SQL["update_consumer"], *columns, now, c.key)
            if row is None:
                raise LookupError("the consumer is gone")
            c = msgspec.structs.replace(c, id=row[0], created=row[1], updated=now)
    except asyncpg.UniqueViolationError:
        raise ValueError(f"another consumer has the name {c.name!r}") from None
    except asyncpg.DataError as error:
        raise ValueError(f"it cannot be stored: {error}") from None
    await _note(batch, "consumer", str(c.key))
    return c


async def _delete_consumer(batch: Batch, consumer: int) -> list[bytes]:
    await batch.connection.execute(_SQL["delete_consumer"], consumer)
    digests = [row[0] for row in await batch.connection.fetch(_SQL["delete_keys_of_consumer"], consumer)]
    await _note(batch, "consumer", str(consumer))
    for digest in digests:
        await _note(batch, "key", digest.hex())
    return digests


async def _put_keys(batch: Batch, keys: Sequence[Key]) -> None:
    """Raises LookupError where a consumer is gone."""
    for k in keys:
        if await batch.connection.fetchval(_SQL["consumer_exists"], k.consumer) is None:
            raise LookupError("the consumer is gone")
        await batch.connection.execute(
            _SQL["put_key"],
            k.id, k.consumer, k.digest, k.prefix, k.name, texts_or_null(k.tags), to_json(k.metadata), k.expires,
            k.disabled, k.created, k.updated,
        )  # fmt: skip
        await _note(batch, "key", k.digest.hex())


async def _delete_key(batch: Batch, key: int) -> bytes | None:
    digest: bytes | None = await batch.connection.fetchval(_SQL["delete_key"], key)
    if digest is not None:
        await _note(batch, "key", digest.hex())
    return digest
