"""The files of a SQLite store: the lock beside the database, opening it, and bringing it to today's schema."""

from __future__ import annotations

import fcntl
import os
from typing import Final

import apsw

from gatepost.errors import StoreUnavailable
from gatepost.stores.queries import migrations, schema

APPLICATION_ID: Final = 0x47415445  # "GATE": `file gatepost.db` can tell
BUSY_MS: Final = 5_000  # another program (a backup) may hold a lock for a moment


class Lock:
    """An exclusive lock on `<path>.lock`, held by one process. The file stays: to remove it would be a race."""

    def __init__(self, path: str) -> None:
        file = f"{path}.lock"
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(_cannot("open", file, error)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise StoreUnavailable(
                f"{path} is in use by process {holder or 'unknown'}: stop it, or give this one another `store`"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        os.close(self._fd)


def open_writer(path: str) -> apsw.Connection:
    """The one connection that writes: durable, in WAL mode, at today's schema. Raises StoreUnavailable."""
    _make_private(path)
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=256)
        try:
            connection.set_busy_timeout(BUSY_MS)
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise StoreUnavailable(f"{path}: this file system cannot hold a write-ahead log (mode {mode})")
            connection.pragma("synchronous", "FULL")
            connection.pragma("secure_delete", False)  # 8 times as slow with it
            connection.pragma("cache_size", -32_768)  # KiB
            connection.pragma("temp_store", "MEMORY")
            connection.pragma("wal_autocheckpoint", 0)  # the writer checkpoints when nobody waits
            connection.pragma("journal_size_limit", 64 << 20)
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as error:
        raise StoreUnavailable(_cannot("use", path, error)) from error
    return connection


def open_reader(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("cache_size", -8_192)
    return connection


def _make_private(path: str) -> None:
    """The database holds signing secrets: only its owner may read it. Its log inherits the mode from it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(_cannot("make", path, error)) from error
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the name is on disk too, before anything is acknowledged
    finally:
        os.close(folder)


def _migrate(connection: apsw.Connection, path: str) -> None:
    steps = migrations("sqlite")
    version = connection.pragma("user_version")
    if version == len(steps):
        return
    if version > len(steps):
        raise StoreUnavailable(
            f"{path} was written by a newer Gatepost (schema {version}, this one knows {len(steps)}): "
            "use that version or a newer one"
        )
    with connection:
        if version == 0:
            if connection.execute("SELECT count(*) FROM sqlite_schema").get:
                raise StoreUnavailable(f"{path} is a database of another program: choose another `store`")
            connection.pragma("application_id", APPLICATION_ID)
            connection.execute(schema("sqlite"))
        else:
            for step in steps[version:]:
                connection.execute(step)
        connection.pragma("user_version", len(steps))


def _cannot(act: str, path: str, error: Exception) -> str:
    """One line that says what to do, where that is known."""
    if isinstance(error, FileNotFoundError):
        return f"cannot {act} {path}: its folder does not exist, make it first"
    if isinstance(error, apsw.NotADBError):
        return f"cannot {act} {path}: it is not a SQLite database, choose another `store`"
    return f"cannot {act} {path}: {error.strerror if isinstance(error, OSError) else error}"
