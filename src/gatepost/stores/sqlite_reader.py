"""Reading beside the writer: a few threads, each with a connection of its own, and the lists.

A filtered list looks at `SCAN` rows a step and stops after `PATIENCE`: its page may then be short, and says where to
go on. No read holds a snapshot for long, so checkpoints are never kept waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import apsw

from gatepost.errors import StoreUnavailable
from gatepost.model import Attempt, Message
from gatepost.stores.base import Filter, Page
from gatepost.stores.paging import bounds, fill
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_files import open_reader
from gatepost.stores.sqlite_rows import Row, attempt_of, channel_key, message_of, to_json

THREADS: Final = 3
SCAN: Final = 2_000  # rows looked at in one step: 1–2 ms
PATIENCE: Final = 0.008  # seconds after which a list that filters gives what it has

P = ParamSpec("P")
T = TypeVar("T")
_SQL: Final = queries("sqlite")


class Readers:
    """`await run(function, …)` calls `function(connection, …)` in a reading thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[apsw.Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="gatepost-read")

    async def run(self, function: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises StoreUnavailable where the disk cannot be read."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: function(self._connection(), *args, **kwargs))
        except apsw.Error as error:
            raise StoreUnavailable(f"cannot read {self._path}: {error}") from error

    def close(self) -> None:
        """Wait for what is being read, then let go of the files."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _connection(self) -> apsw.Connection:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection


class List(NamedTuple):
    """A list to read: its query, the one that bounds a scan of it, and the values of both."""

    query: str
    bound: str
    values: dict[str, Any]
    filtered: bool


def list_messages(connection: apsw.Connection, app: int, narrow: Filter) -> Page[Message]:
    values: dict[str, Any] = {
        "types": _type_keys(connection, narrow),
        "tag": narrow.tag,
        "endpoint": narrow.endpoint,
    }
    filtered = any(value is not None for value in values.values())
    if narrow.channel is None:
        wanted = List(_SQL["list_messages"], _SQL["list_messages_bound"], {"of": app, **values}, filtered)
    else:
        values |= {"of": channel_key(app, narrow.channel), "app": app, "channel": narrow.channel}
        wanted = List(_SQL["list_channel"], _SQL["list_channel_bound"], values, filtered)
    return read_page(connection, wanted, narrow, message_of)


def list_attempts(connection: apsw.Connection, of: str, key: int, narrow: Filter) -> Page[Attempt]:
    """`of` is "endpoint" or "message", `key` which one."""
    ok, status = narrow.ok, narrow.status_class
    if ok is None and status is not None and status != 2:
        ok = False  # only 2xx is a success: any other class stands in the index of failures
    failures = of == "endpoint" and ok is False
    parts = {
        "index": "attempt_failed" if failures else f"attempt_of_{of}",
        "failed": "a.ok = 0 AND" if failures else "",
        "of": of,
    }
    values: dict[str, Any] = {
        "ok": None if failures or ok is None else int(ok),
        "status": None if status is None else status * 100,
        "endpoint": narrow.endpoint,
        "types": _type_keys(connection, narrow),
        "channel": narrow.channel,
        "tag": narrow.tag,
    }
    filtered = any(value is not None for value in values.values())
    wanted = List(
        fill(_SQL["list_attempts"], parts), fill(_SQL["list_attempts_bound"], parts), {"of": key, **values}, filtered
    )
    return read_page(connection, wanted, narrow, attempt_of)


def messages_by_id(connection: apsw.Connection, identifiers: Sequence[int]) -> list[Message]:
    return [message_of(row) for row in connection.execute(_SQL["messages"], (to_json(identifiers),))]


def read_page(connection: apsw.Connection, wanted: List, narrow: Filter, make: Callable[[Row], T]) -> Page[T]:
    low, high = bounds(narrow)
    order = {"order": "ASC" if narrow.ascending else "DESC"}
    query, bound = fill(wanted.query, order), fill(wanted.bound, order)
    limit = narrow.limit
    rows: list[Row] = []
    give_up = time.monotonic() + PATIENCE
    while True:
        values = wanted.values | {"low": low, "high": high, "limit": limit + 1 - len(rows), "scan": SCAN - 1}
        edge: int | None = None
        if wanted.filtered:
            edge = connection.execute(bound, _used(bound, values)).get
            if edge is not None:
                values["high" if narrow.ascending else "low"] = edge
        rows += connection.execute(query, _used(query, values)).fetchall()
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


def _type_keys(connection: apsw.Connection, narrow: Filter) -> str | None:
    if narrow.event_types is None:
        return None
    names = to_json(list(narrow.event_types))
    return to_json([key for (key,) in connection.execute(_SQL["type_keys"], (names,))])


def _used(sql: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if f":{name}" in sql}
