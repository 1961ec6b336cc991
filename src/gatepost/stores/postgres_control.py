"""What the control API keeps, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from gatepost.clock import Clock
from gatepost.model import EventType
from gatepost.stores.control import FORGET, DeliveryCounts, EventTypes, KeptAnswer
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries
from gatepost.stores.sealing import Sealer, answer_at
from gatepost.stores.sqlite_control import between, counts_of
from gatepost.stores.sqlite_rows import to_json

T = TypeVar("T")
_SQL: Final = queries("postgresql")
_event_type: Final = msgspec.json.Decoder(EventType).decode


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    event_types: EventTypes
    _clock: Clock
    _sealer: Sealer

    def _tell(self) -> None: ...
    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresControl:
    """`ControlStore`."""

    async def put_event_type(self: _Engine, event_type: EventType, *, new: bool = False) -> EventType:
        now = self._clock.now()
        stored = msgspec.structs.replace(event_type, created=event_type.created or now, updated=now)

        async def act(batch: Batch) -> EventType:
            query = _SQL["insert_event_type_info" if new else "put_event_type_info"]
            row = await batch.connection.fetchrow(query, stored.name, to_json(stored))
            if new and row is None:
                raise ValueError(f"there is an event type {stored.name!r} already")
            return stored

        result = await self._write(act, self.event_types.put)
        self._tell()
        return result

    async def delete_event_type(self: _Engine, name: str) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["delete_event_type_info"], name)

        await self._write(act, lambda _: self.event_types.drop(name))
        self._tell()

    async def put_portal_token(self: _Engine, digest: bytes, app: int, expires: float) -> None:
        now = self._clock.now()

        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["forget_portal_tokens"], now, FORGET)
            await batch.connection.execute(_SQL["put_portal_token"], digest.hex(), app, expires)

        await self._write(act)

    async def portal_token(self: _Engine, digest: bytes) -> int | None:
        now = self._clock.now()
        app: int | None = await self._read(lambda db: db.fetchval(_SQL["portal_token"], digest.hex(), now))
        return app

    async def delete_portal_token(self: _Engine, digest: bytes) -> bool:
        async def act(batch: Batch) -> bool:
            return await batch.connection.fetchrow(_SQL["delete_portal_token"], digest.hex()) is not None

        return await self._write(act)

    async def keep_answer(self: _Engine, place: bytes, answer: KeptAnswer, expires: float) -> None:
        now = self._clock.now()
        name = place.hex()
        body = self._sealer.seal_bytes(answer.body, answer_at(name))
        values: tuple[Any, ...] = (name, answer.digest, answer.status, body, expires, now)

        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["forget_answers"], now, FORGET)
            await batch.connection.execute(_SQL["keep_answer"], *values)

        await self._write(act)

    async def kept_answer(self: _Engine, place: bytes) -> KeptAnswer | None:
        now = self._clock.now()
        name = place.hex()
        row = await self._read(lambda db: db.fetchrow(_SQL["kept_answer"], name, now))
        if row is None:
            return None
        digest, status, body = row
        return KeptAnswer(digest, status, self._sealer.open_bytes(body, answer_at(name)))

    async def count_deliveries(
        self: _Engine, app: int, endpoint: int, since: float | None, until: float | None
    ) -> DeliveryCounts:
        low, high = between(since, until)
        rows: list[Any] = await self._read(lambda db: db.fetch(_SQL["count_deliveries"], app, endpoint, low, high))
        return counts_of(rows)

    async def expunge_message(self: _Engine, app: int, message: int) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["expunge_message"], app, message)
            await batch.connection.execute(_SQL["expunge_shaped"], app, message)

        await self._write(act)

    async def expunge_attempt(self: _Engine, attempt: int) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["expunge_attempt"], attempt)

        await self._write(act)


async def load_event_types(connection: Connection, event_types: EventTypes) -> None:
    event_types.load(_event_type(document) for (document,) in await connection.fetch(_SQL["event_type_infos"]))


async def follow_event_types(connection: Connection, event_types: EventTypes, since: str) -> None:
    """Read again what other nodes, or this one, changed since the transaction `since`."""
    for name, document in await connection.fetch(_SQL["changed_event_type_infos"], since):
        if document is None:
            event_types.drop(name)
        else:
            event_types.put(_event_type(document))
