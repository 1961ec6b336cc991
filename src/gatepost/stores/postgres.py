"""The store of many nodes: one PostgreSQL database.

This file is the contract's side. `postgres_writer.py` is the connection that writes, `postgres_batch.py` one of its
transactions, `postgres_objects.py` apps and endpoints, `postgres_reader.py` the lists, `postgres_nodes.py` who sends
which lane, `postgres_follow.py` what other nodes do, `postgres_files.py` the schema, `sql/postgresql/` the SQL.
docs/decisions/0004-postgresql-storage.md says why it is shaped this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, TypeVar, cast

import asyncpg

from gatepost.clock import Clock, SystemClock
from gatepost.errors import StoreUnavailable
from gatepost.ids import IdFactory
from gatepost.model import App, Attempt, Delivery, Endpoint, Message
from gatepost.stores.base import Filter, NewMessage, Page
from gatepost.stores.group_commit import GroupCommit
from gatepost.stores.jobs import Job, Settled
from gatepost.stores.lanes import Lanes
from gatepost.stores.master_key import MasterKey
from gatepost.stores.postgres_access import PostgresAccess, follow_access, load_access
from gatepost.stores.postgres_analytics import PostgresAnalytics
from gatepost.stores.postgres_audit import PostgresAudit
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.postgres_captures import PostgresCaptures
from gatepost.stores.postgres_control import PostgresControl, follow_event_types, load_event_types
from gatepost.stores.postgres_delivering import PostgresDelivering
from gatepost.stores.postgres_files import Address, check_server, migrate
from gatepost.stores.postgres_follow import Follower
from gatepost.stores.postgres_following import PostgresFollowing
from gatepost.stores.postgres_keeping import PostgresKeeping
from gatepost.stores.postgres_nodes import Membership
from gatepost.stores.postgres_objects import (
    Snapshot,
    delete_app,
    delete_endpoint,
    put_app,
    put_endpoint,
    resend,
    snapshot_of,
)
from gatepost.stores.postgres_reader import list_attempts, list_messages
from gatepost.stores.postgres_sealing import open_sealer
from gatepost.stores.postgres_shaped import PostgresShaped
from gatepost.stores.postgres_writer import TROUBLE, Writer, close
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_rows import app_of, attempt_of, delivery_of, endpoint_of, message_of

READERS: Final = 4  # connections

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class PostgresStore(
    PostgresAudit, GroupCommit, PostgresAccess, PostgresAnalytics, PostgresCaptures, PostgresControl,
    PostgresDelivering, PostgresFollowing, PostgresKeeping, PostgresShaped,
):  # fmt: skip
    """The store contract (`base.py`) over one database. All calls come from the loop that ran `open`.

    `lease` is how long, in seconds, a dead node keeps its lanes; `reserve` the longest that a try may take. `matcher`
    matches a message anew where an app was changed on another node since. `key` seals what must be secret; a store that
    was never opened with one keeps it as it is.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        lease: float = 45.0,
        reserve: float = 16.0,
        probe_interval: float = 1.0,
        follow_interval: float = 1.0,
        key: MasterKey | None = None,
    ) -> None:
        super().__init__(SystemClock() if clock is None else clock)
        self.lanes = Lanes(frozenset())
        self._address = Address(url)
        self._lease = lease
        self._reserve = reserve
        self._probe_interval = probe_interval
        self._follow_interval = follow_interval
        self._key = key
        self._revisions: dict[int, int] = {}  # by the app's key: what the directory holds of it

    # life

    async def open(self) -> None:
        """Raises StoreUnavailable, with the way out, where the database cannot be used."""
        self._loop = asyncio.get_running_loop()
        connection = await self._address.connect()
        membership: Membership | None = None
        try:
            await check_server(connection)
            await migrate(connection)
            self._sealer = await open_sealer(connection, self._key, self._clock.now())
            membership = self._membership = Membership(
                self._address.connect, self.lanes, self._replaced, lease=self._lease, reserve=self._reserve
            )
            await self._membership.join(await self._address.connect())
            horizon = await connection.fetchval(_SQL["horizon"])
            for row in await connection.fetch(_SQL["apps"]):
                self._revisions[row[0]] = row[9]
                self.directory.put_app(app_of(row[:9]))
            for row in await connection.fetch(_SQL["endpoints"]):
                self.directory.put_endpoint(endpoint_of(self._sealer.open_row(row)))
            await load_access(connection, self.access)
            await load_event_types(connection, self.event_types)
            await self._new_ids(connection)
            self._writer = Writer(
                self._address.connect,
                self._clock,
                self._settle,
                self._hear,
                self._match_again,
                self._probe_interval,
            )
            self._writer.node = (self._membership.number, self._membership.epoch)
            self._writer.fenced_off = self._fenced_off
            self._writer.sweep([row[0] for row in await connection.fetch(_SQL["endpoints_to_sweep"])])
            self._pool = await self._address.pool(READERS)
        except BaseException as error:
            await close(connection)
            if membership is not None:
                await membership.leave()
            if isinstance(error, (*TROUBLE, asyncpg.PostgresError)):
                raise StoreUnavailable(f"cannot use {self._address}: {error}") from error
            raise
        self._writer.start(connection)
        self._membership.start()
        self._follower = Follower(
            self._address, self._pool, self._membership, self._apply, self._access_changed, self._news,
            horizon, self._follow_interval,
        )  # fmt: skip
        await self._follower.start()
        self._open = True

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._flush()
        await self._follower.stop()
        await self._writer.stop()
        await self._membership.leave()
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except (TimeoutError, *TROUBLE):
            self._pool.terminate()

    async def crash(self) -> None:
        """End as a killed process would: nothing is written, nothing given back. For tests."""
        self._open = False
        await self._follower.stop()
        self._writer.kill()
        self._membership.kill()
        self._pool.terminate()

    @property
    def writable(self) -> bool:
        return self._open and self._writer.writable

    @property
    def last_id(self) -> int:
        return self._ids.last

    def _hand_in(self, jobs: list[Job]) -> None:
        self._writer.hand_in(jobs)

    def _settle(self, settled: Settled) -> None:
        super()._settle(settled)
        owns = self.lanes.owns
        if any(not owns(endpoint) for message in settled.accepted for endpoint in message.endpoints):
            self._follower.tell_of_messages()

    async def _new_ids(self, connection: Connection) -> None:
        number = self._membership.number
        after = await connection.fetchval(_SQL["greatest_id"], number)
        self._ids = IdFactory(self._clock, number, after=after)
        self._next_id = self._ids.next

    async def _replaced(self) -> None:
        """Another number, other ids; what was handed in under the old one is refused by its fence."""
        async with self._pool.acquire() as connection:
            await self._new_ids(cast("Connection", connection))
        self._writer.node = (self._membership.number, self._membership.epoch)

    def _fenced_off(self) -> None:
        self._membership.look_now()

    async def refresh(self) -> None:
        await self._read(self._follower.look)

    # what other nodes do

    async def _match_again(self, batch: Batch, messages: list[NewMessage]) -> None:
        """See to it that these were matched against what the database says in this very transaction."""
        apps = list({message.app for message in messages})
        stale = [
            key for key, revision in await batch.connection.fetch(_SQL["revisions"], apps)
            if self._revisions.get(key) != revision
        ]  # fmt: skip
        if not stale:
            return
        self._apply(await snapshot_of(batch.connection, stale))
        if self.matcher is not None:
            changed = set(stale)
            for message in messages:
                if message.app in changed:
                    message.endpoints = self.matcher(message)

    def _apply(self, snapshot: Snapshot) -> None:
        """Apps as a transaction saw them, with all of their endpoints."""
        directory = self.directory
        revisions = self._revisions
        for app, revision in snapshot.apps:
            if revisions.get(app.key, 0) >= revision:
                continue  # known, or read before what is known was written
            revisions[app.key] = revision
            if directory.apps.get(app.key) != app:
                directory.put_app(app)
            there = {endpoint.key: endpoint for endpoint in directory.endpoints_of(app.key)}
            for row in snapshot.endpoints.get(app.key, ()):
                endpoint = endpoint_of(self._sealer.open_row(row))
                if there.pop(endpoint.key, None) != endpoint:
                    directory.put_endpoint(endpoint)
            for key in there:
                directory.drop_endpoint(key)
        for key, revision in snapshot.gone:
            revisions[key] = revision
            directory.drop_app(key)

    async def _access_changed(self, connection: Connection, since: str) -> None:
        await follow_access(connection, self.access, since)
        await follow_event_types(connection, self.event_types, since)

    def _tell(self) -> None:
        self._follower.tell()

    def _news(self, endpoints: Collection[int]) -> None:
        if self.lanes.listener is not None:
            self.lanes.listener.news(endpoints)

    # deliveries

    async def next_due(self) -> dict[int, float]:
        rows = await self._read(lambda db: db.fetch(_SQL["next_due"]))
        owns = self.lanes.owns
        return {endpoint: due for endpoint, due in rows if owns(endpoint)}

    async def due(self, endpoint: int, until: float, limit: int, *, skip: Collection[int] = ()) -> list[Delivery]:
        if endpoint not in self.directory.endpoints:
            return []
        skipped = frozenset(skip)
        rows = await self._read(lambda db: db.fetch(_SQL["due"], endpoint, until, limit + len(skipped)))
        return [delivery_of(row) for row in rows if row[0] not in skipped][:limit]

    async def messages(self, ids: Sequence[int]) -> dict[int, Message]:
        rows = await self._read(lambda db: db.fetch(_SQL["messages"], list(ids)))
        return {row[0]: message_of(row) for row in rows}

    async def resend(self, message: int, endpoint: int, due: float) -> Delivery | None:
        delivery = await self._write(lambda batch: resend(batch, message, endpoint, due))
        if delivery is not None and not self.lanes.owns(endpoint):
            self._follower.tell()
        return delivery

    # lists and objects

    async def message(self, app: int, message: int) -> Message | None:
        found = (await self.messages([message])).get(message)
        return found if found is not None and found.app == app else None

    async def message_by_event_id(self, app: int, event_id: str) -> Message | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["message_by_event_id"], app, event_id))
        return None if row is None else message_of(row)

    async def list_messages(self, app: int, narrow: Filter) -> Page[Message]:
        return await self._read(lambda db: list_messages(db, app, narrow))

    async def channel_messages(self, app: int, channel: str, after: int, limit: int) -> list[Message]:
        narrow = Filter(limit=limit, iterator=after, ascending=True, channel=channel)
        return (await self.list_messages(app, narrow)).items

    async def deliveries_of(self, message: int) -> list[Delivery]:
        rows = await self._read(lambda db: db.fetch(_SQL["deliveries_of"], message))
        return [delivery_of(row) for row in rows]

    async def deliveries_to(self, endpoint: int, messages: Sequence[int]) -> list[Delivery]:
        rows = await self._read(lambda db: db.fetch(_SQL["deliveries_to"], endpoint, list(messages)))
        return [delivery_of(row) for row in rows]

    async def attempt(self, attempt: int) -> Attempt | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["attempt"], attempt))
        return None if row is None else attempt_of(row)

    async def attempts_of_message(self, message: int, narrow: Filter) -> Page[Attempt]:
        return await self._read(lambda db: list_attempts(db, "message", message, narrow))

    async def attempts_of_endpoint(self, endpoint: int, narrow: Filter) -> Page[Attempt]:
        return await self._read(lambda db: list_attempts(db, "endpoint", endpoint, narrow))

    async def put_app(self, app: App) -> App:
        identifier, now = app.id or self._new_id(), self._clock.now()
        return await self._change(lambda batch: put_app(batch, app, identifier, now))

    async def delete_app(self, app: int) -> None:
        endpoints = [endpoint.key for endpoint in self.directory.endpoints_of(app)]
        await self._change(lambda batch: delete_app(batch, app))
        self._writer.sweep(endpoints)

    async def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        identifier, now = endpoint.id or self._new_id(), self._clock.now()
        return await self._change(lambda batch: put_endpoint(batch, endpoint, identifier, now, self._sealer))

    async def delete_endpoint(self, endpoint: int) -> None:
        await self._change(lambda batch: delete_endpoint(batch, endpoint))
        self._writer.sweep([endpoint])

    async def _change(self, act: Callable[[Batch], Awaitable[tuple[T, Snapshot]]]) -> T:
        """A change of an app or its endpoints. The app's row is locked while it is made, so what is read at its end is
        what the directory is to hold, whoever else changed it before."""
        result, _ = await self._write(act, lambda changed: self._apply(changed[1]))
        self._follower.tell()
        return result

    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        try:
            async with self._pool.acquire(timeout=10) as connection:
                return await function(cast("Connection", connection))
        except TROUBLE as error:
            raise StoreUnavailable(f"cannot read {self._address}: {error or type(error).__name__}") from error

    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T:
        return cast("T", await self._task(act, cast("Callable[[Any], None] | None", committed)))
