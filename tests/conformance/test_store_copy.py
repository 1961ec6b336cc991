"""From SQLite to PostgreSQL: everything comes over, once, also where the copy was broken off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.postgres import PostgresServer
from tests.support.stores import a_message, accepted, accepted_all, an_app, an_attempt, completed

from gatepost.clock import ManualClock
from gatepost.errors import StoreUnavailable
from gatepost.lifecycle import State
from gatepost.model import Consumer, Endpoint, Key, Plan, Secret
from gatepost.stores.base import Accepted, EventIdTaken, Filter, QuotaCount, Repeated
from gatepost.stores.checking import check_postgres, check_sqlite
from gatepost.stores.copying import copy
from gatepost.stores.postgres import PostgresStore
from gatepost.stores.sqlite import SqliteStore

MESSAGES = 60


@pytest.fixture
async def path(tmp_path: Path) -> str:
    """A store with something of everything."""
    path = str(tmp_path / "gatepost.db")
    store = SqliteStore(path, clock=ManualClock(1_800_000_000.0))
    await store.open()
    app, [endpoint] = await an_app(store, uid="shop")
    other = await store.put_endpoint(
        Endpoint(0, 0, app.key, "https://b.example/", disabled=True, secrets=(Secret("whsec_bmV3"),))
    )
    gone = await store.put_endpoint(Endpoint(0, 0, app.key, "https://c.example/"))
    messages = [
        a_message(app, [endpoint, other], event_type=f"t{n % 3}", channels=(f"/orders/{n}", "/all"), tags=("a", "b"),
                  event_id=f"e{n}", idempotency_key=f"k{n}", body_digest=b"d")
        for n in range(MESSAGES)
    ]  # fmt: skip
    outcomes = await accepted_all(store, messages)
    for n, outcome in enumerate(outcomes):
        if n % 2:
            failed = {"ok": False, "status": 500, "response": b"no"} if n % 4 == 1 else {}
            assert await completed(store, an_attempt(outcome.id, endpoint, **failed))
    await store.delete_endpoint(gone.key)
    consumer = await store.put_consumer(Consumer(0, 0, "web", tags=("x",), metadata={"a": "b"}))
    await store.put_keys([Key(0, consumer.key, b"d" * 32, "gp_12345")])
    await store.put_plan(Plan("gold"))
    await store.put_quota_counts([QuotaCount("s", "k", b"\0" * 8, 1_900_000_000.0)])
    await store.close()
    return path


async def test_everything_comes_over(path: str, postgres: PostgresServer) -> None:
    url = postgres.database()
    steps: list[tuple[str, int, int]] = []
    await copy(path, url, lambda *step: steps.append(step), step=7)
    assert {name for name, _, _ in steps} >= {"message", "delivery", "attempt", "access_key"}
    before, after = check_sqlite(path), await check_postgres(url)
    assert not before.faults
    assert not after.faults
    counts = {name: rows for name, rows in before.rows.items() if name != "message_channel"}
    assert {name: after.rows[name] for name in counts} == counts
    assert after.rows["message_channel"] == 2 * MESSAGES

    clock = ManualClock(1_800_000_000.0)
    old = SqliteStore(path, clock=clock)
    new = PostgresStore(url, clock=clock)
    await old.open()
    await new.open()
    try:
        assert new.directory.apps == old.directory.apps
        assert new.directory.endpoints == old.directory.endpoints
        app = new.directory.app("shop")
        assert app is not None
        endpoint, other = new.directory.endpoints_of(app.key)
        for narrow in (Filter(), Filter(channel="/all"), Filter(event_types=["t1"]), Filter(tag="a")):
            assert await new.list_messages(app.key, narrow) == await old.list_messages(app.key, narrow)
        for narrow in (Filter(), Filter(ok=False)):
            found = await new.attempts_of_endpoint(endpoint.key, narrow)
            assert found == await old.attempts_of_endpoint(endpoint.key, narrow)
        assert await new.next_due() == await old.next_due()
        assert await new.due(other.key, 2e9, 100) == await old.due(other.key, 2e9, 100)
        assert await new.list_consumers(Filter()) == await old.list_consumers(Filter())
        assert await new.quota_counts() == await old.quota_counts()
        assert new.access.find(b"d" * 32) == old.access.find(b"d" * 32)
        newest = (await new.list_messages(app.key, Filter(limit=1))).items[0]
        fresh = await accepted(new, a_message(app, [endpoint]))
        assert isinstance(fresh, Accepted)
        assert fresh.id > newest.id
        assert isinstance(await accepted(new, a_message(app, event_id="e3")), EventIdTaken)
        repeated = await accepted(new, a_message(app, idempotency_key="k3", body_digest=b"d"))
        assert isinstance(repeated, Repeated)
        assert repeated.same
        made = await new.put_endpoint(Endpoint(0, 0, app.key, "https://d.example/"))
        assert made.key > 3, "the key of a deleted endpoint is never used again"
        states = [delivery.state for delivery in await new.deliveries_of(newest.id)]
        assert states == [State.DELIVERED, State.PENDING]
    finally:
        await old.close()
        await new.close()


async def test_a_copy_that_was_broken_off_goes_on(path: str, postgres: PostgresServer) -> None:
    url = postgres.database()

    class Broken(Exception):
        pass

    for stop in (3, 11, 25):
        left = stop

        def progress(*_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Broken

        with pytest.raises(Broken):
            await copy(path, url, progress, step=7)
    await copy(path, url, lambda *_: None, step=7)
    after = await check_postgres(url)
    assert after.rows["message"] == MESSAGES
    assert after.rows["delivery"] == check_sqlite(path).rows["delivery"]


async def test_a_database_that_holds_something_is_refused(path: str, postgres: PostgresServer) -> None:
    url = postgres.database()
    await copy(path, url, lambda *_: None)
    with pytest.raises(StoreUnavailable, match="empty database"):
        await copy(path, url, lambda *_: None)


async def test_a_store_in_use_is_not_copied(path: str, postgres: PostgresServer) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        with pytest.raises(StoreUnavailable, match="in use"):
            await copy(path, postgres.database(), lambda *_: None)
    finally:
        await store.close()


async def test_by_hand(path: str, postgres: PostgresServer) -> None:
    url = postgres.database()

    def gatepost(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gatepost", "store", *arguments], capture_output=True, text=True, check=False
        )

    done = gatepost("copy", f"sqlite:///{path}", url)
    assert (done.returncode, "set `store` to it" in done.stdout) == (0, True), done.stderr
    done = gatepost("check", url)
    assert (done.returncode, done.stdout.splitlines()[-1].endswith(": good")) == (0, True), done.stderr
    done = gatepost("copy", f"sqlite:///{path}", "mysql://x")
    assert done.returncode == 1
    assert "must be sqlite:///PATH" in done.stderr
    assert "Traceback" not in done.stderr
    done = gatepost("migrate", f"sqlite:///{path}")
    assert done.returncode == 0
