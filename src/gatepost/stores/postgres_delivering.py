"""How deliveries go on, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from gatepost.clock import Clock
from gatepost.model import BackgroundTask, Delivery, LaneState
from gatepost.stores.base import Filter, Page
from gatepost.stores.directory import Directory
from gatepost.stores.paging import bounds, fill
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.postgres_objects import Snapshot, snapshot_of
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_delivering import mask, page_of, task_of
from gatepost.stores.sqlite_rows import delivery_of, to_json

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    directory: Directory
    _clock: Clock

    def _new_id(self) -> int: ...
    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...
    async def _change(self, act: Callable[[Batch], Awaitable[tuple[T, Snapshot]]]) -> T: ...


class PostgresDelivering:
    """`DeliveringStore`."""

    async def heads(self: _Engine, endpoint: int, after: int, limit: int) -> list[Delivery]:
        rows = await self._read(lambda db: db.fetch(_SQL["heads"], endpoint, after, limit))
        return [delivery_of(row) for row in rows]

    async def lanes_in_order(self: _Engine) -> set[int]:
        return {row[0] for row in await self._read(lambda db: db.fetch(_SQL["lanes_in_order"]))}

    async def skip(self: _Engine, message: int, endpoint: int) -> bool:
        async def act(batch: Batch) -> bool:
            return await batch.connection.fetchval(_SQL["skip_delivery"], message, endpoint) is not None

        return await self._write(act)

    async def lane_states(self: _Engine) -> dict[int, LaneState]:
        rows = await self._read(lambda db: db.fetch(_SQL["lane_states"]))
        return {row[0]: LaneState(*row) for row in rows}

    async def put_lane_state(self: _Engine, state: LaneState) -> None:
        await self._write(lambda batch: _put_state(batch, state))

    async def disable_endpoint(self: _Engine, state: LaneState) -> bool:
        now = self._clock.now()

        async def act(batch: Batch) -> tuple[bool, Snapshot]:
            app = await batch.connection.fetchval(_SQL["touch_app_of"], state.endpoint)
            key = await batch.connection.fetchval(_SQL["disable_endpoint"], now, state.endpoint)
            if key is not None:
                await _put_state(batch, state)
            return key is not None, await snapshot_of(batch.connection, [] if app is None else [app])

        return await self._change(act)

    async def new_task(self: _Engine, task: BackgroundTask) -> BackgroundTask:
        now = self._clock.now()
        task = msgspec.structs.replace(task, id=self._new_id(), created=now, updated=now)
        if task.endpoint not in self.directory.endpoints:
            raise LookupError("the endpoint is gone")
        values = (task.id, task.app, task.endpoint, task.state == "running", to_json(task))

        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["insert_task"], *values)

        await self._write(act)
        return task

    async def step(
        self: _Engine, before: BackgroundTask, after: BackgroundTask, messages: Sequence[int], states: Collection[int]
    ) -> BackgroundTask | None:
        now = self._clock.now()
        allowed = mask(states)

        async def act(batch: Batch) -> BackgroundTask | None:
            moved: Sequence[Any] = ()
            if messages:
                moved = await batch.connection.fetch(
                    _SQL["replay_deliveries"], before.app, list(messages), before.endpoint, now, allowed
                )
            task = msgspec.structs.replace(after, done=before.done + len(moved), updated=now)
            values = (task.state == "running", to_json(task), task.id, to_json(before))
            if await batch.connection.fetchval(_SQL["update_task"], *values) is None:
                raise LookupError("somebody else went on with it")  # which undoes what stands above
            return task

        try:
            return await self._write(act)
        except LookupError:
            return None

    async def task(self: _Engine, identifier: int) -> BackgroundTask | None:
        text = await self._read(lambda db: db.fetchval(_SQL["task"], identifier))
        return None if text is None else task_of(text)

    async def running_tasks(self: _Engine) -> list[BackgroundTask]:
        return [task_of(row[0]) for row in await self._read(lambda db: db.fetch(_SQL["running_tasks"]))]

    async def list_tasks(self: _Engine, narrow: Filter) -> Page[BackgroundTask]:
        low, high = bounds(narrow)
        query = fill(_SQL["list_tasks"], {"order": "ASC" if narrow.ascending else "DESC"})
        rows = await self._read(lambda db: db.fetch(query, low, high, narrow.endpoint, narrow.limit + 1))
        return page_of(rows, narrow.limit)


async def _put_state(batch: Batch, state: LaneState) -> None:
    execute = batch.connection.execute
    if state == LaneState(state.endpoint):
        await execute(_SQL["drop_lane_state"], state.endpoint)
    else:
        await execute(
            _SQL["put_lane_state"],
            state.endpoint, state.failing_since, state.paused_until, state.disabled_at, state.reason,
        )  # fmt: skip
