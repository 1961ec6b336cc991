"""What the control API keeps, in the SQLite store."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import apsw
import msgspec

from gatepost import ids
from gatepost.clock import Clock
from gatepost.lifecycle import State
from gatepost.model import EventType
from gatepost.stores.control import FORGET, DeliveryCounts, EventTypes, KeptAnswer
from gatepost.stores.queries import queries
from gatepost.stores.sealing import Sealer, answer_at
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_rows import to_json

T = TypeVar("T")
_SQL: Final = queries("sqlite")
_event_type: Final = msgspec.json.Decoder(EventType).decode


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    event_types: EventTypes
    _clock: Clock
    _sealer: Sealer

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteControl:
    """`ControlStore`."""

    async def put_event_type(self: _Engine, event_type: EventType, *, new: bool = False) -> EventType:
        now = self._clock.now()
        stored = msgspec.structs.replace(event_type, created=event_type.created or now, updated=now)

        def act(batch: Batch) -> EventType:
            values = (stored.name, to_json(stored))
            if new:
                if batch.connection.execute(_SQL["insert_event_type_info"], values).get is None:
                    raise ValueError(f"there is an event type {stored.name!r} already")
            else:
                batch.connection.execute(_SQL["put_event_type_info"], values)
            return stored

        return await self._write(act, self.event_types.put)

    async def delete_event_type(self: _Engine, name: str) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["delete_event_type_info"], (name,))

        await self._write(act, lambda _: self.event_types.drop(name))

    async def put_portal_token(self: _Engine, digest: bytes, app: int, expires: float) -> None:
        now = self._clock.now()

        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["forget_portal_tokens"], (now, FORGET))
            batch.connection.execute(_SQL["put_portal_token"], (digest.hex(), app, expires))

        await self._write(act)

    async def portal_token(self: _Engine, digest: bytes) -> int | None:
        return await self._read(_value, "portal_token", (digest.hex(), self._clock.now()))

    async def delete_portal_token(self: _Engine, digest: bytes) -> bool:
        def act(batch: Batch) -> bool:
            batch.connection.execute(_SQL["delete_portal_token"], (digest.hex(),))
            return batch.connection.changes() > 0

        return await self._write(act)

    async def keep_answer(self: _Engine, place: bytes, answer: KeptAnswer, expires: float) -> None:
        now = self._clock.now()
        name = place.hex()
        values = (
            name,
            answer.digest,
            answer.status,
            self._sealer.seal_bytes(answer.body, answer_at(name)),
            expires,
            now,
        )

        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["forget_answers"], (now, FORGET))
            batch.connection.execute(_SQL["keep_answer"], values)

        await self._write(act)

    async def kept_answer(self: _Engine, place: bytes) -> KeptAnswer | None:
        name = place.hex()
        row = await self._read(_row, "kept_answer", (name, self._clock.now()))
        if row is None:
            return None
        digest, status, body = row
        return KeptAnswer(digest, status, self._sealer.open_bytes(body, answer_at(name)))

    async def count_deliveries(
        self: _Engine, app: int, endpoint: int, since: float | None, until: float | None
    ) -> DeliveryCounts:
        low, high = between(since, until)
        return counts_of(await self._read(_rows, "count_deliveries", (endpoint, low, high)))

    async def expunge_message(self: _Engine, app: int, message: int) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["expunge_message"], (message, app))
            batch.connection.execute(_SQL["expunge_shaped"], (message, app))

        await self._write(act)

    async def expunge_attempt(self: _Engine, attempt: int) -> None:
        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["expunge_attempt"], (attempt,))

        await self._write(act)


def event_types(connection: apsw.Connection) -> list[EventType]:
    return [_event_type(document) for (document,) in connection.execute(_SQL["event_type_infos"])]


def between(since: float | None, until: float | None) -> tuple[int, int]:
    """The first id of a time, and the last."""
    last = (1 << 63) - 1 if until is None else ids.first_at(_milliseconds(until)) - 1
    return (0 if since is None else ids.first_at(_milliseconds(since))), last


def counts_of(rows: list[Any]) -> DeliveryCounts:
    """From (state, tried, count)."""
    counts = dict.fromkeys(DeliveryCounts._fields, 0)
    for state, tried, count in rows:
        if state == State.PENDING:
            counts["waiting" if tried else "untried"] += count
        else:
            counts[_COUNTED.get(state, "set_aside")] += count
    return DeliveryCounts(**counts)


_COUNTED: Final = {State.DELIVERED: "delivered", State.EXHAUSTED: "exhausted"}


def _milliseconds(seconds: float) -> float:
    """Up to the next whole one."""
    return math.ceil(round(seconds * 1e6) / 1000) / 1000


def _value(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> Any:
    return connection.execute(_SQL[query], values).get


def _row(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> Any:
    return connection.execute(_SQL[query], values).fetchone()


def _rows(connection: apsw.Connection, query: str, values: tuple[Any, ...]) -> list[Any]:
    return connection.execute(_SQL[query], values).fetchall()
