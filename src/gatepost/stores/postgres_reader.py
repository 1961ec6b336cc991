"""The lists of the PostgreSQL store: the same rules as `sqlite_reader`, over connections of a pool.

A filtered list looks at `SCAN` rows a step and stops after `PATIENCE`: its page may then be short, and says where to
go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from gatepost.model import Attempt, Message
from gatepost.stores.base import Filter, Page
from gatepost.stores.paging import bounds, fill
from gatepost.stores.postgres_batch import Connection
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_rows import Row, attempt_of, message_of

SCAN: Final = 2_000  # rows looked at in one step
PATIENCE: Final = 0.02  # seconds after which a list that filters gives what it has

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class List(NamedTuple):
    """A list to read: its query with the values behind `of, low, high, limit`, and the one that bounds a scan of it."""

    query: str
    bound: str
    of: int | None
    values: tuple[Any, ...]
    bound_values: tuple[Any, ...]
    filtered: bool


async def list_messages(connection: Connection, app: int, narrow: Filter) -> Page[Message]:
    values = (await _type_keys(connection, narrow), narrow.tag, narrow.endpoint)
    filtered = any(value is not None for value in values)
    if narrow.channel is None:
        wanted = List(_SQL["list_messages"], _SQL["list_messages_bound"], app, values, (), filtered)
    else:
        channel = narrow.channel
        wanted = List(_SQL["list_channel"], _SQL["list_channel_bound"], app, (*values, channel), (channel,), filtered)
    return await read_page(connection, wanted, narrow, message_of)


async def list_attempts(connection: Connection, of: str, key: int, narrow: Filter) -> Page[Attempt]:
    """`of` is "endpoint" or "message", `key` which one."""
    ok, status = narrow.ok, narrow.status_class
    if ok is None and status is not None and status != 2:
        ok = False  # only 2xx is a success: any other class stands in the index of failures
    failures = of == "endpoint" and ok is False
    parts = {"failed": "NOT a.ok AND" if failures else "", "of": of}
    values = (
        None if failures else ok,
        None if status is None else status * 100,
        narrow.endpoint,
        await _type_keys(connection, narrow),
        narrow.channel,
        narrow.tag,
    )
    filtered = any(value is not None for value in values)
    query, bound = fill(_SQL["list_attempts"], parts), fill(_SQL["list_attempts_bound"], parts)
    return await read_page(connection, List(query, bound, key, values, (), filtered), narrow, attempt_of)


async def read_page(connection: Connection, wanted: List, narrow: Filter, make: Callable[[Row], T]) -> Page[T]:
    low, high = bounds(narrow)
    order = {"order": "ASC" if narrow.ascending else "DESC"}
    query, bound = fill(wanted.query, order), fill(wanted.bound, order)
    limit = narrow.limit
    rows: list[Any] = []
    give_up = time.monotonic() + PATIENCE
    while True:
        edge: int | None = None
        until_low, until_high = low, high
        if wanted.filtered:
            edge = await connection.fetchval(bound, wanted.of, low, high, SCAN - 1, *wanted.bound_values)
            if edge is not None and narrow.ascending:
                until_high = edge
            elif edge is not None:
                until_low = edge
        rows += await connection.fetch(query, wanted.of, until_low, until_high, limit + 1 - len(rows), *wanted.values)
        if len(rows) > limit:
            return Page([make(row) for row in rows[:limit]], False, rows[limit - 1][0])
        if edge is None:
            return Page([make(row) for row in rows], True, None)
        if time.monotonic() >= give_up:
            return Page([make(row) for row in rows], False, edge)
        if narrow.ascending:
            low = edge + 1
        else:
            high = edge - 1


async def _type_keys(connection: Connection, narrow: Filter) -> list[int] | None:
    if narrow.event_types is None:
        return None
    return [row[0] for row in await connection.fetch(_SQL["type_keys"], list(narrow.event_types))]
