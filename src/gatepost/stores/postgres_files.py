"""The database itself: its address, whether it may be trusted with a promise, and its schema."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from gatepost.errors import StoreUnavailable
from gatepost.stores.postgres_batch import Connection
from gatepost.stores.queries import migrations

OLDEST: Final = 140_000  # server_version_num: xid8 and its functions came with 13, 14 is what we test
COMMAND_TIMEOUT: Final = 30.0  # seconds: a database that says nothing for so long is taken for gone
CONNECT_TIMEOUT: Final = 10.0  # seconds
SCHEMA_LOCK: Final = 0x6761_7465  # of pg_advisory_xact_lock: one node migrates at a time


class Address:
    """A `postgresql://` URL. `?pgbouncer=transaction` says that PgBouncer stands between, in transaction mode: then no
    statement is prepared by name and nobody listens; changes of other nodes are found by polling."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True)
        self.pooled = ("pgbouncer", "transaction") in options
        query = urlencode([(name, value) for name, value in options if name != "pgbouncer"])
        self._dsn = urlunsplit(parts._replace(query=query))
        host = parts.hostname or dict(options).get("host", "")
        self._shown = f"postgresql://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def __str__(self) -> str:
        """Without user and password."""
        return self._shown

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": {"application_name": "gatepost"},
        }
        if self.pooled:
            options |= {"statement_cache_size": 0}
        return options

    async def connect(self) -> Connection:
        """Raises StoreUnavailable where the address is wrong, an error of `TROUBLE` where nobody answers."""
        try:
            return cast("Connection", await asyncpg.connect(self._dsn, **self._options()))
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise StoreUnavailable(f"cannot log in to {self}: {error}") from None
        except OSError as error:
            raise StoreUnavailable(
                f"cannot reach {self}: {error.strerror or error}; PostgreSQL may not be running there"
            ) from error

    async def pool(self, size: int) -> Any:
        return await asyncpg.create_pool(self._dsn, min_size=0, max_size=size, **self._options())


async def check_server(connection: Connection) -> None:
    """Refuse what could not keep a promise. Raises StoreUnavailable with the way out."""
    settings = dict(
        await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1)",
            ["server_version_num", "server_version", "synchronous_commit", "fsync", "full_page_writes",
             "server_encoding"],
        )
    )  # fmt: skip
    if int(settings["server_version_num"]) < OLDEST:
        raise StoreUnavailable(f"PostgreSQL {settings['server_version']} is too old: Gatepost needs 14 or newer")
    if settings["server_encoding"] != "UTF8":
        raise StoreUnavailable(
            f"the database's encoding is {settings['server_encoding']}; create it anew with ENCODING 'UTF8'"
        )
    for name in ("synchronous_commit", "fsync", "full_page_writes"):
        if settings[name] == "off":
            raise StoreUnavailable(
                f"{name} is off: what PostgreSQL acknowledges could be lost, and Gatepost promises that it is not. "
                f"Turn it on (ALTER SYSTEM SET {name} = on; or for this database or role)"
            )


async def migrate(connection: Connection) -> None:
    """Bring the schema here. One node at a time; others wait. Raises StoreUnavailable for a newer schema."""
    steps = migrations("postgresql")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        there = await connection.fetchval("SELECT to_regclass('schema_version') IS NOT NULL")
        version = await connection.fetchval("SELECT version FROM schema_version") if there else 0
        if version > len(steps):
            raise StoreUnavailable(
                f"the database was written by a newer Gatepost (schema {version}, this one knows {len(steps)}): "
                "install that one"
            )
        if version == len(steps):
            return
        for step in steps[version:]:
            await connection.execute(step)
        await connection.execute("DELETE FROM schema_version")
        await connection.execute("INSERT INTO schema_version VALUES ($1)", len(steps))
