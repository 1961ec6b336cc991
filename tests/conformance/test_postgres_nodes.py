"""Several nodes on one PostgreSQL: who sends what, what one learns of the other, and what a dead one can still do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import msgspec
import pytest
from tests.support.postgres import PostgresServer
from tests.support.rawclient import soon
from tests.support.stores import a_message, accepted, an_app, an_attempt, completed

from gatepost import ids
from gatepost.clock import SystemClock
from gatepost.errors import StoreUnavailable
from gatepost.lifecycle import State
from gatepost.model import Consumer, Endpoint, Key
from gatepost.stores.base import Accepted, NewMessage, Refused, Repeated
from gatepost.stores.lanes import GROUPS
from gatepost.stores.postgres import PostgresStore
from gatepost.stores.postgres_nodes import holder
from gatepost.stores.queries import migrations, schema

LEASE = 1.2  # seconds; a node looks six times in it


class Engine:
    """Stands for the delivery engine: writes down what its store tells it."""

    def __init__(self, store: PostgresStore) -> None:
        self.heard: set[int] = set()
        self.lost = 0
        self.leaving = 0
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        self.changed = asyncio.Event()
        store.lanes.listener = self

    def lanes_gained(self, owns: Callable[[int], bool]) -> None:
        self.changed.set()

    async def lanes_leaving(self, owns: Callable[[int], bool]) -> None:
        self.leaving += 1
        await self.may_leave.wait()

    def lanes_lost(self, owns: Callable[[int], bool]) -> None:
        self.lost += 1
        self.changed.set()

    def news(self, endpoints: Collection[int]) -> None:
        self.heard.update(endpoints)
        self.changed.set()

    def may_send(self) -> None:
        self.changed.set()


class Cluster:
    def __init__(self, url: str) -> None:
        self.url = url
        self.stores: list[PostgresStore] = []
        self.engines: dict[PostgresStore, Engine] = {}

    async def join(self, **options: float) -> PostgresStore:
        values = {"lease": LEASE, "reserve": 0.2, "follow_interval": 0.2, "probe_interval": 0.01, **options}
        store = PostgresStore(self.url, clock=SystemClock(), **values)
        self.engines[store] = Engine(store)
        self.stores.append(store)
        await store.open()
        return store

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async def wait() -> None:
            while not condition():
                changes = [asyncio.ensure_future(engine.changed.wait()) for engine in self.engines.values()]
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
                for engine, change in zip(self.engines.values(), changes, strict=True):
                    change.cancel()
                    engine.changed.clear()

        await soon(wait(), what, 15)


@pytest.fixture
async def cluster(postgres: PostgresServer) -> AsyncIterator[Cluster]:
    cluster = Cluster(postgres.database())
    yield cluster
    postgres.read_only(False)
    for store in cluster.stores:
        await store.close()


def groups(store: PostgresStore) -> set[int]:
    return set(store.lanes.groups or ())


def test_who_holds_a_group_follows_from_the_live_nodes_alone() -> None:
    nodes = list(range(5))
    before = {group: holder(group, nodes) for group in range(GROUPS)}
    assert set(before.values()) == set(nodes)
    after = {group: holder(group, [0, 1, 3, 4]) for group in range(GROUPS)}
    assert all(after[group] == node for group, node in before.items() if node != 2), "only the lost one's share moves"
    assert holder(7, []) is None


async def test_a_node_alone_holds_every_lane(cluster: Cluster) -> None:
    store = await cluster.join()
    assert groups(store) == set(range(GROUPS))


async def test_two_nodes_share_the_lanes_and_each_has_one_owner(cluster: Cluster) -> None:
    a = await cluster.join()
    b = await cluster.join()
    await cluster.until(lambda: len(groups(a)) + len(groups(b)) == GROUPS and bool(groups(b)), "a share for each")
    assert not groups(a) & groups(b)
    assert min(len(groups(a)), len(groups(b))) > GROUPS // 4
    assert cluster.engines[a].leaving == 1


async def test_what_is_in_flight_is_waited_for_before_a_lane_changes_hands(cluster: Cluster) -> None:
    a = await cluster.join()
    cluster.engines[a].may_leave.clear()
    b = await cluster.join()
    await cluster.until(lambda: cluster.engines[a].leaving == 1, "the first giving up lanes")
    assert groups(b) == set()
    cluster.engines[a].may_leave.set()
    await cluster.until(lambda: bool(groups(b)), "the second getting them")


async def test_a_node_that_stops_leaves_its_lanes_at_once(cluster: Cluster) -> None:
    a = await cluster.join(lease=600.0)
    await a.close()
    b = await cluster.join(lease=600.0)
    assert groups(b) == set(range(GROUPS))


async def test_a_dead_node_s_lanes_move_within_its_lease(cluster: Cluster) -> None:
    a = await cluster.join()
    b = await cluster.join()
    await cluster.until(lambda: bool(groups(b)), "a share for each")
    await a.crash()
    await cluster.until(lambda: len(groups(b)) == GROUPS, "the lanes of the dead")


async def test_a_node_that_was_taken_for_dead_writes_nothing_more(cluster: Cluster, postgres: PostgresServer) -> None:
    a = await cluster.join(lease=600.0)
    app, [endpoint] = await an_app(a)
    outcome = await accepted(a, a_message(app, [endpoint]))
    # Its lease ends although it lives: a clock that stood still, a network that was cut.
    database = cluster.url.partition("@/")[2].partition("?")[0]
    postgres.sql("UPDATE node SET lease_until = 0", database)
    b = await cluster.join(lease=600.0)
    assert groups(b) == set(range(GROUPS))
    late = an_attempt(outcome.id, endpoint)
    assert await completed(a, late) is False
    assert isinstance(await accepted(a, a_message(app, [endpoint])), Refused)
    [delivery] = await b.deliveries_of(outcome.id)
    assert delivery.state is State.PENDING, "the owner of the lane says what became of it"
    await cluster.until(lambda: cluster.engines[a].lost == 1, "the first one hearing of it")
    await cluster.until(lambda: a.writable, "its return under another number")
    again = await accepted(a, a_message(app, [endpoint]))
    assert isinstance(again, Accepted)
    assert (again.id >> 12) & 1023 != (outcome.id >> 12) & 1023 or again.id > outcome.id


async def test_a_node_that_cannot_renew_its_lease_stops_sending_in_time(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    a = await cluster.join()
    loop = asyncio.get_running_loop()
    assert loop.time() < a.lanes.until < loop.time() + LEASE
    postgres.read_only(True)
    until = a.lanes.until
    await asyncio.sleep(until - loop.time())
    assert loop.time() >= a.lanes.until, "no try that begins now could be recorded in time"
    until = a.lanes.until
    postgres.read_only(False)
    await cluster.until(lambda: a.lanes.until > until, "a renewed lease")


async def test_ids_of_two_nodes_never_meet(cluster: Cluster) -> None:
    a, b = await cluster.join(), await cluster.join()
    app, _ = await an_app(a)
    outcomes = await asyncio.gather(*(accepted(store, a_message(app)) for store in (a, b) * 50))
    assert len({outcome.id for outcome in outcomes}) == 100
    assert len({(outcome.id >> 12) & 1023 for outcome in outcomes}) == 2


async def test_an_endpoint_made_on_one_node_is_seen_by_the_next_message_on_another(cluster: Cluster) -> None:
    a = await cluster.join(follow_interval=600.0)
    b = await cluster.join(follow_interval=600.0)
    app, _ = await an_app(a, endpoints=0)

    def match(message: NewMessage) -> list[int]:
        return [endpoint.key for endpoint in b.directory.endpoints_of(message.app)]

    b.matcher = match
    first = await accepted(b, a_message(app))
    assert b.directory.apps[app.key] == app, "it did not know the app"
    endpoint = await a.put_endpoint(Endpoint(0, 0, app.key, "https://partner.example/"))
    second = await accepted(b, a_message(app))
    assert await b.deliveries_of(first.id) == []
    assert [delivery.endpoint for delivery in await b.deliveries_of(second.id)] == [endpoint.key]
    await a.delete_endpoint(endpoint.key)
    third = await accepted(b, a_message(app, [endpoint]))
    assert await b.deliveries_of(third.id) == []
    assert b.directory.endpoints == {}


async def test_changes_of_two_nodes_to_one_app_lose_nothing(cluster: Cluster) -> None:
    a = await cluster.join(follow_interval=600.0)
    b = await cluster.join(follow_interval=600.0)
    app, _ = await an_app(a, endpoints=0)
    await asyncio.gather(
        *(
            store.put_endpoint(Endpoint(0, 0, app.key, f"https://partner.example/{n}"))
            for n, store in enumerate((a, b) * 10)
        )
    )
    for store in (a, b):
        changed = await store.put_app(msgspec.structs.replace(app, name="New"))
        assert len(store.directory.endpoints_of(app.key)) == 20
        assert store.directory.apps[app.key] == changed


async def test_a_deletion_elsewhere_is_found_by_looking(cluster: Cluster) -> None:
    a, b = await cluster.join(), await cluster.join()
    app, [endpoint] = await an_app(a, uid="shop")
    await cluster.until(lambda: b.directory.endpoint(app.key, ids.encode("ep", endpoint.id)) == endpoint, "the app")
    await a.delete_app(app.key)
    await cluster.until(lambda: b.directory.app("shop") is None, "its end")
    assert b.directory.endpoints == {}


async def test_deliveries_for_another_s_lane_wake_its_owner(cluster: Cluster) -> None:
    a = await cluster.join()
    b = await cluster.join()
    await cluster.until(lambda: len(groups(a)) + len(groups(b)) == GROUPS and bool(groups(b)), "a share for each")
    app, endpoints = await an_app(a, endpoints=24)
    await cluster.until(lambda: app.key in b.directory.apps, "the app")
    for store, other in ((a, b), (b, a)):
        outcome = await accepted(store, a_message(app, endpoints))
        theirs = {endpoint.key for endpoint in endpoints if other.lanes.owns(endpoint.key)}
        assert theirs
        await cluster.until(lambda o=other, t=theirs: t <= cluster.engines[o].heard, "the news")  # type: ignore[misc]
        assert set(await other.next_due()) == theirs
        for endpoint in endpoints:
            assert await completed(other, an_attempt(outcome.id, endpoint))


async def test_a_request_that_is_repeated_to_another_node_gets_the_first_answer(cluster: Cluster) -> None:
    a, b = await cluster.join(), await cluster.join()
    app, _ = await an_app(a)
    for key in ("auto_1", "mine-1"):
        outcomes = await asyncio.gather(
            *(accepted(store, a_message(app, idempotency_key=key, body_digest=b"d")) for store in (a, b, a, b))
        )
        assert len({outcome.id for outcome in outcomes}) == 1
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Accepted"] + ["Repeated"] * 3
        assert all(outcome.same for outcome in outcomes if isinstance(outcome, Repeated))


async def test_consumers_and_keys_of_one_node_are_known_to_the_other(cluster: Cluster) -> None:
    a, b = await cluster.join(), await cluster.join()
    consumer = await a.put_consumer(Consumer(0, 0, "web-shop"))
    [key] = await a.put_keys([Key(0, consumer.key, b"d" * 32, "gp_abcde")])
    await cluster.until(lambda: b.access.find(b"d" * 32) is not None, "the key")
    assert b.access.find_name("web-shop") == consumer.key
    await a.delete_key(key.id)
    await cluster.until(lambda: b.access.find(b"d" * 32) is None, "its end")
    await a.delete_consumer(consumer.key)
    await cluster.until(lambda: b.access.find_name("web-shop") is None, "the consumer's end")


async def test_migrations_end_where_the_schema_stands(postgres: PostgresServer) -> None:
    def structure(script: str) -> str:
        name = postgres.database().partition("@/")[2].partition("?")[0]
        postgres.sql(script, name)
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity "
            "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        return postgres.sql(columns, name) + postgres.sql(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1", name
        )

    assert structure(schema("postgresql")) == structure("\n".join(migrations("postgresql")))


@pytest.mark.parametrize("setting", ["synchronous_commit"])
async def test_a_server_that_could_forget_is_refused(postgres: PostgresServer, tmp_path: Path, setting: str) -> None:
    url = postgres.database()
    postgres.sql(f"ALTER DATABASE {url.partition('@/')[2].partition('?')[0]} SET {setting} = off", "postgres")
    with pytest.raises(StoreUnavailable, match=f"{setting} is off") as refusal:
        await PostgresStore(url).open()
    assert "ALTER SYSTEM SET" in str(refusal.value)


async def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"cannot reach postgresql://.*PostgreSQL may not be running") as refusal:
        await PostgresStore(f"postgresql://user:s3cret@/shop?host={tmp_path}").open()
    assert "s3cret" not in str(refusal.value)
