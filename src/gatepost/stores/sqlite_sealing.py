"""Sealed values in the SQLite store: opening it with its key, and changing that key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import apsw

from gatepost.errors import StoreUnavailable
from gatepost.stores.master_key import MasterKey
from gatepost.stores.queries import queries
from gatepost.stores.sealing import PLAIN, Change, Columns, Sealer, change, resealed, sealed, unwrap
from gatepost.stores.sqlite_files import Lock, open_writer

STEP: Final = 500  # endpoints a transaction: 10 ms

Progress = Callable[[int], None]  # endpoints sealed anew

_SQL: Final = queries("sqlite")


def open_sealer(connection: apsw.Connection, key: MasterKey | None, now: float) -> Sealer:
    """What opens this store's values. A store that has no data key gets one, and what stands in it is sealed.

    Raises StoreUnavailable where the key is missing or another store's.
    """
    rows: list[Any] = connection.execute(_SQL["sealing_keys"]).fetchall()
    if key is None:
        if rows:
            raise StoreUnavailable("the store is sealed: it cannot be opened without its key")
        return PLAIN
    if rows:
        return key.sealer(rows)
    first = change(key.first(), {})
    connection.pragma("secure_delete", True)  # what stood there plainly is overwritten, not only let go of
    try:
        with connection:
            _write_keys(connection, first, now)
            connection.execute(_SQL["drop_answers"])
            plain: list[Any] = connection.execute(_SQL["sealed_endpoints"], (0, -1)).fetchall()
            for place, identifier, *columns in plain:
                values = sealed(first.sealer, identifier, Columns(*columns))
                connection.execute(_SQL["reseal_endpoint"], (*values, place))
    finally:
        connection.pragma("secure_delete", False)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return first.sealer


def rekey(path: str, key: MasterKey, to: bytes | None, progress: Progress, now: float, *, step: int = STEP) -> bool:
    """Seal a store under another master key: `to`, or a new one in the place of its file. Broken off at any moment, it
    goes on where it was when begun again; until it has ended, what is sealed under the old data key opens too.

    True where it ended what was begun before. Raises StoreUnavailable where the store is in use or the key is wrong.
    """
    lock = Lock(path)
    try:
        connection = open_writer(path)
        connection.pragma("secure_delete", True)
        try:
            sealer, resumed = _switch(connection, key, to, now)
            _reseal(connection, sealer, progress, step)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    finally:
        lock.release()
    return resumed


def _switch(connection: apsw.Connection, key: MasterKey, to: bytes | None, now: float) -> tuple[Sealer, bool]:
    """To the other master key, in one transaction; nothing where that was done before."""
    rows: list[Any] = connection.execute(_SQL["sealing_keys"]).fetchall()
    if not rows:
        raise StoreUnavailable("nothing is sealed there yet: start Gatepost once")
    if to is not None and (done := unwrap(to, rows)) is not None:
        return Sealer(done), True
    data_keys = key.data_keys(rows)
    if len(rows) > 1:
        if to is None:
            return Sealer(data_keys), True
        _reseal(connection, Sealer(data_keys), lambda _: None, STEP)
        data_keys = {number: value for number, value in data_keys.items() if number == max(data_keys)}
    following = change(key.prepare() if to is None else to, data_keys)
    with connection:
        _write_keys(connection, following, now)
    if to is None:
        key.take_over()
    return following.sealer, False


def _reseal(connection: apsw.Connection, sealer: Sealer, progress: Progress, step: int) -> None:
    done = place = 0
    while True:
        with connection:
            rows: list[Any] = connection.execute(_SQL["sealed_endpoints"], (place, step)).fetchall()
            for place, identifier, *old in rows:
                if not all(map(sealer.is_current, old)):
                    values = resealed(sealer, identifier, Columns(*old))
                    connection.execute(_SQL["reseal_endpoint"], (*values, place))
            if not rows:
                connection.execute(_SQL["drop_sealing_keys"], (sealer.current,))
                connection.execute(_SQL["drop_answers"])
                return
        done += len(rows)
        progress(done)


def _write_keys(connection: apsw.Connection, to: Change, now: float) -> None:
    for number, wrapped in to.wrapped:
        connection.execute(_SQL["put_sealing_key"], (number, wrapped, now))
