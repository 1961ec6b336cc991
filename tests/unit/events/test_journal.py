"""The journal: what the store could not take gets there, in order and once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.governed_store import GovernedStore, governed_store

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.errors import StoreUnavailable
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal, entry_of
from gatepost.events.journal_file import line_of, parse
from gatepost.model import App

NEVER = 3600.0  # seconds between retries: the tests ask for a replay themselves


class Node:
    """A journal before a store, over several lives."""

    def __init__(self, store: GovernedStore, clock: ManualClock, path: Path) -> None:
        self.store = store
        self.clock = clock
        self.path = path

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Journal]:
        journal = Journal(self.path, Ingest(self.store, self.clock), retry=NEVER)
        await journal.open()
        try:
            yield journal
        finally:
            await journal.close()

    async def keep(
        self, journal: Journal, key: str, payload: str = "", event_id: str | None = None, app: App | None = None
    ) -> str:
        """The reason why it was not kept."""
        app = app or self.store.directory.app("shop")
        assert app is not None
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        text = (payload or f'{{"n":"{key}"}}').encode()
        journal.append(entry_of(key, app.id, "order.created", text, ("/c",), event_id), told.set_result)
        return await asyncio.wait_for(told, 5)

    async def replayed(self, journal: Journal) -> None:
        """Replay until nothing waits."""
        journal.replay()
        while journal.waiting:
            await self.store.committed()

    async def made(self) -> list[str]:
        return [message.payload.decode() for message in await self.store.made()]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, object]]]:
    with log.recorded() as events:
        yield events


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clock = ManualClock(1_750_000_000.0)
    async with governed_store(tmp_path / "store.db", clock) as store:
        yield Node(store, clock, tmp_path / "gatepost.journal")


async def test_what_waits_goes_to_the_store_once_it_can_write(node: Node) -> None:
    await node.store.fail()
    async with node.life() as journal:
        payload = '{"name": "Zoë \\n",  "n": 1e400}'
        assert await node.keep(journal, "k1", payload, event_id="e1") == ""
        await node.keep(journal, "k2")
        journal.replay()
        assert journal.waiting == 2

        await node.store.mend()
        await node.replayed(journal)
    first, second = await node.store.made()
    assert (first.payload, first.event_id, first.channels) == (payload.encode(), "e1", ("/c",))
    assert second.payload == b'{"n":"k2"}'
    assert node.path.read_bytes() == b""


async def test_what_an_earlier_run_left_is_replayed_at_start(node: Node, logged: list[dict[str, object]]) -> None:
    await node.store.fail()
    async with node.life() as journal:
        for n in range(200):
            await node.keep(journal, f"k{n}")
    await node.store.mend()
    async with node.life() as journal:
        assert journal.waiting == 200
        await node.replayed(journal)
    assert await node.made() == [f'{{"n":"k{n}"}}' for n in range(200)]
    assert logged == [{"event": "journal_replayed", "level": "info", "messages": 200}]
    assert node.path.read_bytes() == b""


async def test_a_crash_in_the_midst_of_a_replay_makes_nothing_twice(node: Node) -> None:
    await node.store.fail()
    async with node.life() as journal:
        for n in range(3):
            await node.keep(journal, f"auto_{n}")
    as_it_was = node.path.read_bytes()
    await node.store.mend()
    async with node.life() as journal:
        await node.replayed(journal)
    node.path.write_bytes(as_it_was)  # the node died after the commits and before it could note them
    async with node.life() as journal:
        await node.replayed(journal)
    assert len(await node.made()) == 3


async def test_a_crash_of_node_and_store_makes_nothing_twice(tmp_path: Path) -> None:
    clock = ManualClock(1_750_000_000.0)
    before, after = tmp_path / "before.db", tmp_path / "after.db"
    async with governed_store(before, clock) as store:
        node = Node(store, clock, tmp_path / "journal")
        async with node.life() as journal:
            await node.keep(journal, "auto_1")
            as_it_was = node.path.read_bytes()
            await node.replayed(journal)
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{before}{suffix}", f"{after}{suffix}")
    clock.advance(60)
    async with governed_store(after, clock) as store:
        node = Node(store, clock, tmp_path / "journal-after")
        node.path.write_bytes(as_it_was)
        async with node.life() as journal:
            await node.replayed(journal)
        assert await node.made() == ['{"n":"auto_1"}']


async def test_a_message_that_was_committed_late_is_not_replayed(node: Node) -> None:
    await node.store.fail()
    async with node.life() as journal:
        await node.keep(journal, "late")
        await node.keep(journal, "refused")
        journal.settle("late")
        assert journal.waiting == 1
    async with node.life() as journal:
        assert journal.waiting == 1


async def test_a_store_that_fails_again_keeps_the_rest_waiting(node: Node) -> None:
    async with node.life() as journal:
        await node.keep(journal, "k1")
        node.store.disk_full()
        journal.replay()
        journal.replay()  # one is under way already
        await node.store.fail()
        assert journal.waiting == 1
        await node.store.mend()
        await node.replayed(journal)
    assert len(await node.made()) == 1


async def test_a_taken_event_id_is_settled(node: Node) -> None:
    async with node.life() as journal:
        await node.keep(journal, "k1", event_id="same")
        await node.keep(journal, "k2", event_id="same")
        await node.replayed(journal)
    assert await node.made() == ['{"n":"k1"}']


async def test_messages_of_a_deleted_app_are_dropped_with_a_line(node: Node, logged: list[dict[str, object]]) -> None:
    async with node.life() as journal:
        await node.keep(journal, "k1", app=App(key=9, id=9, name="gone"))
        journal.replay()
        assert journal.waiting == 0
    assert [event["event"] for event in logged] == ["journal_dropped", "journal_replayed"]
    assert logged[0]["reason"] == "its app was deleted"


async def test_lines_of_another_shape_are_reported_and_passed_over(node: Node, logged: list[dict[str, object]]) -> None:
    await node.store.fail()
    async with node.life() as journal:
        await node.keep(journal, "k1")
    node.path.write_bytes(line_of(b'{"type":"from-the-future"}') + node.path.read_bytes())
    async with node.life() as journal:
        assert journal.waiting == 1
    assert [event["event"] for event in logged] == ["journal_line_unknown"]


async def test_an_unusable_file_says_what_to_do(node: Node, tmp_path: Path) -> None:
    node.path = tmp_path
    with pytest.raises(StoreUnavailable, match="mend that, or move it"):
        async with node.life():
            pass


async def test_settling_writes_a_line_and_the_last_one_empties_the_file(node: Node) -> None:
    await node.store.fail()
    async with node.life() as journal:
        await node.keep(journal, "k1")
        await node.keep(journal, "k2")
        journal.settle("k1")
        journal.settle("unknown")
        assert await node.keep(journal, "k3") == ""
        assert len(parse(node.path.read_bytes()).whole) == 4
        journal.settle("k2")
        journal.settle("k3")
    assert node.path.read_bytes() == b""


async def test_emptying_the_file_spares_what_is_on_its_way_to_it(node: Node) -> None:
    await node.store.fail()
    async with node.life() as journal:
        await node.keep(journal, "k1")
        keeping = asyncio.ensure_future(node.keep(journal, "k2"))
        await asyncio.sleep(0)  # handed in, not yet written
        journal.settle("k1")
        await keeping
    async with node.life() as journal:
        assert journal.waiting == 1


async def test_a_look_is_taken_again_by_itself(node: Node) -> None:
    async with node.life():
        pass
    journal = Journal(node.path, Ingest(node.store, node.clock), retry=0.0)
    await journal.open()
    await node.keep(journal, "k1")
    while journal.waiting:
        await node.store.committed()
    await journal.close()
    assert len(await node.made()) == 1
