"""What must be secret does not stand on disk as it is, on either engine; and its key can be changed."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from tests.support.stores import PostgresUnderTest, SqliteUnderTest, StoreUnderTest, an_app

from gatepost.errors import StoreUnavailable
from gatepost.model import Bearer, Endpoint, EndpointSettings, Secret
from gatepost.stores import postgres_sealing, sqlite_sealing
from gatepost.stores.base import Store
from gatepost.stores.control import KeptAnswer
from gatepost.stores.master_key import MasterKey

SECRETS = ("whsec_cGxhaW4gYXMgZGF5", "token-for-a-receiver", "header-of-a-receiver")
Rekey = Callable[..., Awaitable[bool]]


def an_endpoint(app: int) -> Endpoint:
    return Endpoint(
        0, 0, app, "https://partner.example/",
        headers={"x-api-key": SECRETS[2]},
        secrets=(Secret(SECRETS[0]),),
        settings=EndpointSettings(auth=Bearer(SECRETS[1])),
    )  # fmt: skip


async def on_disk(life: StoreUnderTest) -> bytes:
    """Everything that the engine keeps of the endpoints."""
    if isinstance(life, SqliteUnderTest):
        return b"".join(file.read_bytes() for file in sorted(life.folder.rglob("store.db*")) if file.suffix != ".key")
    rows = await sql(life, "SELECT headers, secrets, settings FROM endpoint")
    return "\n".join(str(row) for row in rows).encode()


async def sql(life: StoreUnderTest, text: str) -> list[Any]:
    """Behind the store's back."""
    if isinstance(life, SqliteUnderTest):
        connection = apsw.Connection(str(life.folder / "store.db"))
        rows = connection.execute(text).fetchall()
        connection.close()
        return rows
    assert isinstance(life, PostgresUnderTest)
    database = await asyncpg.connect(life.url)
    try:
        return [tuple(row) for row in await database.fetch(text)]
    finally:
        await database.close()


def key_of(life: StoreUnderTest) -> MasterKey:
    return MasterKey(None, life.folder / "store.db.key")


async def rekey(life: StoreUnderTest, key: MasterKey, to: bytes | None = None, **more: Any) -> bool:
    progress = more.pop("progress", lambda _: None)
    if isinstance(life, SqliteUnderTest):
        path = str(life.folder / "store.db")
        return await asyncio.to_thread(sqlite_sealing.rekey, path, key, to, progress, 0.0, **more)
    assert isinstance(life, PostgresUnderTest)
    return await postgres_sealing.rekey(life.url, key, to, progress, 0.0, **more)


async def test_no_secret_stands_on_disk_as_it_is(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    endpoint = await store.put_endpoint(an_endpoint(app.key))
    assert store.directory.endpoints[endpoint.key].secrets == (Secret(SECRETS[0]),)
    found = await on_disk(life)
    assert not [secret for secret in SECRETS if secret.encode() in found]
    store = await life.reopen(store)
    assert store.directory.endpoints[endpoint.key] == endpoint
    await store.delete_endpoint(endpoint.key)
    assert (await sql(life, f"SELECT headers, secrets, settings FROM endpoint WHERE key = {endpoint.key}")) == [
        ("{}", "[]", "{}")
    ]


async def test_a_kept_answer_is_sealed_too(life: StoreUnderTest, store: Store) -> None:
    answer = KeptAnswer(b"d" * 32, 201, b'{"key":"gp_key-that-was-made"}')
    await store.keep_answer(b"p" * 32, answer, life.clock.now() + 60)
    assert await store.kept_answer(b"p" * 32) == answer
    [[body]] = await sql(life, "SELECT body FROM answer")
    assert b"key-that-was-made" not in bytes(body)
    assert b"key-that-was-made" not in await on_disk(life)
    await store.keep_answer(b"q" * 32, answer, life.clock.now() + 60)
    await sql(life, f"UPDATE answer SET place = '{(b'r' * 32).hex()}' WHERE place = '{(b'q' * 32).hex()}'")
    with pytest.raises(StoreUnavailable, match="does not open"):
        await store.kept_answer(b"r" * 32)


async def test_the_test_above_would_see_them(life: StoreUnderTest) -> None:
    store = await life.open(key=None)
    app, _ = await an_app(store)
    await store.put_endpoint(an_endpoint(app.key))
    found = await on_disk(life)
    assert all(secret.encode() in found for secret in SECRETS)


async def test_a_store_from_before_is_sealed_when_it_is_opened_with_a_key(life: StoreUnderTest) -> None:
    store = await life.open(key=None)
    app, _ = await an_app(store)
    endpoint = await store.put_endpoint(an_endpoint(app.key))
    store = await life.reopen(store)
    assert store.directory.endpoints[endpoint.key] == endpoint
    found = await on_disk(life)
    assert not [secret for secret in SECRETS if secret.encode() in found]
    assert (life.folder / "store.db.key").stat().st_mode & 0o777 == 0o600


async def test_another_key_does_not_open_it(life: StoreUnderTest, store: Store) -> None:
    await store.close()
    for given, file, reason in (
        (b64encode(b"k" * 32).decode(), "store.db.key", "is not the key that this store was sealed with"),
        (None, "another.key", "is not there"),
    ):
        with pytest.raises(StoreUnavailable, match=reason):
            await life.open(key=MasterKey(given, life.folder / file))
    (life.folder / "store.db.key").write_bytes(b64encode(b"k" * 32))
    with pytest.raises(StoreUnavailable, match="is not the one that this store was sealed with"):
        await life.open()
    with pytest.raises(StoreUnavailable, match="without its key"):
        await life.open(key=None)


async def test_a_key_that_others_can_read_is_refused(life: StoreUnderTest, store: Store) -> None:
    await store.close()
    (life.folder / "store.db.key").chmod(0o644)
    with pytest.raises(StoreUnavailable, match="chmod 600"):
        await life.open()


@pytest.mark.parametrize("column", ["headers", "secrets", "settings"])
async def test_a_value_opens_only_in_its_own_place(life: StoreUnderTest, store: Store, column: str) -> None:
    app, _ = await an_app(store)
    one = await store.put_endpoint(an_endpoint(app.key))
    two = await store.put_endpoint(an_endpoint(app.key))
    await store.close()
    [[value]] = await sql(life, f"SELECT {column} FROM endpoint WHERE key = {one.key}")
    await sql(life, f"UPDATE endpoint SET {column} = '{value}' WHERE key = {two.key}")
    with pytest.raises(StoreUnavailable, match=f"endpoint.{column}.{two.id} does not open"):
        await life.open()
    await sql(life, f"UPDATE endpoint SET {column} = '{{}}' WHERE key = {two.key}")  # nor what was never sealed
    with pytest.raises(StoreUnavailable, match="does not open"):
        await life.open()


async def test_a_new_key_in_the_place_of_the_old(life: StoreUnderTest, store: Store) -> None:
    app, [first] = await an_app(store)
    endpoint = await store.put_endpoint(an_endpoint(app.key))
    await store.close()
    old = (life.folder / "store.db.key").read_bytes()
    before = await sql(life, "SELECT secrets FROM endpoint")
    assert await rekey(life, key_of(life)) is False
    assert (life.folder / "store.db.key").read_bytes() != old
    assert not set(before) & set(await sql(life, "SELECT secrets FROM endpoint"))
    assert len(await sql(life, "SELECT id FROM sealing_key")) == 1
    store = await life.open()
    assert store.directory.endpoints == {first.key: first, endpoint.key: endpoint}
    await store.close()
    (life.folder / "store.db.key").write_bytes(old)
    with pytest.raises(StoreUnavailable, match="is not the one"):
        await life.open()


async def test_a_change_of_key_may_be_broken_off_at_any_step(life: StoreUnderTest, store: Store) -> None:
    app, endpoints = await an_app(store, endpoints=7)
    await store.close()
    to = b"n" * 32
    new = MasterKey(b64encode(to).decode(), life.folder / "unused")

    class BrokenOff(Exception):
        pass

    def stop_at(done: int) -> None:
        if done >= 4:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        await rekey(life, key_of(life), to, progress=stop_at, step=2)
    assert len(await sql(life, "SELECT id FROM sealing_key")) == 2
    store = await life.open(key=new)  # both data keys open what they sealed
    assert list(store.directory.endpoints.values()) == endpoints
    changed = await store.put_endpoint(an_endpoint(app.key))
    await store.close()
    assert await rekey(life, key_of(life), to, step=2) is True
    assert len(await sql(life, "SELECT id FROM sealing_key")) == 1
    assert await rekey(life, key_of(life), to) is True  # once more changes nothing
    store = await life.open(key=new)
    assert list(store.directory.endpoints.values()) == [*endpoints, changed]


async def test_a_kill_before_the_key_took_its_place_is_mended_by_the_next_start(
    life: StoreUnderTest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = await an_app(store)
    endpoint = await store.put_endpoint(an_endpoint(app.key))
    await store.close()

    class Killed(Exception):
        pass

    def killed(_: MasterKey) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MasterKey, "take_over", killed)
        with pytest.raises(Killed):
            await rekey(life, key_of(life))
    assert (life.folder / "store.db.key.new").exists()
    store = await life.open()
    assert store.directory.endpoints[endpoint.key] == endpoint
    assert not (life.folder / "store.db.key.new").exists()
    await store.close()
    assert await rekey(life, key_of(life)) is True
    assert len(await sql(life, "SELECT id FROM sealing_key")) == 1


async def test_no_key_is_changed_under_a_running_node(life: StoreUnderTest, store: Store) -> None:
    with pytest.raises(StoreUnavailable, match=r"in use|stop them first"):
        await rekey(life, key_of(life))


async def test_what_was_never_sealed_has_no_key_to_change(life: StoreUnderTest) -> None:
    store = await life.open(key=None)
    await store.close()
    with pytest.raises(StoreUnavailable, match="start Gatepost once"):
        await rekey(life, key_of(life))


def test_a_key_s_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store.key"
    file.write_text("too short")
    file.chmod(0o600)
    with pytest.raises(StoreUnavailable, match="32 bytes"):
        MasterKey(None, file).first()
