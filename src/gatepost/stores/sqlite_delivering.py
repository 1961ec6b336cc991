"""How deliveries go on, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw
import msgspec

from gatepost.clock import Clock
from gatepost.model import BackgroundTask, Delivery, LaneState
from gatepost.stores.base import Filter, Page
from gatepost.stores.directory import Directory
from gatepost.stores.paging import bounds, fill
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_rows import delivery_of, to_json

T = TypeVar("T")
_SQL: Final = queries("sqlite")
task_of: Final = msgspec.json.Decoder(BackgroundTask).decode


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    directory: Directory
    _clock: Clock

    def _new_id(self) -> int: ...
    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteDelivering:
    """`DeliveringStore`."""

    async def heads(self: _Engine, endpoint: int, after: int, limit: int) -> list[Delivery]:
        values = {"endpoint": endpoint, "after": after, "limit": limit}
        return [delivery_of(row) for row in await self._read(_all, "heads", values)]

    async def lanes_in_order(self: _Engine) -> set[int]:
        return {key for (key,) in await self._read(_all, "lanes_in_order", ())}

    async def skip(self: _Engine, message: int, endpoint: int) -> bool:
        return await self._write(
            lambda batch: batch.connection.execute(_SQL["skip_delivery"], (message, endpoint)).fetchone() is not None
        )

    async def lane_states(self: _Engine) -> dict[int, LaneState]:
        return {row[0]: LaneState(*row) for row in await self._read(_all, "lane_states", ())}

    async def put_lane_state(self: _Engine, state: LaneState) -> None:
        await self._write(lambda batch: _put_state(batch, state))

    async def disable_endpoint(self: _Engine, state: LaneState) -> bool:
        now = self._clock.now()

        def act(batch: Batch) -> bool:
            if batch.connection.execute(_SQL["disable_endpoint"], (now, state.endpoint)).fetchone() is None:
                return False
            _put_state(batch, state)
            return True

        def committed(disabled: bool) -> None:
            endpoint = self.directory.endpoints.get(state.endpoint)
            if disabled and endpoint is not None:
                self.directory.put_endpoint(msgspec.structs.replace(endpoint, disabled=True, updated=now))

        return await self._write(act, committed)

    async def new_task(self: _Engine, task: BackgroundTask) -> BackgroundTask:
        now = self._clock.now()
        task = msgspec.structs.replace(task, id=self._new_id(), created=now, updated=now)
        if task.endpoint not in self.directory.endpoints:
            raise LookupError("the endpoint is gone")
        values = (task.id, task.app, task.endpoint, task.state == "running", to_json(task))

        def act(batch: Batch) -> None:
            batch.connection.execute(_SQL["insert_task"], values)

        await self._write(act)
        return task

    async def step(
        self: _Engine, before: BackgroundTask, after: BackgroundTask, messages: Sequence[int], states: Collection[int]
    ) -> BackgroundTask | None:
        now = self._clock.now()
        allowed = mask(states)

        def act(batch: Batch) -> BackgroundTask | None:
            execute = batch.connection.execute
            endpoint = before.endpoint
            moved = 0
            for message in messages:
                row = execute(_SQL["replay_delivery"], (message, endpoint, now, now, allowed)).fetchone()
                moved += row is not None
            task = msgspec.structs.replace(after, done=before.done + moved, updated=now)
            values = (task.state == "running", to_json(task), task.id, to_json(before))
            if execute(_SQL["update_task"], values).fetchone() is None:
                raise LookupError("somebody else went on with it")  # which undoes what stands above
            return task

        try:
            return await self._write(act)
        except LookupError:
            return None

    async def task(self: _Engine, identifier: int) -> BackgroundTask | None:
        rows = await self._read(_all, "task", (identifier,))
        return task_of(rows[0][0]) if rows else None

    async def running_tasks(self: _Engine) -> list[BackgroundTask]:
        return [task_of(text) for (text,) in await self._read(_all, "running_tasks", ())]

    async def list_tasks(self: _Engine, narrow: Filter) -> Page[BackgroundTask]:
        low, high = bounds(narrow)
        values = {"low": low, "high": high, "endpoint": narrow.endpoint, "limit": narrow.limit + 1}
        return page_of(await self._read(_listed, narrow.ascending, values), narrow.limit)


def mask(states: Collection[int]) -> int:
    """States as bits of one number."""
    return sum(1 << state for state in states)


def page_of(rows: Sequence[Any], limit: int) -> Page[BackgroundTask]:
    """`rows` are (id, document), one more than `limit` where there are more."""
    items = [task_of(row[1]) for row in rows[:limit]]
    return Page(items, len(rows) <= limit, rows[limit - 1][0] if len(rows) > limit else None)


def _all(connection: apsw.Connection, query: str, values: Any) -> list[Any]:
    return connection.execute(_SQL[query], values).fetchall()


def _listed(connection: apsw.Connection, ascending: bool, values: dict[str, Any]) -> list[Any]:
    query = fill(_SQL["list_tasks"], {"order": "ASC" if ascending else "DESC"})
    return connection.execute(query, values).fetchall()


def _put_state(batch: Batch, state: LaneState) -> None:
    execute = batch.connection.execute
    if state == LaneState(state.endpoint):
        execute(_SQL["drop_lane_state"], (state.endpoint,))
    else:
        execute(
            _SQL["put_lane_state"],
            (state.endpoint, state.failing_since, state.paused_until, state.disabled_at, state.reason),
        )
