"""Who may call, in the SQLite store: consumers, keys, plans, and what quotas have counted.

The calls of `AccessStore` (`base.py`) stand in one class that `SqliteStore` takes over; below it are the writes, each
inside a transaction of the writer, and the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw
import msgspec

from gatepost.clock import Clock
from gatepost.model import Consumer, Key, Plan
from gatepost.stores.access import StoredAccess
from gatepost.stores.base import Filter, Page, QuotaCount
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_reader import List, read_page
from gatepost.stores.sqlite_rows import Row, names_or_null, texts_or_null, to_json

T = TypeVar("T")
_SQL: Final = queries("sqlite")
FORGOTTEN: Final = 100  # counts of past periods that one flush deletes


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    access: StoredAccess
    _clock: Clock

    def _new_id(self) -> int: ...
    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteAccess:
    """`AccessStore`. Memory changes on the loop, in commit order, before the caller goes on."""

    access: StoredAccess

    async def put_consumer(self: _Engine, consumer: Consumer) -> Consumer:
        identifier = consumer.id or self._new_id()
        now = self._clock.now()
        return await self._write(
            lambda batch: _put_consumer(batch, consumer, identifier, now), self.access.put_consumer
        )

    async def delete_consumer(self: _Engine, consumer: int) -> None:
        def forget(digests: list[bytes]) -> None:
            self.access.drop_consumer(consumer)
            for digest in digests:
                self.access.drop_key(digest)

        await self._write(lambda batch: _delete_consumer(batch, consumer), forget)

    async def consumer(self: _Engine, identifier: int) -> Consumer | None:
        return _one(await self._read(_rows, "consumer", identifier), consumer_of)

    async def consumer_named(self: _Engine, name: str) -> Consumer | None:
        return _one(await self._read(_rows, "consumer_named", name), consumer_of)

    async def consumer_with_key(self: _Engine, key: int) -> Consumer | None:
        return _one(await self._read(_rows, "consumer_with_key", key), consumer_of)

    async def list_consumers(self: _Engine, narrow: Filter) -> Page[Consumer]:
        return await self._read(_list_consumers, narrow)

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
        return named

    async def delete_key(self: _Engine, key: int) -> None:
        def forget(digest: bytes | None) -> None:
            if digest is not None:
                self.access.drop_key(digest)

        await self._write(lambda batch: batch.connection.execute(_SQL["delete_key"], (key,)).get, forget)

    async def key(self: _Engine, identifier: int) -> Key | None:
        return _one(await self._read(_rows, "key", identifier), key_of)

    async def list_keys(self: _Engine, consumer: int, narrow: Filter) -> Page[Key]:
        return await self._read(_list_keys, consumer, narrow)

    async def tell_expired_keys(self: _Engine, until: float, limit: int) -> list[Key]:
        return await self._write(
            lambda batch: [key_of(row) for row in batch.connection.execute(_SQL["tell_expired_keys"], (until, limit))]
        )

    async def put_plan(self: _Engine, plan: Plan) -> Plan:
        now = self._clock.now()
        plan = msgspec.structs.replace(plan, created=plan.created or now, updated=now)
        values = (plan.name, to_json(plan))
        await self._write(
            lambda batch: batch.connection.execute(_SQL["put_plan"], values), lambda _: self.access.put_plan(plan)
        )
        return plan

    async def delete_plan(self: _Engine, name: str) -> None:
        await self._write(
            lambda batch: batch.connection.execute(_SQL["delete_plan"], (name,)), lambda _: self.access.drop_plan(name)
        )

    async def quota_counts(self: _Engine) -> list[QuotaCount]:
        return [QuotaCount(*row) for row in await self._read(_rows, "quota_counts", self._clock.now())]

    async def put_quota_counts(self: _Engine, counts: Sequence[QuotaCount]) -> None:
        now = self._clock.now()
        await self._write(lambda batch: _put_quota_counts(batch, counts, now))


def load_access(connection: apsw.Connection) -> StoredAccess:
    """What memory holds of it, read whole."""
    access = StoredAccess()
    for row in connection.execute(_SQL["consumers"]):
        access.put_consumer(consumer_of(row))
    for consumer, digest, expires in connection.execute(_SQL["access_keys"]):
        access.load_key(consumer, digest, expires)
    for (document,) in connection.execute(_SQL["plans"]):
        access.put_plan(_plan(document))
    return access


def _put_consumer(batch: Batch, consumer: Consumer, identifier: int, now: float) -> Consumer:
    """Raises ValueError where the name is taken, LookupError where the consumer is gone."""
    execute = batch.connection.execute
    c = consumer
    columns = (
        c.name, texts_or_null(c.tags), to_json(c.metadata), texts_or_null(c.plans), names_or_null(c.routes),
        c.disabled, c.declared,
    )  # fmt: skip
    try:
        if c.key == 0:
            created = c.created or now
            key = execute(_SQL["insert_consumer"], (identifier, *columns, created, now)).get
            return msgspec.structs.replace(c, key=key, id=identifier, created=created, updated=now)
        row = execute(_SQL["update_consumer"], (*columns, now, c.key)).fetchone()
    except apsw.ConstraintError:
        raise ValueError(f"another consumer has the name {c.name!r}") from None
    if row is None:
        raise LookupError("the consumer is gone")
    return msgspec.structs.replace(c, id=row[0], created=row[1], updated=now)


def _delete_consumer(batch: Batch, consumer: int) -> list[bytes]:
    execute = batch.connection.execute
    execute(_SQL["delete_consumer"], (consumer,))
    return [digest for (digest,) in execute(_SQL["delete_keys_of_consumer"], (consumer,))]


def _put_keys(batch: Batch, keys: Sequence[Key]) -> None:
    """Raises LookupError where a consumer is gone."""
    execute = batch.connection.execute
    for k in keys:
        if execute(_SQL["consumer_exists"], (k.consumer,)).get is None:
            raise LookupError("the consumer is gone")
        values = (
            k.id, k.consumer, k.digest, k.prefix, k.name, texts_or_null(k.tags), to_json(k.metadata), k.expires,
            k.disabled, k.created, k.updated,
        )  # fmt: skip
        execute(_SQL["put_key"], values)


def _put_quota_counts(batch: Batch, counts: Sequence[QuotaCount], now: float) -> None:
    batch.connection.executemany(_SQL["put_quota_count"], counts)
    batch.connection.execute(_SQL["forget_quota_counts"], (now, FORGOTTEN))


def _rows(connection: apsw.Connection, query: str, value: object) -> list[Row]:
    return connection.execute(_SQL[query], (value,)).fetchall()


def _one(rows: list[Row], make: Callable[[Row], T]) -> T | None:
    return make(rows[0]) if rows else None


def _list_consumers(connection: apsw.Connection, narrow: Filter) -> Page[Consumer]:
    wanted = List(
        _SQL["list_consumers"], _SQL["list_consumers_bound"], {"tag": narrow.tag}, filtered=narrow.tag is not None
    )
    return read_page(connection, wanted, narrow, lambda row: consumer_of((row[1], row[0], *row[2:])))


def _list_keys(connection: apsw.Connection, consumer: int, narrow: Filter) -> Page[Key]:
    values = {"of": consumer, "tag": narrow.tag}
    wanted = List(_SQL["list_keys"], _SQL["list_keys_bound"], values, filtered=narrow.tag is not None)
    return read_page(connection, wanted, narrow, key_of)


_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_strings: Final = msgspec.json.Decoder(dict[str, str]).decode
_plan: Final = msgspec.json.Decoder(Plan).decode


def consumer_of(row: Row) -> Consumer:
    key, identifier, name, tags, metadata, plans, routes, disabled, declared, created, updated = row
    return Consumer(
        key,
        identifier,
        name,
        () if tags is None else _texts(tags),
        _strings(metadata),
        () if plans is None else _texts(plans),
        None if routes is None else frozenset(_texts(routes)),
        bool(disabled),
        bool(declared),
        created,
        updated,
    )


def key_of(row: Row) -> Key:
    identifier, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated = row
    return Key(
        identifier,
        consumer,
        digest,
        prefix,
        name,
        () if tags is None else _texts(tags),
        _strings(metadata),
        expires,
        bool(disabled),
        created,
        updated,
    )
