"""A node, and a change of its key, are killed while they work on what is kept: the next start goes on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import apsw
from tests.support.node import Node, running
from tests.support.stores import a_message, accepted_all, an_app

from gatepost.clock import ManualClock, SystemClock
from gatepost.model import Endpoint, Secret
from gatepost.stores.master_key import MasterKey
from gatepost.stores.sqlite import SqliteStore

SETTINGS = {"access_log": {"output": "off"}, "analytics": {"enabled": False}}
ENDPOINTS = 3_000
MESSAGES = 6_000


def store_of(node: Node, clock: ManualClock | SystemClock) -> SqliteStore:
    file = node.directory / "gatepost.db"
    return SqliteStore(str(file), clock=clock, key=MasterKey(None, file.with_name("gatepost.db.key")))


def one(node: Node, sql: str) -> int:
    """A number out of the database, beside whoever has it open."""
    connection = apsw.Connection(str(node.directory / "gatepost.db"), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(1000)
    try:
        return int(connection.execute(sql).get)
    finally:
        connection.close()


async def rekey(node: Node, *, kill: bool) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost", "store", "rekey", "-c", str(node.file)),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    if kill:
        assert b"endpoints" in await process.stderr.readline()  # one step is on disk
        process.kill()
    await process.stderr.read()
    return await process.wait()


async def test_a_change_of_key_that_is_killed_goes_on_when_it_is_begun_again(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", SETTINGS)
    store = store_of(node, SystemClock())
    await store.open()
    app, _ = await an_app(store, uid="shop")
    made = await asyncio.gather(
        *(
            store.put_endpoint(
                Endpoint(0, 0, app.key, f"https://p.example/{n}", uid=f"e{n}", secrets=(Secret(f"whsec_{n:032}"),))
            )
            for n in range(ENDPOINTS)
        )
    )
    await store.close()
    old = (node.directory / "gatepost.db.key").read_bytes()

    assert await rekey(node, kill=True) == -9
    assert one(node, "SELECT count(*) FROM sealing_key") == 2
    assert await rekey(node, kill=True) == -9
    await node.start()  # in the middle of it: both data keys open what they sealed
    try:
        found = await node.api("GET", "/api/v1/app/shop/endpoint/e7/secret")
        assert found["key"] == f"whsec_{7:032}"
    finally:
        node.kill()
        await node.exit_code()
    assert await rekey(node, kill=False) == 0
    assert one(node, "SELECT count(*) FROM sealing_key") == 1
    assert (node.directory / "gatepost.db.key").read_bytes() != old
    store = store_of(node, SystemClock())
    await store.open()
    assert {endpoint.secrets for endpoint in made} <= {each.secrets for each in store.directory.endpoints.values()}
    await store.close()


async def test_retention_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", SETTINGS)
    store = store_of(node, ManualClock(1_700_000_000.0))  # long ago
    await store.open()
    app, _ = await an_app(store, uid="shop")
    await accepted_all(store, [a_message(app) for _ in range(MESSAGES)])
    await store.close()

    left = "SELECT count(*) FROM message WHERE payload IS NOT NULL"
    await node.start()
    while one(node, left) == MESSAGES:
        await asyncio.sleep(0.005)  # nothing tells from outside how far it is
    node.kill()
    await node.exit_code()
    after = one(node, left)
    assert 0 < after < MESSAGES
    marked = one(node, "SELECT count(*) FROM message JOIN retention_mark ON rule LIKE 'payloads%' WHERE id <= reached")
    assert marked == MESSAGES - after

    await node.start()
    try:
        while one(node, left):
            await asyncio.sleep(0.01)
        [message] = (await node.api("GET", "/api/v1/app/shop/msg?limit=1"))["data"]
        assert message["payload"] == {"expired": True}
    finally:
        node.kill()
        await node.exit_code()
    assert one(node, "SELECT count(*) FROM message") == MESSAGES


async def test_what_is_sealed_is_seen_nowhere_and_another_key_is_refused_with_a_sentence(tmp_path: Path) -> None:
    secret = "whsec_c2VhbGVkIGZvciBnb29kLCBhbmQgYm91bmQgdG8gaXQ="
    async with running(tmp_path / "node", SETTINGS) as node:
        await node.api("POST", "/api/v1/app", {"name": "Shop", "uid": "shop"}, expect=201)
        body = {
            "url": "https://93.184.216.34/",
            "uid": "partner",
            "secret": secret,
            "headers": {"x-key": "a-header-value"},
        }
        await node.api("POST", "/api/v1/app/shop/endpoint", body, expect=201)
        [_, record] = (await node.api("GET", "/api/v1/audit?limit=2"))["data"][::-1]
        assert record["who"] == "admin"
        assert record["client"] == "127.0.0.1"
        assert record["request_id"]
        files = {file.name: file.read_bytes() for file in node.directory.iterdir() if file.is_file()}
        assert not [name for name, raw in files.items() if secret.encode() in raw or b"a-header-value" in raw]
        node.kill()
        await node.exit_code()
        (node.directory / "gatepost.db.key").rename(node.directory / "kept.key")
        await node.launch()
        assert await node.exit_code() == 1
        assert "gatepost.db.key is not there: bring it back" in str(node.errors[-1])
        (node.directory / "kept.key").rename(node.directory / "gatepost.db.key")
        await node.start()
        assert (await node.api("GET", "/api/v1/app/shop/endpoint/partner/secret"))["key"] == secret
