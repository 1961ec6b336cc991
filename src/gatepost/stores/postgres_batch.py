"""One transaction of the PostgreSQL store: decides duplicates, gathers rows, writes them as arrays.

`unnest` turns arrays into rows, so a batch of any size is one statement a table: 16 µs of Python a message with three
rows, where a statement each costs hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg

from gatepost import ids
from gatepost.lifecycle import State
from gatepost.stores.base import Accepted, Completion, EventIdTaken, NewMessage, Outcome, Repeated
from gatepost.stores.postgres_shaped import keep_or_drop
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_rows import texts_or_null

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

IDEMPOTENCY_SECONDS: Final = 12 * 3600.0  # explicit keys
AUTO_SECONDS: Final = 600.0  # `auto_…`: what Svix's SDKs put on every POST
EXPIRE: Final = 20  # old idempotency keys that a batch takes away, where it brings some
INTERNED: Final = 100_000

_SQL: Final = queries("postgresql")


class Names:
    """Event types and URLs as small integers. What is committed stays, so a name found once is right for ever."""

    __slots__ = ("types", "urls")

    def __init__(self) -> None:
        self.types: dict[str, int] = {}
        self.urls: dict[str, int] = {}

    async def learn(self, connection: Connection, types: set[str], urls: set[str]) -> None:
        """Outside the batch's transaction, so that two nodes which bring the same name never wait for each other."""
        await _learn(connection, "types", self.types, types)
        await _learn(connection, "urls", self.urls, urls)


async def _learn(connection: Connection, kind: str, known: dict[str, int], names: set[str]) -> None:
    new = sorted(names - known.keys())
    if not new:
        return
    if len(known) >= INTERNED:
        known.clear()
        new = sorted(names)
    for _ in range(2):
        known.update(await connection.fetch(_SQL[f"find_{kind}"], new))
        new = [name for name in new if name not in known]
        if not new:
            return
        await connection.execute(_SQL[f"intern_{kind}"], new)
    known.update(await connection.fetch(_SQL[f"find_{kind}"], new))


class Batch:
    """Rows of one transaction. `connection` is in it."""

    __slots__ = ("_names", "accepted", "connection", "now")

    def __init__(self, connection: Connection, names: Names, now: float) -> None:
        self.connection = connection
        self.now = now
        self.accepted: list[NewMessage] = []
        self._names = names

    async def accept(self, messages: Sequence[NewMessage]) -> list[Outcome]:
        """Their outcomes, in order. Two that want the same key or event id are decided one after the other."""
        outcomes: dict[int, Outcome] = {}
        waiting = list(messages)
        while waiting:
            taken: set[tuple[int, int, str]] = set()
            now: list[NewMessage] = []
            later: list[NewMessage] = []
            for message in waiting:
                wants = _wants(message)
                (later if wants & taken else now).append(message)
                taken |= wants
            await self._decide(now, outcomes)
            waiting = later
        fresh = [m for m in messages if type(outcomes[m.id]) is Accepted]
        await self._insert(fresh)
        self.accepted += fresh
        return [outcomes[message.id] for message in messages]

    async def _decide(self, messages: list[NewMessage], outcomes: dict[int, Outcome]) -> None:
        fetch = self.connection.fetch
        for message in messages:
            outcomes[message.id] = Accepted(message.id)
        keyed = sorted((m for m in messages if m.idempotency_key is not None), key=_key)
        if keyed:
            mine = {
                row[0]
                for row in await fetch(
                    _SQL["claim_keys"],
                    [m.app for m in keyed],
                    [m.idempotency_key for m in keyed],
                    [m.id for m in keyed],
                    [m.body_digest for m in keyed],
                    ids.first_at(self.now - AUTO_SECONDS),
                    ids.first_at(self.now - IDEMPOTENCY_SECONDS),
                )
            }
            repeated = {_key(m): m for m in keyed if m.id not in mine}
            if repeated:
                pairs = list(repeated)
                rows = await fetch(_SQL["owners_of_keys"], [app for app, _ in pairs], [key for _, key in pairs])
                for app, key, owner, digest in rows:
                    message = repeated[app, key]
                    outcomes[message.id] = Repeated(owner, digest == message.body_digest)
            await self.connection.execute(_SQL["expire_keys"], ids.first_at(self.now - IDEMPOTENCY_SECONDS), EXPIRE)
        named = sorted(
            (m for m in messages if m.event_id is not None and type(outcomes[m.id]) is Accepted), key=_event_id
        )
        if not named:
            return
        mine = {
            row[0]
            for row in await fetch(
                _SQL["claim_event_ids"], [m.app for m in named], [m.event_id for m in named], [m.id for m in named]
            )
        }
        taken = {_event_id(m): m for m in named if m.id not in mine}
        if taken:
            pairs = list(taken)
            rows = await fetch(_SQL["owners_of_event_ids"], [app for app, _ in pairs], [name for _, name in pairs])
            for app, name, owner in rows:
                outcomes[taken[app, name].id] = EventIdTaken(owner)
            unused = [m.id for m in taken.values() if m.idempotency_key is not None]
            if unused:
                await self.connection.execute(_SQL["drop_keys"], unused)

    async def _insert(self, messages: list[NewMessage]) -> None:
        if not messages:
            return
        execute = self.connection.execute
        types = self._names.types
        await execute(
            _SQL["insert_messages"],
            [m.app for m in messages],
            [m.id for m in messages],
            [types[m.event_type] for m in messages],
            [m.event_id for m in messages],
            [texts_or_null(m.channels) for m in messages],
            [texts_or_null(m.tags) for m in messages],
            [m.payload for m in messages],
        )
        kept = [(m.id, self.now + m.keep) for m in messages if m.keep is not None]
        if kept:
            await execute(_SQL["keep_messages"], *_columns(kept))
        channels = [(m.app, channel, m.id) for m in messages for channel in m.channels]
        if channels:
            await execute(_SQL["insert_channels"], *_columns(channels))
        deliveries = [
            (m.app, m.id, endpoint, 0, None if m.orders is None else m.orders.get(endpoint))
            for m in messages
            for endpoint in m.endpoints
        ]
        for m in messages:
            for endpoint in m.skipped:
                ordering = None if m.orders is None else m.orders.get(endpoint)
                deliveries.append((m.app, m.id, endpoint, int(State.SKIPPED), ordering))
        if deliveries:
            await execute(_SQL["insert_deliveries"], *_columns(deliveries), self.now)

    async def complete(self, completions: Sequence[tuple[Completion, int]]) -> None:
        """With the id of each one's attempt."""
        execute = self.connection.execute
        types, urls = self._names.types, self._names.urls
        # One statement cannot change a row twice: the last word counts.
        moves = {(c.attempt.message, c.attempt.endpoint): c for c, _ in completions}
        await execute(
            _SQL["put_deliveries"],
            *_columns(
                [
                    (c.attempt.app, message, endpoint, int(c.state), c.tries, c.due)
                    for (message, endpoint), c in moves.items()
                ]
            ),
        )
        batched = [(c.attempt.app, m, endpoint, c.batch) for (m, endpoint), c in moves.items() if c.batch is not None]
        if batched:
            await execute(_SQL["set_batches"], *_columns(batched))
        await keep_or_drop(execute, moves.values())
        await execute(
            _SQL["insert_attempts"],
            *_columns(
                [
                    (
                        a.app, identifier, a.message, a.endpoint, types[a.event_type], a.ok, a.status, urls[a.url],
                        a.trigger, a.started, a.duration, _storable(a.error), a.response or None,
                    )
                    for a, identifier in ((c.attempt, identifier) for c, identifier in completions)
                ]
            ),
        )  # fmt: skip


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _storable(error: str) -> str | None:
    """Errors may quote what a peer sent: PostgreSQL takes neither a lone surrogate nor NUL."""
    return error.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00") if error else None


def _wants(message: NewMessage) -> set[tuple[int, int, str]]:
    wants = set()
    if message.idempotency_key is not None:
        wants.add((message.app, 0, message.idempotency_key))
    if message.event_id is not None:
        wants.add((message.app, 1, message.event_id))
    return wants


# In the order of the index: two nodes that claim the same pair of keys then never wait for each other in a ring.
_key: Final[Callable[[NewMessage], Any]] = lambda message: (message.app, message.idempotency_key)  # noqa: E731
_event_id: Final[Callable[[NewMessage], Any]] = lambda message: (message.app, message.event_id)  # noqa: E731
