"""The writing thread: what it does when nobody waits, and what it does when the disk lies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support.stores import FaultyDisk, a_message, accepted, accepted_all, an_app, an_attempt, completed

from gatepost.clock import ManualClock
from gatepost.lifecycle import State
from gatepost.model import App
from gatepost.stores import sqlite_batch, sqlite_reader, sqlite_writer
from gatepost.stores.base import Accepted, Filter, Refused, Repeated
from gatepost.stores.recent_keys import RecentKeys
from gatepost.stores.sqlite import SqliteStore
from gatepost.stores.sqlite_batch import Bulk
from gatepost.stores.sqlite_files import open_reader

CLOCK = ManualClock(1_800_000_000.0)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    with disk.installed():
        yield disk


@pytest.fixture
async def opened(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[Callable[..., Any]]:
    """Opens a store, and closes it in the end."""
    stores: list[SqliteStore] = []

    async def open_(**options: Any) -> SqliteStore:
        store = SqliteStore(str(tmp_path / "store.db"), **({"clock": CLOCK} | options))
        stores.append(store)
        await store.open()
        return store

    yield open_
    disk.full = disk.fsync_fails = False
    disk.fsync_fails_on = ""
    for store in stores:
        await store.close()


async def test_a_failed_fsync_is_fatal_and_nothing_is_written_after_it(
    opened: Callable[..., Any], disk: FaultyDisk
) -> None:
    reasons: list[str] = []
    store = await opened(fatal=reasons.append)
    app, _ = await an_app(store)
    disk.fsync_fails = True
    refused = await accepted(store, a_message(app))
    assert isinstance(refused, Refused)
    assert len(reasons) == 1
    assert "restart" in reasons[0]
    # "fsyncgate": the next fsync would succeed, and the pages that the kernel dropped would be missing below it
    disk.fsync_fails = False
    disk.trace.clear()
    assert isinstance(await accepted(store, a_message(app)), Refused)
    assert not store.writable
    assert ("write", "wal") not in disk.trace
    assert len(reasons) == 1


def test_the_default_answer_to_a_failed_fsync_is_to_exit_70_with_one_line() -> None:
    code = "from gatepost.stores.sqlite import exit_at_once; exit_at_once('the disk is gone')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 70
    assert ended.stderr == "gatepost: the disk is gone\n"


async def test_a_failed_fsync_of_a_checkpoint_is_fatal_too(
    opened: Callable[..., Any], disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_PAGES", 1)
    reasons: list[str] = []
    store = await opened(fatal=reasons.append)
    app, _ = await an_app(store)
    told = asyncio.Event()
    store.on_writable(lambda writable: told.set())
    disk.fsync_fails_on = "db"  # commits sync the log, only checkpoints sync the database
    await accepted(store, a_message(app))
    async with asyncio.timeout(5):
        await told.wait()
    assert not store.writable
    assert len(reasons) == 1


async def test_the_log_is_checkpointed_and_does_not_grow_for_ever(
    opened: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_PAGES", 100)
    store = await opened()
    app, [endpoint] = await an_app(store)
    for _ in range(60):
        await accepted_all(store, [a_message(app, [endpoint], payload=b"x" * 2000) for _ in range(40)])
    log = (tmp_path / "store.db-wal").stat().st_size
    assert log < 300 * 4120, f"{log} bytes of log"
    assert (tmp_path / "store.db").stat().st_size > 60 * 40 * 2000


async def test_a_deleted_endpoint_s_backlog_is_cancelled_while_writes_go_on(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "SWEEP_ROWS", 10)
    monkeypatch.setattr(sqlite_writer, "SWEEP_EVERY", 1)
    store = await opened()
    app, [endpoint, other] = await an_app(store, endpoints=2)
    backlog = await accepted_all(store, [a_message(app, [endpoint]) for _ in range(95)])
    deleted = asyncio.ensure_future(store.delete_endpoint(endpoint.key))
    for _ in range(40):  # never idle
        await accepted_all(store, [a_message(app, [other]) for _ in range(3)])
    await deleted
    states = [(await store.deliveries_of(outcome.id))[0].state for outcome in backlog]
    assert set(states) == {State.CANCELLED}


async def test_a_sweep_that_a_crash_interrupted_goes_on_at_start(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer.Writer, "_cancel_some", lambda self: self._sweep.clear())
    store = await opened()
    app, [endpoint] = await an_app(store)
    outcome = await accepted(store, a_message(app, [endpoint]))
    await store.delete_endpoint(endpoint.key)
    await store.close()
    monkeypatch.undo()
    store = await opened()
    async with asyncio.timeout(5):
        while (await store.deliveries_of(outcome.id))[0].state is not State.CANCELLED:
            pass


async def test_a_full_disk_is_probed_at_intervals_even_with_a_sweep_to_do(
    opened: Callable[..., Any], disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[None] = []
    sweep = sqlite_writer.Writer._cancel_some

    def fill_up_and_sweep(self: sqlite_writer.Writer) -> None:
        disk.full = True
        sweep(self)

    monkeypatch.setattr(sqlite_writer.Writer, "_cancel_some", fill_up_and_sweep)
    monkeypatch.setattr(sqlite_writer.Writer, "_probe", lambda self: probes.append(None))
    store = await opened(probe_interval=60)
    refuses = asyncio.Event()
    store.on_writable(lambda writable: refuses.set())
    app, [endpoint] = await an_app(store)
    await accepted(store, a_message(app, [endpoint]))
    await store.delete_endpoint(endpoint.key)
    async with asyncio.timeout(5):
        await refuses.wait()
    for _ in range(20):
        assert isinstance(await accepted(store, a_message(app)), Refused)
    assert len(probes) <= 20  # once a wake-up at most, never in a circle


async def test_expired_idempotency_keys_are_forgotten_in_small_steps(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    clock = ManualClock(1_800_000_000.0)
    store = await opened(clock=clock)
    app, _ = await an_app(store)
    await accepted_all(store, [a_message(app, idempotency_key=f"old-{n}") for n in range(30)])
    clock.advance(13 * 3600)
    await accepted_all(store, [a_message(app, idempotency_key=f"new-{n}") for n in range(5)])
    kept = open_reader(str(tmp_path / "store.db"))
    assert kept.execute("SELECT count(*) FROM idempotency").get == 30 - 5 * 3 + 5
    await accepted_all(store, [a_message(app, idempotency_key=f"newer-{n}") for n in range(10)])
    assert kept.execute("SELECT count(*) FROM idempotency").get == 15
    kept.close()


async def test_names_beyond_what_is_kept_in_memory_are_looked_up(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_batch, "INTERNED", 3)
    store = await opened()
    app, _ = await an_app(store)
    for _ in range(2):
        await accepted_all(store, [a_message(app, event_type=f"type.{n}") for n in range(8)])
    page = await store.list_messages(app.key, Filter(ascending=True))
    assert [message.event_type for message in page.items] == [f"type.{n}" for n in range(8)] * 2


async def test_a_fault_of_our_own_ends_the_process_rather_than_the_thread(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    store = await opened(fatal=reasons.append)
    told = asyncio.Event()
    store.on_writable(lambda writable: told.set())

    def broken(self: object, jobs: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(sqlite_writer.Writer, "_transact", broken)
    store.accept(a_message(App(1, 1, "")), lambda outcome: None)
    async with asyncio.timeout(5):
        await told.wait()
    assert "a bug" in reasons[0]
    assert not store.writable


async def test_a_short_page_says_where_to_go_on(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_reader, "SCAN", 10)
    monkeypatch.setattr(sqlite_reader, "PATIENCE", -1.0)
    store = await opened()
    app, [endpoint] = await an_app(store)
    outcomes = await accepted_all(store, [a_message(app, event_type="a" if n in (3, 4) else "b") for n in range(35)])
    for outcome in outcomes:
        await completed(store, an_attempt(outcome.id, endpoint))
    for ascending in (False, True):
        iterator: int | None = None
        pages: list[list[int]] = []
        done = False
        while not done:
            narrow = Filter(event_types=["a"], iterator=iterator, ascending=ascending)
            page = await store.list_messages(app.key, narrow)
            pages.append([outcomes.index(Accepted(message.id)) for message in page.items])
            done, iterator = page.done, page.iterator
        assert pages == ([[3, 4], [], [], []] if ascending else [[], [], [], [4, 3]])


@pytest.mark.parametrize("ascending", [False, True])
async def test_a_page_made_of_several_scans_has_each_row_once(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, ascending: bool
) -> None:
    monkeypatch.setattr(sqlite_reader, "SCAN", 10)
    monkeypatch.setattr(sqlite_reader, "PATIENCE", 60.0)
    store = await opened()
    app, _ = await an_app(store)
    outcomes = await accepted_all(store, [a_message(app) for _ in range(35)])
    page = await store.list_messages(
        app.key, Filter(limit=33, event_types=["order.created", "none"], ascending=ascending)
    )
    expected = [outcome.id for outcome in outcomes]
    assert [message.id for message in page.items] == (expected if ascending else expected[::-1])[:33]
    assert page.iterator == page.items[-1].id


async def test_two_channels_with_the_same_hash_stay_apart(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_batch, sqlite_reader):
        monkeypatch.setattr(module, "channel_key", lambda app, channel: 7)
    store = await opened()
    app, _ = await an_app(store)
    other, _ = await an_app(store)
    one, both, _ = await accepted_all(
        store,
        [
            a_message(app, channels=("/one",)),
            a_message(app, channels=("/one", "/two")),
            a_message(other, channels=("/one",)),
        ],
    )
    listed = await store.channel_messages(app.key, "/one", 0, 10)
    assert [message.id for message in listed] == [one.id, both.id]
    assert [message.id for message in await store.channel_messages(app.key, "/two", 0, 10)] == [both.id]


async def test_two_automatic_keys_with_the_same_hash_stay_apart(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened()
    app, _ = await an_app(store)
    first = await accepted(store, a_message(app, idempotency_key="auto_1"))
    monkeypatch.setattr(RecentKeys, "find", lambda self, app, key, now: first.id)
    assert isinstance(await accepted(store, a_message(app, idempotency_key="auto_2")), Accepted)
    assert await accepted(store, a_message(app, idempotency_key="auto_1")) == Repeated(first.id, same=True)


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 21, 64, 85, 200])
def test_many_rows_in_few_statements(rows: int) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (a, b)")
    steps: list[int] = []

    def execute(sql: str, values: list[int]) -> None:
        steps.append(len(values) // 2)
        connection.execute(sql, values)

    Bulk("INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT DO NOTHING").run(execute, list(range(2 * rows)))
    assert connection.execute("SELECT a, b FROM t").fetchall() == [(2 * n, 2 * n + 1) for n in range(rows)]
    assert sum(steps) == rows
    assert len(steps) <= rows // 64 + 9
