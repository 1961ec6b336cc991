"""The journal: what the store could not take gets there, in order and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.scripted_store import ScriptedStore

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.errors import StoreUnavailable
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal, entry_of
from gatepost.events.journal_file import line_of, parse
from gatepost.model import App

NEVER = 3600.0  # seconds between retries: the tests ask for a replay themselves


@asynccontextmanager
async def node(path: Path, store: ScriptedStore) -> AsyncIterator[Journal]:
    journal = Journal(path, Ingest(store, ManualClock()), retry=NEVER)  # type: ignore[arg-type]
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


async def keep(journal: Journal, app: App, key: str, **fields: str) -> str:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    payload = fields.get("payload", f'{{"n":"{key}"}}').encode()
    journal.append(entry_of(key, app.id, "order.created", payload, ("/c",), fields.get("event_id")), told.set_result)
    return await asyncio.wait_for(told, 5)


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore(ManualClock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gatepost.journal"


async def test_what_waits_goes_to_the_store_once_it_can_write(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        payload = '{"name": "Zoë \\n",  "n": 1e400}'
        assert await keep(journal, shop, "k1", payload=payload, event_id="e1") == ""
        await keep(journal, shop, "k2")
        journal.replay()
        assert journal.waiting == 2
        assert store.messages == []

        store.writable = True
        journal.replay()
        assert journal.waiting == 0
    first, second = store.messages
    assert (first.payload, first.event_id, first.channels) == (payload.encode(), "e1", ("/c",))
    assert second.payload == b'{"n":"k2"}'
    assert path.read_bytes() == b""


async def test_what_an_earlier_run_left_is_replayed_at_start(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        for n in range(200):
            await keep(journal, shop, f"k{n}")
    store.writable = True
    with log.recorded() as events:
        async with node(path, store) as journal:
            assert journal.waiting == 0
    assert [m.idempotency_key for m in store.messages] == [f"k{n}" for n in range(200)]
    assert events == [{"event": "journal_replayed", "level": "info", "messages": 200}]
    assert path.read_bytes() == b""


async def test_a_crash_in_the_midst_of_a_replay_makes_nothing_twice(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        for n in range(3):
            await keep(journal, shop, f"k{n}")
    as_it_was = path.read_bytes()
    store.writable = True
    async with node(path, store):
        pass
    path.write_bytes(as_it_was)  # the node died after the commits and before it could note them
    async with node(path, store) as journal:
        assert journal.waiting == 0
    assert len(store.messages) == 3


async def test_a_message_that_was_committed_late_is_not_replayed(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        await keep(journal, shop, "late")
        await keep(journal, shop, "refused")
        journal.settle("late")
        assert journal.waiting == 1
    async with node(path, store) as journal:
        assert journal.waiting == 1


async def test_a_store_that_fails_again_keeps_the_rest_waiting(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.held = True
    async with node(path, store) as journal:
        await keep(journal, shop, "k1")
        journal.replay()
        store.writable = False
        journal.replay()  # one is under way already
        store.commit()
        assert journal.waiting == 1
        store.writable, store.held = True, False
        journal.replay()
        assert journal.waiting == 0
    assert len(store.messages) == 1


async def test_a_taken_event_id_is_settled(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    async with node(path, store) as journal:
        await keep(journal, shop, "k1", event_id="same")
        await keep(journal, shop, "k2", event_id="same")
        journal.replay()
        assert journal.waiting == 0
    assert len(store.messages) == 1


async def test_messages_of_a_deleted_app_are_dropped_with_a_line(store: ScriptedStore, path: Path) -> None:
    async with node(path, store) as journal:
        await keep(journal, App(key=9, id=9, name="gone"), "k1")
        with log.recorded() as events:
            journal.replay()
        assert journal.waiting == 0
    assert [e["event"] for e in events] == ["journal_dropped", "journal_replayed"]
    assert events[0]["reason"] == "its app was deleted"


async def test_lines_of_another_shape_are_reported_and_passed_over(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        await keep(journal, shop, "k1")
    path.write_bytes(line_of(b'{"type":"from-the-future"}') + path.read_bytes())
    with log.recorded() as events:
        async with node(path, store) as journal:
            assert journal.waiting == 1
    assert [e["event"] for e in events] == ["journal_line_unknown"]


async def test_an_unusable_file_says_what_to_do(store: ScriptedStore, tmp_path: Path) -> None:
    journal = Journal(tmp_path, Ingest(store, ManualClock()))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="mend that, or move it"):
        await journal.open()
    await journal.close()


async def test_settling_writes_a_line_and_the_last_one_empties_the_file(store: ScriptedStore, path: Path) -> None:
    shop = store.add_app("shop")
    store.writable = False
    async with node(path, store) as journal:
        await keep(journal, shop, "k1")
        await keep(journal, shop, "k2")
        journal.settle("k1")
        journal.settle("unknown")
        assert await keep(journal, shop, "k3") == ""
        assert len(parse(path.read_bytes()).whole) == 4
        journal.settle("k2")
        journal.settle("k3")
    assert path.read_bytes() == b""
