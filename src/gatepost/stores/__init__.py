"""Stores: what is true, on disk. `base.py` is the contract, `directory.py` and `access.py` the part of it that is kept
in memory, `group_commit.py` the loop's side of every engine.

- `sqlite.py`    the embedded engine: one file, one process.
- `postgres.py`  the engine of many nodes: one PostgreSQL database; `lanes.py` says who sends what.

`sql/<engine>/` holds schema, queries and migrations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.stores.base import Store
from gatepost.stores.master_key import MasterKey

SQLITE: Final = "sqlite:///"


def store_at(url: str, folder: Path, clock: Clock, *, try_seconds: float, key: MasterKey) -> Store:
    """The store of a URL; a relative path counts from `folder`. `try_seconds` is the longest that one try to deliver
    takes. Raises StoreUnavailable where what an engine needs is not installed."""
    if url.startswith(SQLITE):
        from gatepost.stores.sqlite import SqliteStore

        return SqliteStore(str(folder / url.removeprefix(SQLITE)), clock=clock, key=key)
    try:
        from gatepost.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreUnavailable("PostgreSQL needs asyncpg: pip install 'gatepost[postgresql]'") from None
    reserve = try_seconds + 1.0
    return PostgresStore(url, clock=clock, lease=3 * reserve, reserve=reserve, key=key)


def beside(url: str, folder: Path) -> Path:
    """What a node keeps in files of its own has names that begin like this one."""
    return folder / (url.removeprefix(SQLITE) if url.startswith(SQLITE) else "gatepost")


def master_key(url: str, folder: Path, given: str | None) -> MasterKey:
    """The key of a store: `given`, or the file beside it."""
    file = beside(url, folder)
    return MasterKey(given, file.with_name(file.name + ".key"))


def public_name(url: str, folder: Path) -> str:
    """A store as people may read it: without user and password."""
    if url.startswith(SQLITE):
        return str(beside(url, folder))
    head, _, rest = url.partition("://")
    return f"{head}://{rest.rpartition('@')[2].partition('?')[0]}"
