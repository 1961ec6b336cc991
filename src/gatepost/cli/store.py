"""`gatepost store`: migrate, check and copy what a node keeps, and seal it under another key."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from gatepost.errors import GatepostError

app = typer.Typer(no_args_is_help=True)

_Url = Annotated[
    str, typer.Argument(help="sqlite:///PATH, postgresql://USER@HOST/DATABASE, or env:NAME or file:PATH that hold one.")
]


@app.callback()
def _group() -> None:
    """Look after the store. Stop the nodes that use it first, except for `migrate` and `check` of PostgreSQL."""


@app.command()
def migrate(store: _Url) -> None:
    """Bring a store to this version's schema. `gatepost serve` does it by itself; this is for doing it beforehand."""
    url = _read(store)
    if url.startswith("sqlite:"):
        from gatepost.stores.sqlite_files import Lock, open_writer

        path = _path(url)
        lock = Lock(path)
        try:
            open_writer(path).close()
        finally:
            lock.release()
    else:
        asyncio.run(_migrate(url))
    print(f"{_shown(url)}: at this version's schema")


@app.command()
def check(store: _Url) -> None:
    """Count what is there and look whether it fits together. Exit code 1 if something does not."""
    from gatepost.stores.checking import check_postgres, check_sqlite

    url = _read(store)
    if url.startswith("sqlite:") and not Path(_path(url)).exists():
        raise GatepostError(f"{_path(url)} does not exist")  # looking for a store makes none
    found = check_sqlite(_path(url)) if url.startswith("sqlite:") else asyncio.run(check_postgres(url))
    for table, rows in found.rows.items():
        print(f"{table:16} {rows:>14,}")
    if found.faults:
        raise GatepostError(f"{_shown(url)}: " + "; ".join(found.faults))
    print(f"{_shown(url)}: good")


@app.command()
def copy(source: _Url, target: _Url) -> None:
    """Copy a SQLite store into an empty PostgreSQL database. Broken off, it goes on where it was when begun again."""
    from gatepost.stores.copying import copy as copy_store

    source_url, target_url = _read(source), _read(target)
    if not source_url.startswith("sqlite:") or target_url.startswith("sqlite:"):
        raise GatepostError("copies go from sqlite:///PATH to postgresql://…")
    path = _path(source_url)
    if not Path(path).exists():
        raise GatepostError(f"{path} does not exist")
    asyncio.run(copy_store(path, target_url, _progress))
    print(f"copied {path} to {_shown(target_url)}; set `store` to it, and start")


@app.command()
def rekey(
    config: Annotated[Path, typer.Option("-c", "--config", help="The configuration file.")] = Path("gatepost.yaml"),
    to: Annotated[str | None, typer.Option("--to", help="env:NAME or file:PATH that hold the new key.")] = None,
) -> None:
    """Seal endpoints' secrets under a new master key: the one of --to, or a new one in the place of the key's file.

    Broken off, it goes on where it was when begun again."""
    from gatepost.config.loading import load
    from gatepost.stores import SQLITE, master_key

    loaded = load(config)
    folder = config.resolve().parent
    url = loaded.config.store
    key = master_key(url, folder, loaded.config.encryption_key)
    if to is None and key.given is not None:
        raise GatepostError("the file names an `encryption_key`: name the new one with --to env:NAME or --to file:PATH")
    new = None if to is None else _key(to)
    now = time.time()
    if url.startswith(SQLITE):
        from gatepost.stores import sqlite_sealing

        path = folder / _path(url)
        if not path.exists():
            raise GatepostError(f"{path} does not exist")
        resumed = sqlite_sealing.rekey(str(path), key, new, _sealed, now)
    else:
        from gatepost.stores import postgres_sealing

        resumed = asyncio.run(postgres_sealing.rekey(url, key, new, _sealed, now))
    what = "ended what was begun before" if resumed else "sealed under a new key"
    where = f"; it is in {key.file}" if new is None else "; set `encryption_key` to it, and start"
    print(f"{what}{where}")


async def _migrate(url: str) -> None:
    from gatepost.stores.postgres_files import Address, check_server, migrate
    from gatepost.stores.postgres_writer import close

    connection = await Address(url).connect()
    try:
        await check_server(connection)
        await migrate(connection)
    finally:
        await close(connection)


def _progress(table: str, done: int, total: int) -> None:
    end = "\n" if done >= total or not sys.stderr.isatty() else ""
    start = "\r" if sys.stderr.isatty() else ""
    print(f"{start}{table:16} {done:>14,} of {total:,}", end=end, file=sys.stderr, flush=True)


def _sealed(endpoints: int) -> None:
    print(f"{endpoints:,} endpoints", file=sys.stderr, flush=True)


def _key(text: str) -> bytes:
    from gatepost.config import secrets, units

    try:
        return units.key_bytes(secrets.resolve(text, os.environ, Path.cwd()))
    except ValueError as error:
        raise GatepostError(f"--to {error}") from None


def _read(text: str) -> str:
    from gatepost.config import secrets, units

    try:
        url = units.store(secrets.resolve(text, os.environ, Path.cwd()))
    except ValueError as error:
        raise GatepostError(f"the store {error}") from None
    if not url.startswith("sqlite:"):
        try:
            import asyncpg  # noqa: F401
        except ModuleNotFoundError:
            raise GatepostError("PostgreSQL needs asyncpg: pip install 'gatepost[postgresql]'") from None
    return url


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _shown(url: str) -> str:
    from gatepost.stores import public_name

    return public_name(url, Path())
