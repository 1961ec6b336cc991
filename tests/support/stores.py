"""Stores under test: opening them, awaiting their callbacks, crashing them, and disks that fail on demand."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import apsw
from tests.support.postgres import PostgresServer

from gatepost.clock import ManualClock
from gatepost.lifecycle import State
from gatepost.model import App, Attempt, Endpoint
from gatepost.stores.base import Completion, NewMessage, Outcome, Store
from gatepost.stores.master_key import MasterKey
from gatepost.stores.postgres import PostgresStore
from gatepost.stores.sqlite import SqliteStore

T = TypeVar("T")
_vfs_names = itertools.count()


class FaultyDisk:
    """Every file of SQLite passes here while `installed`: `full`, `read_only`, `fsync_fails` and `fsync_fails_on` ("db"
    or "wal") make it refuse, a cleared `syncing` makes every fsync wait, `trace` keeps the order of writes and
    syncs."""

    def __init__(self) -> None:
        self.full = False
        self.read_only = False
        self.fsync_fails = False
        self.fsync_fails_on = ""
        self.syncing = threading.Event()
        self.syncing.set()
        self.trace: list[Any] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        disk = self

        class File(apsw.VFSFile):
            def __init__(self, name: Any, flags: list[int]) -> None:
                self._kind = "wal" if flags[0] & apsw.SQLITE_OPEN_WAL else "db"
                super().__init__("unix", name, flags)

            def xWrite(self, data: bytes, offset: int) -> None:
                if disk.full:
                    raise _error(apsw.FullError, apsw.SQLITE_FULL)
                if disk.read_only:
                    raise _error(apsw.ReadOnlyError, apsw.SQLITE_READONLY)
                disk.trace.append(("write", self._kind))
                super().xWrite(data, offset)

            def xSync(self, flags: int) -> None:
                disk.syncing.wait(30)
                if disk.fsync_fails or disk.fsync_fails_on == self._kind:
                    raise _error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC)
                disk.trace.append(("sync", self._kind))
                super().xSync(flags)

        class Disk(apsw.VFS):
            def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
                return File(name, flags)

        vfs = Disk(f"faulty-{next(_vfs_names)}", "unix", makedefault=True)
        try:
            yield
        finally:
            vfs.unregister()


def _error(kind: type[apsw.Error], code: int) -> apsw.Error:
    error = kind("injected")
    error.extendedresult = code
    return error


class StoreUnderTest(Protocol):
    """What the conformance suite needs beside the contract: a second life, a crash, a full disk."""

    engine: str
    clock: ManualClock
    disk: Any
    folder: Path

    async def open(self, **options: Any) -> Any: ...
    async def reopen(self, store: Any) -> Any: ...
    async def crash(self) -> Any:
        """The store as a process that was killed now would leave it, opened again."""
        ...

    async def close(self) -> None: ...


class SqliteUnderTest:
    engine = "sqlite"

    def __init__(self, folder: Path, clock: ManualClock, disk: FaultyDisk) -> None:
        self.clock = clock
        self.disk = disk
        self.folder = folder
        self._path = folder / "store.db"
        self._stores: list[SqliteStore] = []

    async def open(self, **options: Any) -> SqliteStore:
        options.setdefault("key", MasterKey(None, self.folder / "store.db.key"))
        store = SqliteStore(str(self._path), clock=self.clock, probe_interval=0.002, **options)
        self._stores.append(store)
        await store.open()
        return store

    async def reopen(self, store: Store) -> SqliteStore:
        await store.close()
        return await self.open()

    async def crash(self) -> SqliteStore:
        """Its files, copied while it is open."""
        after = self.folder / f"after-crash-{len(self._stores)}"
        after.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self._path}{suffix}", after / f"store.db{suffix}")
        self._path = after / "store.db"
        return await self.open()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class RefusingDatabase:
    """A database that turns read-only, for everybody at once, while `full`."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._full = False

    @property
    def full(self) -> bool:
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        if full is not self._full:
            self._full = full
            self._server.read_only(full)


class PostgresUnderTest:
    engine = "postgresql"

    def __init__(self, server: PostgresServer, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.disk = RefusingDatabase(server)
        self._server = server
        self.folder = folder
        self.url = server.database()
        self._stores: list[PostgresStore] = []

    async def open(self, **options: Any) -> PostgresStore:
        options.setdefault("key", MasterKey(None, self.folder / "store.db.key"))
        store = PostgresStore(self.url, clock=self.clock, probe_interval=0.002, **options)
        self._stores.append(store)
        await store.open()
        return store

    def pass_a_power_of_ten(self) -> None:
        """Use up transaction ids until they have one digit more."""
        now = int(self._server.sql("SELECT pg_current_xact_id()", "postgres"))
        left = 10 ** len(str(now)) - now + 1
        loop = f"DO $$ BEGIN FOR i IN 1..{left} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        self._server.sql(loop, "postgres")

    async def reopen(self, store: PostgresStore) -> PostgresStore:
        await store.close()
        return await self.open()

    async def crash(self) -> PostgresStore:
        for store in self._stores:
            await store.crash()
        return await self.open()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


async def accepted(store: Store, message: NewMessage) -> Outcome:
    return (await accepted_all(store, [message]))[0]


async def accepted_all(store: Store, messages: list[NewMessage]) -> list[Outcome]:
    """Hand all of them in within one turn of the loop, and wait for the outcomes."""
    waiting = [Answer[Outcome]() for _ in messages]
    for message, answer in zip(messages, waiting, strict=True):
        store.accept(message, answer)
    return [await answer.future for answer in waiting]


async def completed(store: Store, completion: Completion) -> bool:
    answer = Answer[bool]()
    store.complete(completion, answer)
    return await answer.future


class Answer(Generic[T]):
    """A callback that can be awaited."""

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def __call__(self, value: T) -> None:
        self.future.set_result(value)


async def an_app(store: Store, uid: str | None = None, endpoints: int = 1) -> tuple[App, list[Endpoint]]:
    app = await store.put_app(App(0, 0, "Shop", uid=uid))
    made = [await store.put_endpoint(Endpoint(0, 0, app.key, f"https://partner.example/{n}")) for n in range(endpoints)]
    return app, made


def a_message(app: App, endpoints: list[Endpoint] | tuple[Endpoint, ...] = (), **fields: Any) -> NewMessage:
    fields.setdefault("event_type", "order.created")
    fields.setdefault("payload", b'{"order_id":12345}')
    return NewMessage(app=app.key, endpoints=[endpoint.key for endpoint in endpoints], **fields)


def an_attempt(message: int, endpoint: Endpoint, **fields: Any) -> Completion:
    """A completion: a success unless `state` says otherwise."""
    state: State = fields.pop("state", State.DELIVERED)
    tries: int = fields.pop("tries", 1)
    due: float | None = fields.pop("due", None)
    values: dict[str, Any] = {
        "id": 0,
        "event_type": "order.created",
        "ok": state is State.DELIVERED,
        "status": 200 if state is State.DELIVERED else 500,
        "url": endpoint.url,
        "started": 1_700_000_000.25,
        "duration": 0.125,
    } | fields
    return Completion(Attempt(message=message, endpoint=endpoint.key, app=endpoint.app, **values), state, tries, due)
