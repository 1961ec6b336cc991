"""What many keys cost: memory, start-up and look-up, with as many consumers as keys.

    python -m bench.keys [--keys N]

The store is filled past its own front door, as a restored backup would be, and then opened as a node opens it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import apsw
from bench.support import report

from gatepost.stores.access import Access
from gatepost.stores.sqlite import SqliteStore

RUNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what many keys cost.")
    parser.add_argument("--keys", type=int, default=1_000_000)
    asyncio.run(_measure(parser.parse_args().keys))


async def _measure(keys: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await _fill(Path(folder), keys)
        path = str(Path(folder) / "gatepost.db")
        gc.collect()
        before, began = _resident(), time.perf_counter()
        store = SqliteStore(path)
        await store.open()
        seconds = time.perf_counter() - began
        gc.collect()
        mebibytes = _resident() - before
        access = Access(stored=store.access)
        few = [_digest(n * 997 % keys) for n in range(1_000)]
        crowd = [_digest(n * 37 % keys) for n in range(20_000)]
        unknown = [os.urandom(32) for _ in range(1_000)]
        assert access.by_key(few[0]) is not None
        rows = [
            ("memory, MiB", f"{mebibytes:.0f}"),
            ("start, s", f"{seconds:.1f}"),
            ("look-up, one of 1,000 callers, µs", f"{_least(access, few):.2f}"),
            ("look-up, one of 20,000 callers, µs", f"{_least(access, crowd):.2f}"),
            ("look-up, unknown key, µs", f"{_least(access, unknown):.2f}"),
        ]
        await store.close()
    print(report.table((f"{keys:,} keys", ""), rows))


def key(number: int) -> str:
    return f"key-{number}"


def fill(folder: Path, keys: int) -> None:
    """Make `gatepost.db` in a folder, with so many consumers that have a key each."""
    asyncio.run(_fill(folder, keys))


async def _fill(folder: Path, keys: int) -> None:
    path = str(folder / "gatepost.db")
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with apsw.Connection(path) as connection:
        connection.executemany(
            "INSERT INTO consumer (id, name, metadata, plans, disabled, declared, created, updated) "
            """VALUES (?, ?, '{"tier":"gold"}', '["free"]', 0, 0, 1, 1)""",
            ((n + 1, f"customer-{n:07d}") for n in range(keys)),
        )
        connection.executemany(
            "INSERT INTO access_key (id, consumer, digest, prefix, name, metadata, disabled, created, updated) "
            "VALUES (?, ?, ?, 'gp_abcde', '', '{}', 0, 1, 1)",
            ((n + 1, n + 1, _digest(n)) for n in range(keys)),
        )


def _digest(number: int) -> bytes:
    return sha256(key(number).encode()).digest()


def _least(access: Access, digests: list[bytes]) -> float:
    """µs a look-up, the least of some runs."""
    least = float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        for digest in digests:
            access.by_key(digest)
        least = min(least, (time.perf_counter() - began) / len(digests) * 1e6)
    return least


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
