"""The stores that the suites of the store contract run against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.stores import FaultyDisk, PostgresUnderTest, SqliteUnderTest, StoreUnderTest

from gatepost.clock import ManualClock

START = 1_800_000_000.0


@pytest.fixture(params=["sqlite", "postgresql"])
async def life(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    clock = ManualClock(START)
    if request.param == "sqlite":
        disk = FaultyDisk()
        with disk.installed():
            sqlite = SqliteUnderTest(tmp_path, clock, disk)
            yield sqlite
            disk.full = False
            await sqlite.close()
    else:
        postgres = PostgresUnderTest(request.getfixturevalue("postgres"), tmp_path, clock)
        yield postgres
        postgres.disk.full = False
        await postgres.close()


@pytest.fixture
async def store(life: StoreUnderTest) -> Any:
    return await life.open()
