"""docs/forwarding.md says which path a target sees, in a table. The table is tried, row by row."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.node import Node, running
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parents[2] / "docs" / "forwarding.md"


class Row(NamedTuple):
    base: str
    strip_prefix: str
    path: str
    sent: str
    seen: str


def rows() -> list[Row]:
    table = PAGE.read_text().partition("| target's path |")[2].partition("\n\n")[0]
    found = [
        Row(*(cell.strip().strip("`") for cell in line.strip("|").split("|")))
        for line in table.splitlines()[2:]
        if re.match(r"\|", line)
    ]
    assert len(found) >= 10
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> AsyncIterator[Node]:
    """A service, a route and a host for each row."""
    services = {f"s{n}": {"targets": [backend.url + row.base], "path": row.path} for n, row in enumerate(rows())}
    routes = {
        f"r{n}": {
            "match": {"path": "/*", "hosts": [f"row{n}.example"]},
            "service": f"s{n}",
            **({"strip_prefix": row.strip_prefix} if row.strip_prefix else {}),
        }
        for n, row in enumerate(rows())
    }
    async with running(tmp_path_factory.mktemp("paths"), {"services": services, "routes": routes}) as node:
        yield node


@pytest.mark.parametrize("number", range(len(rows())))
async def test_the_target_sees_what_the_page_says(node: Node, backend: Backend, number: int) -> None:
    backend.reset()
    row = rows()[number]
    async with await RawClient.connect(node.traffic) as client:
        client.send(f"GET {row.sent} HTTP/1.1\r\nHost: row{number}.example\r\n\r\n".encode())
        assert (await client.response()).status == 200
    assert backend.requests[0].target.decode() == row.seen, row
    assert not backend.faults
