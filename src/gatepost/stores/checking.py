"""Looking a store over: how much there is, and whether what belongs together is there."""

from __future__ import annotations

from typing import Final, NamedTuple

import apsw

from gatepost.stores.copying import TABLES
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_files import Lock, open_writer

# What must be nobody, and what it means where it is somebody.
RULES: Final = {
    "lost_deliveries": "deliveries whose message is not there",
    "stray_deliveries": "pending deliveries to endpoints that were deleted",
    "lost_attempts": "attempts to endpoints that never were",
}


class Findings(NamedTuple):
    rows: dict[str, int]  # by table
    faults: list[str]


def check_sqlite(path: str) -> Findings:
    """Brings it to today's schema first. Raises StoreUnavailable where it is in use or cannot be read."""
    lock = Lock(path)
    try:
        connection = open_writer(path)
        try:
            return _look(connection)
        finally:
            connection.close()
    finally:
        lock.release()


def _look(connection: apsw.Connection) -> Findings:
    sql = queries("sqlite")
    rows = {t.name: connection.execute(f"SELECT count(*) FROM {t.name}").get for t in TABLES}  # noqa: S608 - ours
    faults = [f"{count} {meaning}" for rule, meaning in RULES.items() if (count := connection.execute(sql[rule]).get)]
    faults += [f"SQLite: {row[0]}" for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    return Findings(rows, faults)


async def check_postgres(url: str) -> Findings:
    """Raises StoreUnavailable, as opening it does."""
    from gatepost.stores.postgres_files import Address, check_server, migrate
    from gatepost.stores.postgres_writer import close

    sql = queries("postgresql")
    connection = await Address(url).connect()
    try:
        await check_server(connection)
        await migrate(connection)
        rows = {t.name: await connection.fetchval(f"SELECT count(*) FROM {t.name}") for t in TABLES}  # noqa: S608
        faults = []
        for rule, meaning in RULES.items():
            count = await connection.fetchval(sql[rule])
            if count:
                faults.append(f"{count} {meaning}")
        return Findings(rows, faults)
    finally:
        await close(connection)
