"""One backend and two nodes serve every conversation of the session, on the session's event loop.

`node` has room and patience, `strict_node` small limits and short time-outs. A test that must stop or reload a node
starts its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.node import Node, Settings, running
from tests.support.wire import Gate


def settings(backend: Backend, dead_port: int) -> Settings:
    return {
        "services": {
            "main": {"targets": [backend.url], "timeouts": {"first_byte": "5s", "idle": "5s"}},
            "preserving": {"targets": [backend.url], "host": "preserve", "path": "raw"},
            "based": {"targets": [f"{backend.url}/base"]},
            "hasty": {"targets": [backend.url], "timeouts": {"first_byte": "200ms", "idle": "300ms", "total": "2s"}},
            "brief": {"targets": [backend.url], "timeouts": {"total": "400ms"}},
            "dead": {"targets": [f"http://127.0.0.1:{dead_port}"], "rest": "1s"},
            "all-dead": {"targets": [f"http://127.0.0.1:{dead_port}"] * 2},
            "half-dead": {"targets": [f"http://127.0.0.1:{dead_port}", backend.url], "rest": "1m"},
        },
        "routes": {
            "main": {"match": {"path": "/*"}, "service": "main"},
            "upgrade": {"match": {"path": "/upgrade/*"}, "service": "main", "upgrade": True},
            "preserving": {"match": {"path": "/preserving/*"}, "service": "preserving"},
            "based": {"match": {"path": "/based/*"}, "service": "based", "strip_prefix": "/based"},
            "hasty": {"match": {"path": "/hasty/*"}, "service": "hasty", "upgrade": True},
            "brief": {"match": {"path": "/brief/*"}, "service": "brief"},
            "dead": {"match": {"path": "/dead/*"}, "service": "dead"},
            "all-dead": {"match": {"path": "/all-dead/*"}, "service": "all-dead"},
            "large": {"match": {"path": "/large"}, "service": "main", "body_bytes": "200MiB"},
            "half-dead": {"match": {"path": "/half-dead/*"}, "service": "half-dead"},
        },
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_node(
    session_backend: Backend, tmp_path_factory: pytest.TempPathFactory, dead_port: int
) -> AsyncIterator[Node]:
    async with running(tmp_path_factory.mktemp("node"), settings(session_backend, dead_port)) as node:
        yield node


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_strict_node(
    session_backend: Backend, tmp_path_factory: pytest.TempPathFactory, dead_port: int
) -> AsyncIterator[Node]:
    strict = settings(session_backend, dead_port)
    strict["limits"] = {
        "header_bytes": "4KiB",
        "header_count": 20,
        "target_bytes": "1KiB",
        "body_bytes": "32KiB",
        "connections": 40,
        "requests_per_connection": 5,
        "header_timeout": "300ms",
        "idle_timeout": "400ms",
        "body_min_rate": "1KiB",
        "allow_underscores": True,
        "allow_trailers": ["x-checksum"],
    }
    strict["routes"]["small"] = {"match": {"path": "/small"}, "service": "main", "body_bytes": 100}
    for route in strict["routes"].values():
        route["match"]["hosts"] = ["a", "probe", "shop.example"]
    strict["routes"]["only-get"] = {
        "match": {"path": "/only-get", "methods": ["GET"], "hosts": ["methods.example"]},
        "service": "main",
    }
    strict["trusted_proxies"] = ["127.0.0.0/8"]
    async with running(tmp_path_factory.mktemp("strict-node"), strict) as node:
        yield node


@pytest.fixture(scope="session")
def dead_port() -> int:
    """A port that nobody listens on."""
    from tests.support.node import free_port

    return free_port()


@pytest_asyncio.fixture(loop_scope="session")
async def gate(session_node: Node, session_backend: Backend) -> AsyncIterator[Gate]:
    async with Gate(session_node, session_backend) as gate:
        yield gate


@pytest_asyncio.fixture(loop_scope="session")
async def strict_gate(session_strict_node: Node, session_backend: Backend) -> AsyncIterator[Gate]:
    async with Gate(session_strict_node, session_backend) as gate:
        yield gate
