"""The thread that writes: everything handed in while one transaction was on its way to disk is the next one.

    loop ──hand_in──► queue ──take──► BEGIN … COMMIT (fsync) ──call_soon_threadsafe──► settle, on the loop

It owns the writing connection and whatever decides what a write means (duplicates, interned names, deleted
endpoints), so nothing here needs a lock. It also does the housekeeping, when nobody waits: checkpoints, cancelling
what deleted endpoints left behind, probing a disk that refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import apsw

from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.model import App, Endpoint, EventType
from gatepost.stores.access import StoredAccess
from gatepost.stores.base import Completion, NewMessage, Refused
from gatepost.stores.jobs import Job, Outcomes, Settled, Task, take
from gatepost.stores.master_key import MasterKey
from gatepost.stores.queries import queries
from gatepost.stores.sealing import Sealer
from gatepost.stores.sqlite_access import load_access
from gatepost.stores.sqlite_batch import Batch, Memory
from gatepost.stores.sqlite_control import event_types
from gatepost.stores.sqlite_files import open_writer
from gatepost.stores.sqlite_rows import app_of, endpoint_of
from gatepost.stores.sqlite_sealing import open_sealer

CHECKPOINT_PAGES: Final = 4_000  # 16 MiB of log
SWEEP_ROWS: Final = 500  # cancelled in one step: 1.1 ms
SWEEP_EVERY: Final = 16  # transactions, while the queue never empties

# Errors of the disk or its rights: whatever was handed in is refused, and a probe finds out when that ends.
DISK: Final = (
    apsw.FullError,
    apsw.ReadOnlyError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.CorruptError,
    apsw.NotADBError,
)
# After a failed fsync the kernel may have dropped the pages it could not write: what this process believes to be on
# disk may not be there, and trying again can "succeed". Only a restart, which reads the files again, is safe.
FSYNC: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


class Opened(NamedTuple):
    """What the loop's side of the store needs to know of a database."""

    greatest_id: int
    apps: list[App]
    endpoints: list[Endpoint]
    access: StoredAccess
    sealer: Sealer
    event_types: list[EventType]


class Writer:
    """`start` it, `hand_in` lists of jobs, `stop` it. `settle` is called on the loop, once a transaction."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        settle: Callable[[Settled], None],
        writable_changed: Callable[[bool], None],
        fatal: Callable[[str], None],
        probe_interval: float,
        key: MasterKey | None = None,
    ) -> None:
        self.writable = True
        self.transactions = 0
        self._path = path
        self._clock = clock
        self._loop = loop
        self._settle = settle
        self._writable_changed = writable_changed
        self._fatal = fatal
        self._probe_interval = probe_interval
        self._key = key
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gatepost-store", daemon=True)
        self._opened: asyncio.Future[Opened] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._ended = ""  # why nothing is written any more, after an fsync failed
        self._wal_pages = 0
        self._sweep: deque[int] = deque()  # endpoints deleted with deliveries still to cancel

    async def start(self) -> Opened:
        """Open the database. Raises StoreUnavailable."""
        self._thread.start()
        try:
            return await self._opened
        except BaseException:  # also where the caller was cancelled: the lock must outlive the thread
            await self.stop()
            raise

    def hand_in(self, jobs: list[Job]) -> None:
        self._queue.put(jobs)

    async def stop(self) -> None:
        """Write what was handed in, then close the database."""
        self._queue.put(None)
        await self._closed
        self._thread.join()

    # the thread

    def _run(self) -> None:
        try:
            self._connection = connection = open_writer(self._path)
            try:
                opened = self._load(connection)
            except BaseException as error:
                connection.close()
                if isinstance(error, apsw.Error):
                    raise StoreUnavailable(f"cannot read {self._path}: {error}") from error
                raise
        except BaseException as error:
            self._tell(_fail, self._opened, error)
            self._tell(_resolve, self._closed, None)
            return
        self._tell(_resolve, self._opened, opened)
        connection.set_wal_hook(self._note_wal)
        try:
            self._work()
        except Exception as error:  # nothing is known to be true any more: not a state to go on in
            self._ended = f"the store's writer failed: {error!r}"
            self._fatal(self._ended)
            self._set_writable(False)
        if self._ended:  # whatever comes after this process reads the files as they are
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()
        self._tell(_resolve, self._closed, None)

    def _load(self, connection: apsw.Connection) -> Opened:
        sql = queries("sqlite")
        sealer = open_sealer(connection, self._key, self._clock.now())
        self._sweep.extend(key for (key,) in connection.execute(sql["endpoints_to_sweep"]))
        self._memory = Memory(connection, self._clock.now())
        return Opened(
            greatest_id=connection.execute(sql["greatest_id"]).get,
            apps=[app_of(row) for row in connection.execute(sql["apps"])],
            endpoints=[endpoint_of(sealer.open_row(row)) for row in connection.execute(sql["endpoints"])],
            access=load_access(connection),
            sealer=sealer,
            event_types=event_types(connection),
        )

    def _work(self) -> None:
        todo: deque[Job] = deque()
        get, get_nowait = self._queue.get, self._queue.get_nowait
        open_ = True
        while open_ or todo:
            try:
                if todo or (self._sweep and self.writable):
                    handed = get_nowait()
                else:
                    handed = get(timeout=None if self.writable else self._probe_interval)
                while handed is not None:
                    todo.extend(handed)
                    handed = get_nowait()
                open_ = False  # None: stop, nothing comes after it
            except Empty:
                pass
            if todo:
                self._transact(take(todo))
                if self._sweep and self.transactions % SWEEP_EVERY == 0:
                    self._cancel_some()
            elif not self.writable:
                self._probe()
            elif self._sweep and open_:  # closing does not wait for it: the next start goes on
                self._cancel_some()
            if self._wal_pages >= CHECKPOINT_PAGES:
                self._checkpoint()

    def _transact(self, jobs: list[Job]) -> None:
        if self._ended:
            self._refuse(jobs, self._ended)
            return
        try:
            batch = Batch(self._connection, self._memory, self._clock.now())
            outcomes = self._write(jobs, batch)
        except DISK as error:
            self._roll_back()
            self._refuse(jobs, self._trouble(error))
        except Exception as error:
            self._roll_back()
            if len(jobs) == 1:
                self._reject(jobs[0], error)
            else:  # one that cannot be written must not refuse its neighbours
                for job in jobs:
                    self._transact([job])
        else:
            self._memory.keep(batch)
            self._sweep.extend(batch.gone)
            self._set_writable(True)
            self.transactions += 1
            self._tell(self._settle, Settled(batch.accepted, outcomes))

    def _write(self, jobs: list[Job], batch: Batch) -> Outcomes:
        execute = self._connection.execute
        outcomes: Outcomes = []
        add, accept, complete = outcomes.append, batch.accept, batch.complete
        execute("BEGIN IMMEDIATE")
        for thing, done, identifier in jobs:
            if isinstance(thing, NewMessage):
                add((done, (accept(thing),)))
            elif isinstance(thing, Completion):
                complete(thing, identifier)
                add((done, (True,)))
            else:
                batch.flush()
                add((done, _act(thing, batch)))
        batch.flush()
        execute("COMMIT")
        return outcomes

    def _refuse(self, jobs: list[Job], reason: str) -> None:
        refused = Refused(reason)
        outcomes: Outcomes = []
        for thing, done, _ in jobs:
            if isinstance(thing, NewMessage):
                outcomes.append((done, (refused,)))
            elif isinstance(thing, Completion):
                outcomes.append((done, (False,)))
            else:
                outcomes.append((done, (None, StoreUnavailable(reason))))
        self._tell(self._settle, Settled((), outcomes))

    def _reject(self, job: Job, error: Exception) -> None:
        """This one, and only this one, cannot be written: a fault of whoever made it."""
        thing, done, _ = job
        if isinstance(thing, Task):
            self._tell(self._settle, Settled((), [(done, (None, error))]))
        else:
            self._refuse([job], f"it cannot be written: {error}")

    def _roll_back(self) -> None:
        self._memory.forget_names()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except DISK as error:  # SQLite has rolled back by itself, or will before the next BEGIN
            self._trouble(error)

    def _trouble(self, error: apsw.Error) -> str:
        """The disk refused. Returns the reason; an fsync that failed ends the process."""
        reason = f"{self._path}: {error}"
        if getattr(error, "extendedresult", 0) in FSYNC and not self._ended:
            self._ended = reason
            self._fatal(f"the disk did not take what was written to it ({reason}); restart when it is sound")
        self._set_writable(False)
        return reason

    def _set_writable(self, writable: bool) -> None:
        if writable is not self.writable:
            self.writable = writable
            self._tell(self._writable_changed, writable)

    # housekeeping

    def _probe(self) -> None:
        """Is there room again? A write that needs fresh pages, and is undone in the same transaction."""
        if self._ended:
            return
        sql = queries("sqlite")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(sql["probe_fill"])
            self._connection.execute(sql["probe_clear"])
            self._connection.execute("COMMIT")
        except DISK as error:
            self._roll_back()
            self._trouble(error)
        else:
            self._set_writable(True)

    def _cancel_some(self) -> None:
        endpoint = self._sweep[0]
        sql = queries("sqlite")
        try:
            with self._connection:
                finished = True
                for step in ("cancel_some", "cancel_some_in_order"):
                    self._connection.execute(sql[step], (endpoint, SWEEP_ROWS))
                    finished = finished and self._connection.changes() < SWEEP_ROWS
                if finished:
                    self._connection.execute(sql["drop_shaped_of"], (endpoint,))
                    self._connection.execute(sql["endpoint_is_swept"], (endpoint,))
        except DISK as error:
            self._roll_back()
            self._trouble(error)
            self._sweep.rotate(-1)
        else:
            if finished:
                self._sweep.popleft()

    def _checkpoint(self) -> None:
        self._wal_pages = 0  # the next commit tells anew; readers may have kept this one from finishing
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except DISK as error:
            self._trouble(error)

    def _note_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed without close(): nobody is left to hear it
            pass


def _act(task: Task, batch: Batch) -> tuple[Any, Exception | None]:
    """A cold write in a savepoint of its own: what it raises on purpose undoes only itself."""
    try:
        with batch.connection:
            result = task.act(batch)
    except (ValueError, LookupError) as error:
        return None, error
    return result, None


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
