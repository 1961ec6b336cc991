"""The one connection that writes: everything handed in while one transaction was on its way to disk is the next one.

    hand_in ──► queue ──► BEGIN · fence · rows … COMMIT ──► settle

It proves in every transaction that this node still holds its number (`fence`): a node that was taken for dead, and was
not, writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

import asyncpg

from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.stores.base import Completion, NewMessage, Refused
from gatepost.stores.jobs import Job, Outcomes, Settled, Task, take
from gatepost.stores.postgres_batch import Batch, Connection, Names
from gatepost.stores.queries import queries

SWEEP_ROWS: Final = 500  # deliveries of a deleted endpoint that one step cancels

_SQL: Final = queries("postgresql")

# The database, its disk or the way there: whatever was handed in is refused, and a probe finds out when that ends.
TROUBLE: Final = (
    StoreUnavailable,  # what `Address.connect` says
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)
# Another node was quicker: the same once more.
AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class FencedOff(Exception):
    """Somebody else holds this node's number."""


class Writer:
    """`start` it, `hand_in` lists of jobs, `stop` it. `settle` is called once a transaction.

    `before(batch, messages)` runs in the transaction before messages are written: the store sees to it that they were
    matched against what the database says now.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        settle: Callable[[Settled], None],
        writable_changed: Callable[[bool], None],
        before: Callable[[Batch, list[NewMessage]], Awaitable[None]],
        probe_interval: float,
    ) -> None:
        self.writable = True
        self.names = Names()
        self.node = (-1, -1)  # number and epoch
        self.fenced_off: Callable[[], None] = lambda: None
        self._connect = connect
        self._clock = clock
        self._settle = settle
        self._writable_changed = writable_changed
        self._before = before
        self._probe_interval = probe_interval
        self._connection: Connection | None = None
        self._kept = False  # it served before: it may have been lost since
        self._committing = False
        self._queue: deque[Job] = deque()
        self._news = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._sweep: deque[int] = deque()

    def start(self, connection: Connection) -> None:
        self._connection = connection
        self._task = asyncio.get_running_loop().create_task(self._work(), name="gatepost-store")

    def hand_in(self, jobs: list[Job]) -> None:
        self._queue.extend(jobs)
        self._news.set()

    def sweep(self, endpoints: list[int]) -> None:
        """These were deleted with deliveries still to cancel."""
        self._sweep.extend(endpoints)
        self._news.set()

    async def stop(self) -> None:
        """Write what was handed in, then let go of the connection."""
        self._stopping = True
        self._news.set()
        if self._task is not None:
            await self._task
        if self._connection is not None:
            await close(self._connection)

    def kill(self) -> None:
        """As a process that ends at this moment. For tests."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.terminate()

    async def _work(self) -> None:
        while not self._stopping or self._queue:
            if self._queue:
                await self._transact(take(self._queue))
            elif not self.writable:
                await self._wait(self._probe_interval)
                if not self._queue and not self._stopping:
                    await self._transact([])
            elif self._sweep:
                await self._cancel_some()
            else:
                await self._wait(None)

    async def _wait(self, patience: float | None) -> None:
        self._news.clear()
        if not self._queue and not self._stopping and not (self._sweep and self.writable):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), patience)

    async def _transact(self, jobs: list[Job]) -> None:
        """Without jobs it is a probe: a connection and a transaction of nothing."""
        try:
            accepted, outcomes = await self._write(jobs)
        except AGAIN:
            await self._transact(jobs)
        except TROUBLE as error:
            kept, begun = self._kept, self._committing
            self._set_aside(error)
            if kept and not begun and self._connection is None:
                await self._transact(jobs)  # the server went and may be back: nothing was written yet
            else:
                self._trouble(jobs, error)
        except FencedOff:
            self._set_writable(False)
            self._refuse(jobs, "another node holds this one's number: its lease was over")
            self.fenced_off()
        except Exception as error:
            if len(jobs) == 1:
                self._reject(jobs[0], error)
            else:  # one that cannot be written must not refuse its neighbours
                for job in jobs:
                    await self._transact([job])
        else:
            self._set_writable(True)
            if jobs:
                self._settle(Settled(accepted, outcomes))

    async def _write(self, jobs: list[Job]) -> tuple[list[NewMessage], Outcomes]:
        self._committing = False
        connection = await self._connected()
        things = [job[0] for job in jobs]
        messages = [thing for thing in things if isinstance(thing, NewMessage)]
        attempts = [thing.attempt for thing in things if isinstance(thing, Completion)]
        if messages or attempts:
            await self.names.learn(
                connection,
                {m.event_type for m in messages} | {a.event_type for a in attempts},
                {a.url for a in attempts},
            )
        outcomes: Outcomes = []
        batch = Batch(connection, self.names, self._clock.now())
        transaction = connection.transaction()
        await transaction.start()
        try:
            if not await connection.fetchval(_SQL["fence"], *self.node):
                raise FencedOff
            place = 0
            while place < len(jobs):
                end = place
                while end < len(jobs) and not isinstance(jobs[end][0], Task):
                    end += 1
                await self._write_hot(batch, jobs[place:end], outcomes)
                if end < len(jobs):
                    task, done, _ = jobs[end]
                    outcomes.append((done, await _act(cast("Task", task), batch)))
                    end += 1
                place = end
        except BaseException:
            with suppress(*TROUBLE, asyncpg.PostgresError):
                await transaction.rollback()
            raise
        self._committing = True  # from here on nobody knows what a lost connection has done
        await transaction.commit()
        return batch.accepted, outcomes

    async def _connected(self) -> Connection:
        connection = self._connection
        self._kept = connection is not None and not connection.is_closed()
        if connection is None or not self._kept:
            connection = self._connection = await self._connect()
        return connection

    async def _write_hot(self, batch: Batch, jobs: list[Job], outcomes: Outcomes) -> None:
        messages = [thing for thing, _, _ in jobs if isinstance(thing, NewMessage)]
        decided = {}
        if messages:
            await self._before(batch, messages)
            decided = {m.id: o for m, o in zip(messages, await batch.accept(messages), strict=True)}
        completions = [(thing, identifier) for thing, _, identifier in jobs if isinstance(thing, Completion)]
        if completions:
            await batch.complete(completions)
        for thing, done, _ in jobs:
            outcomes.append((done, (decided[thing.id] if isinstance(thing, NewMessage) else True,)))

    def _set_aside(self, error: BaseException) -> None:
        """The connection, where it is lost, or where nobody knows what it would say next."""
        connection = self._connection
        if connection is not None and (connection.is_closed() or not isinstance(error, asyncpg.PostgresError)):
            connection.terminate()
            self._connection = None

    def _trouble(self, jobs: list[Job], error: BaseException) -> None:
        self._set_writable(False)
        self._refuse(jobs, f"the database: {str(error) or type(error).__name__}")

    def _refuse(self, jobs: list[Job], reason: str) -> None:
        outcomes: Outcomes = []
        for thing, done, _ in jobs:
            if isinstance(thing, NewMessage):
                outcomes.append((done, (Refused(reason),)))
            elif isinstance(thing, Completion):
                outcomes.append((done, (False,)))
            else:
                outcomes.append((done, (None, StoreUnavailable(reason))))
        if outcomes:
            self._settle(Settled((), outcomes))

    def _reject(self, job: Job, error: Exception) -> None:
        """This one, and only this one, cannot be written: a fault of whoever made it."""
        thing, done, _ = job
        if isinstance(thing, Task):
            self._settle(Settled((), [(done, (None, error))]))
        else:
            self._refuse([job], f"it cannot be written: {error}")

    def _set_writable(self, writable: bool) -> None:
        if writable is not self.writable:
            self.writable = writable
            self._writable_changed(writable)

    async def _cancel_some(self) -> None:
        endpoint = self._sweep[0]
        try:
            connection = await self._connected()
            async with connection.transaction():
                status = await connection.execute(_SQL["cancel_some"], endpoint, SWEEP_ROWS)
                finished = int(status.rpartition(" ")[2]) < SWEEP_ROWS
                if finished:
                    await connection.execute(_SQL["drop_shaped_of"], endpoint)
                    await connection.execute(_SQL["endpoint_is_swept"], endpoint)
        except TROUBLE as error:
            self._set_aside(error)
            self._trouble([], error)
            self._sweep.rotate(-1)
        else:
            if finished:
                self._sweep.popleft()


async def close(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except TROUBLE:
        connection.terminate()


async def _act(task: Task, batch: Batch) -> tuple[Any, Exception | None]:
    """A cold write in a savepoint of its own: what it raises on purpose undoes only itself."""
    try:
        async with batch.connection.transaction():
            return await task.act(batch), None
    except (ValueError, LookupError) as error:
        return None, error
