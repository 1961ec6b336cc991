"""The embedded store: one SQLite database, one process, one thread that writes.

This file is the loop's side. `sqlite_writer.py` is the thread behind it, `sqlite_batch.py` one of its transactions,
`sqlite_reader.py` the lists, `sqlite_files.py` the lock and the schema, `sql/sqlite/` the SQL.
docs/decisions/0003-sqlite-storage.md says why it is shaped this way, with the numbers.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar, cast

from gatepost.clock import Clock, SystemClock
from gatepost.errors import StoreUnavailable
from gatepost.ids import IdFactory
from gatepost.model import App, Attempt, Delivery, Endpoint, Message
from gatepost.stores.base import Filter, Page
from gatepost.stores.group_commit import GroupCommit
from gatepost.stores.jobs import Job
from gatepost.stores.master_key import MasterKey
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_access import SqliteAccess
from gatepost.stores.sqlite_analytics import SqliteAnalytics
from gatepost.stores.sqlite_audit import SqliteAudit
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_captures import SqliteCaptures
from gatepost.stores.sqlite_control import SqliteControl
from gatepost.stores.sqlite_delivering import SqliteDelivering
from gatepost.stores.sqlite_files import Lock
from gatepost.stores.sqlite_following import SqliteFollowing
from gatepost.stores.sqlite_keeping import SqliteKeeping
from gatepost.stores.sqlite_objects import delete_app, delete_endpoint, put_app, put_endpoint, resend
from gatepost.stores.sqlite_reader import Readers, list_attempts, list_messages, messages_by_id
from gatepost.stores.sqlite_rows import attempt_of, delivery_of, message_of, to_json
from gatepost.stores.sqlite_shaped import SqliteShaped
from gatepost.stores.sqlite_writer import Writer

EXIT_IOERR: Final = 70  # EX_SOFTWARE of sysexits.h: the supervisor should start us again
T = TypeVar("T")
_SQL: Final = queries("sqlite")


def exit_at_once(reason: str) -> None:
    """What `fatal` does by default: one line, then the end of the process without another write."""
    sys.stderr.write(f"gatepost: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_IOERR)


class SqliteStore(
    SqliteAudit, GroupCommit, SqliteAccess, SqliteAnalytics, SqliteCaptures, SqliteControl,
    SqliteDelivering, SqliteFollowing, SqliteKeeping, SqliteShaped,
):  # fmt: skip
    """The store contract (`base.py`) over one database file. All calls come from the loop that ran `open`.

    `fatal(reason)` is called, in the writing thread, when an fsync fails: the process must not go on.
    `probe_interval` is how many seconds pass between two looks at a disk that refused a write. `key` seals what must be
    secret; a store that was never opened with one keeps it as it is.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock | None = None,
        node: int = 0,
        fatal: Callable[[str], None] = exit_at_once,
        probe_interval: float = 1.0,
        key: MasterKey | None = None,
    ) -> None:
        super().__init__(SystemClock() if clock is None else clock)
        self._path = path
        self._node = node
        self._fatal = fatal
        self._probe_interval = probe_interval
        self._key = key

    # life

    async def open(self) -> None:
        """Raises StoreUnavailable, with the way out, where the file is in use, unreadable or a newer Gatepost's."""
        loop = self._loop = asyncio.get_running_loop()
        self._lock = Lock(self._path)
        self._writer = Writer(
            self._path, self._clock, loop, self._settle, self._hear, self._fatal, self._probe_interval, self._key
        )
        try:
            opened = await self._writer.start()
        except BaseException:
            self._lock.release()
            raise
        self._ids = IdFactory(self._clock, self._node, after=opened.greatest_id)
        self._next_id = self._ids.next
        self._readers = Readers(self._path)
        self.directory.load(opened.apps, opened.endpoints)
        self.access = opened.access
        self._sealer = opened.sealer
        self.event_types.load(opened.event_types)
        self._open = True

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._flush()
        await self._loop.run_in_executor(None, self._readers.close)
        await self._writer.stop()
        self._lock.release()

    @property
    def writable(self) -> bool:
        return self._open and self._writer.writable

    @property
    def last_id(self) -> int:
        return self._ids.last

    def _hand_in(self, jobs: list[Job]) -> None:
        self._writer.hand_in(jobs)

    # deliveries

    async def next_due(self) -> dict[int, float]:
        rows = await self._read(lambda db: db.execute(_SQL["next_due"]).fetchall())
        return {endpoint: due for endpoint, due in rows if due is not None}

    async def due(self, endpoint: int, until: float, limit: int, *, skip: Collection[int] = ()) -> list[Delivery]:
        if endpoint not in self.directory.endpoints:
            return []
        skipped = frozenset(skip)
        most = limit + len(skipped)
        rows = await self._read(lambda db: db.execute(_SQL["due"], (endpoint, until, most)).fetchall())
        return [delivery_of(row) for row in rows if row[0] not in skipped][:limit]

    async def messages(self, ids: Sequence[int]) -> dict[int, Message]:
        found = await self._read(messages_by_id, ids)
        return {message.id: message for message in found}

    async def resend(self, message: int, endpoint: int, due: float) -> Delivery | None:
        return await self._write(lambda batch: resend(batch, message, endpoint, due))

    # lists and objects

    async def message(self, app: int, message: int) -> Message | None:
        found = await self._read(messages_by_id, [message])
        return found[0] if found and found[0].app == app else None

    async def message_by_event_id(self, app: int, event_id: str) -> Message | None:
        rows = await self._read(lambda db: db.execute(_SQL["message_by_event_id"], (app, event_id)).fetchall())
        return message_of(rows[0]) if rows else None

    async def list_messages(self, app: int, narrow: Filter) -> Page[Message]:
        return await self._read(list_messages, app, narrow)

    async def channel_messages(self, app: int, channel: str, after: int, limit: int) -> list[Message]:
        narrow = Filter(limit=limit, iterator=after, ascending=True, channel=channel)
        return (await self._read(list_messages, app, narrow)).items

    async def deliveries_of(self, message: int) -> list[Delivery]:
        rows = await self._read(lambda db: db.execute(_SQL["deliveries_of"], (message,)).fetchall())
        return [delivery_of(row) for row in rows]

    async def deliveries_to(self, endpoint: int, messages: Sequence[int]) -> list[Delivery]:
        values = (endpoint, to_json(messages))
        rows = await self._read(lambda db: db.execute(_SQL["deliveries_to"], values).fetchall())
        return [delivery_of(row) for row in rows]

    async def attempt(self, attempt: int) -> Attempt | None:
        rows = await self._read(lambda db: db.execute(_SQL["attempt"], (attempt,)).fetchall())
        return attempt_of(rows[0]) if rows else None

    async def attempts_of_message(self, message: int, narrow: Filter) -> Page[Attempt]:
        return await self._read(list_attempts, "message", message, narrow)

    async def attempts_of_endpoint(self, endpoint: int, narrow: Filter) -> Page[Attempt]:
        return await self._read(list_attempts, "endpoint", endpoint, narrow)

    async def put_app(self, app: App) -> App:
        identifier = app.id or self._new_id()
        now = self._clock.now()
        return await self._write(lambda batch: put_app(batch, app, identifier, now), self.directory.put_app)

    async def delete_app(self, app: int) -> None:
        await self._write(lambda batch: delete_app(batch, app), lambda _: self.directory.drop_app(app))

    async def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        identifier = endpoint.id or self._new_id()
        now = self._clock.now()
        return await self._write(
            lambda batch: put_endpoint(batch, endpoint, identifier, now, self._sealer), self.directory.put_endpoint
        )

    async def delete_endpoint(self, endpoint: int) -> None:
        await self._write(
            lambda batch: delete_endpoint(batch, endpoint), lambda _: self.directory.drop_endpoint(endpoint)
        )

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        return await self._readers.run(function, *arguments)

    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T:
        return cast("T", await self._task(act, committed))
