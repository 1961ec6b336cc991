"""Sealed values in the PostgreSQL store: opening it with its key, and changing that key. As `sqlite_sealing.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatepost.errors import StoreUnavailable
from gatepost.stores.master_key import MasterKey
from gatepost.stores.postgres_batch import Connection
from gatepost.stores.postgres_files import SCHEMA_LOCK, Address, check_server, migrate
from gatepost.stores.postgres_writer import close
from gatepost.stores.queries import queries
from gatepost.stores.sealing import PLAIN, Change, Columns, Sealer, change, resealed, sealed, unwrap

STEP: Final = 500  # endpoints a transaction
MOST: Final = 2**31 - 1

Progress = Callable[[int], None]  # endpoints sealed anew

_SQL: Final = queries("postgresql")


async def open_sealer(connection: Connection, key: MasterKey | None, now: float) -> Sealer:
    """What opens this store's values. A store that has no data key gets one, and what stands in it is sealed.

    Raises StoreUnavailable where the key is missing or another store's.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)  # nodes start one after another
        rows = [tuple(row) for row in await connection.fetch(_SQL["sealing_keys"])]
        if key is None:
            if rows:
                raise StoreUnavailable("the store is sealed: it cannot be opened without its key")
            return PLAIN
        if rows:
            return key.sealer(rows)
        first = change(key.first(), {})
        await _write_keys(connection, first, now)
        await connection.execute(_SQL["drop_answers"])
        for place, identifier, *plain in await connection.fetch(_SQL["sealed_endpoints"], 0, MOST):
            values = sealed(first.sealer, identifier, Columns(*plain))
            await connection.execute(_SQL["reseal_endpoint"], place, *values)
        return first.sealer


async def rekey(
    url: str, key: MasterKey, to: bytes | None, progress: Progress, now: float, *, step: int = STEP
) -> bool:
    """As `sqlite_sealing.rekey`. No node may run meanwhile: it could not open what is sealed anew."""
    connection = await Address(url).connect()
    try:
        await check_server(connection)
        await migrate(connection)
        nodes = await connection.fetch(_SQL["live_nodes"])
        if nodes:
            raise StoreUnavailable(f"{len(nodes)} nodes use the store: stop them first")
        sealer, resumed = await _switch(connection, key, to, now)
        await _reseal(connection, sealer, progress, step)
        return resumed
    finally:
        await close(connection)


async def _switch(connection: Connection, key: MasterKey, to: bytes | None, now: float) -> tuple[Sealer, bool]:
    """To the other master key, in one transaction; nothing where that was done before."""
    rows = [tuple(row) for row in await connection.fetch(_SQL["sealing_keys"])]
    if not rows:
        raise StoreUnavailable("nothing is sealed there yet: start Gatepost once")
    if to is not None and (done := unwrap(to, rows)) is not None:
        return Sealer(done), True
    data_keys = key.data_keys(rows)
    if len(rows) > 1:
        if to is None:
            return Sealer(data_keys), True
        await _reseal(connection, Sealer(data_keys), lambda _: None, STEP)
        data_keys = {number: value for number, value in data_keys.items() if number == max(data_keys)}
    following = change(key.prepare() if to is None else to, data_keys)
    async with connection.transaction():
        await _write_keys(connection, following, now)
    if to is None:
        key.take_over()
    return following.sealer, False


async def _reseal(connection: Connection, sealer: Sealer, progress: Progress, step: int) -> None:
    done = place = 0
    while True:
        async with connection.transaction():
            rows = await connection.fetch(_SQL["sealed_endpoints"], place, step)
            for place, identifier, *old in rows:
                if not all(map(sealer.is_current, old)):
                    values = resealed(sealer, identifier, Columns(*old))
                    await connection.execute(_SQL["reseal_endpoint"], place, *values)
            if not rows:
                await connection.execute(_SQL["drop_sealing_keys"], sealer.current)
                await connection.execute(_SQL["drop_answers"])
                return
        done += len(rows)
        progress(done)


async def _write_keys(connection: Connection, to: Change, now: float) -> None:
    for number, wrapped in to.wrapped:
        await connection.execute(_SQL["put_sealing_key"], number, wrapped, now)
