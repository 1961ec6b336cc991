"""The database file: who may open it, who may read it, and how it becomes today's schema."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

import apsw
import pytest

from gatepost.errors import StoreUnavailable
from gatepost.stores.queries import migrations, schema
from gatepost.stores.sqlite import SqliteStore
from gatepost.stores.sqlite_files import APPLICATION_ID, Lock, open_reader, open_writer


def structure(connection: apsw.Connection) -> list[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    return [(kind, name, sql and _bare(sql)) for kind, name, sql in rows]


def _bare(sql: str) -> str:
    """Without comments and white space: SQLite keeps both, and what ALTER TABLE adds stands behind them."""
    words = " ".join(line.split("--")[0] for line in sql.splitlines()).split()
    return re.sub(r" ?([(),]) ?", r"\1", " ".join(words))


def test_migrations_end_where_the_schema_stands() -> None:
    made, migrated = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    made.execute(schema("sqlite"))
    for step in migrations("sqlite"):
        migrated.execute(step)
    assert structure(made) == structure(migrated)


def test_a_new_database_is_private_durable_and_at_the_last_version(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    connection = open_writer(path)
    assert connection.pragma("user_version") == len(migrations("sqlite"))
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2  # FULL: fsync at every commit
    assert connection.pragma("secure_delete") == 0
    for file in tmp_path.iterdir():  # the log and its index hold secrets as well
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert {file.name for file in tmp_path.iterdir()} == {"store.db", "store.db-wal", "store.db-shm"}
    connection.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    open_writer(path).close()
    before = Path(path).read_bytes()
    open_writer(path).close()
    assert Path(path).read_bytes() == before


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    writer = open_writer(path)
    reader = open_reader(path)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM app")
    reader.close()
    writer.close()


def test_a_newer_gatepost_s_database_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    connection = open_writer(path)
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(StoreUnavailable, match="newer Gatepost"):
        open_writer(path)


def test_another_program_s_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "other.db")
    other = apsw.Connection(path)
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    with pytest.raises(StoreUnavailable, match="another program"):
        open_writer(path)
    other = apsw.Connection(path)
    assert [name for _, name, _ in structure(other)] == ["theirs"]
    other.close()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"this is a text file, and not a short one\n" * 40, "not a SQLite database")]
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=reason):
        open_writer(str(path))
    assert path.read_bytes() == content


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"missing.*make it first"):
        await SqliteStore(str(tmp_path / "missing" / "store.db")).open()


async def test_a_failed_open_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, and longer than a header would be\n" * 40)
    with pytest.raises(StoreUnavailable):
        await SqliteStore(str(path)).open()
    path.unlink()
    store = SqliteStore(str(path))
    await store.open()
    await store.close()


async def test_a_damaged_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = open_writer(str(path))
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'app'").get
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreUnavailable, match="malformed"):
        await SqliteStore(str(path)).open()


async def test_an_open_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    opening = asyncio.ensure_future(SqliteStore(path).open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    store = SqliteStore(path)
    await store.open()
    await store.close()


def test_the_lock_names_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    lock = Lock(path)
    with pytest.raises(StoreUnavailable, match=rf"in use by process {os.getpid()}: stop it, or give"):
        Lock(path)
    lock.release()
    Lock(path).release()


def test_a_lock_left_behind_by_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    Path(f"{path}.lock").write_text("999999999\n")
    Lock(path).release()
    assert Path(f"{path}.lock").read_text() == f"{os.getpid()}\n"
