"""Where a request goes: targets in turn, targets that rest, unix sockets, kept connections, limits."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import OK, Backend, Connection, Exchange
from tests.support.node import Node, free_port, running
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.strict_http import Message
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def backends() -> AsyncIterator[list[Backend]]:
    """Three upstreams; each answers with its number."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(3):
            backend = Backend()
            await backend.start()
            stack.push_async_callback(backend.stop)
            backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
            started.append(backend)
        yield started
        for backend in started:
            assert not backend.faults, backend.faults


@asynccontextmanager
async def gateway(folder: Path, service: dict[str, Any], **route: Any) -> AsyncIterator[Node]:
    settings = {
        "services": {"main": service},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main", **route}},
    }
    async with running(folder, settings) as node:
        yield node


async def ask(
    node: Node, method: bytes = b"GET", path: bytes = b"/", fields: bytes = b"", body: bytes = b""
) -> Message:
    async with await RawClient.connect(node.traffic) as client:
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        client.send(b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (method, path, fields, length, body))
        return await client.response(method)


def problem_of(answer: Message) -> tuple[int, str, str]:
    document = check_problem(answer)
    return answer.status, str(document["type"]).rpartition(":")[2], str(document["detail"])


def dead() -> str:
    return f"http://127.0.0.1:{free_port()}"


# In turn, and at rest.


async def test_targets_take_turns(tmp_path: Path, backends: list[Backend]) -> None:
    async with gateway(tmp_path, {"targets": [b.url for b in backends]}) as node:
        answers = [bytes((await ask(node)).body) for _ in range(12)]
    assert Counter(answers) == {b"0": 4, b"1": 4, b"2": 4}
    assert all(answers[at : at + 3] != [answers[at]] * 3 for at in range(10))
    assert sorted(answers[:3]) == sorted(answers[3:6]), "each gets one of three"


async def test_a_target_that_fails_to_connect_is_not_asked_until_it_has_rested(
    tmp_path: Path, backends: list[Backend]
) -> None:
    lazy = Backend()
    await lazy.start()
    port = lazy.address[1]
    await lazy.stop()
    targets = [f"http://127.0.0.1:{port}", backends[0].url]
    async with gateway(tmp_path, {"targets": targets, "rest": "600ms"}) as node:
        for _ in range(4):
            assert (await ask(node, b"POST", body=b"x")).status == 200, "nothing was sent: a POST may go elsewhere"
        await lazy.start(port)  # up again, but still resting
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not lazy.requests:
            assert (await ask(node)).status == 200
            assert loop.time() - began < 5, "it never came back"
        await lazy.stop()


async def test_all_targets_down_is_503_and_names_them_and_says_when_to_come_back(tmp_path: Path) -> None:
    targets = [dead(), dead()]
    async with gateway(tmp_path, {"targets": targets}) as node:
        for _ in range(3):
            answer = await ask(node)
            status, kind, detail = problem_of(answer)
            assert (status, kind, answer.get(b"retry-after")) == (503, "targets-down", b"1")
            for target in targets:
                assert target in detail
        [first, *_] = [json.loads(line) for line in await records(node)]
    assert first["status"] == 503
    assert first["outcome"] == "targets-down"
    assert first["target"] in targets


async def test_a_single_target_is_always_asked_and_its_refusal_is_502_that_names_it(
    tmp_path: Path, backends: list[Backend]
) -> None:
    target = dead()
    async with gateway(tmp_path, {"targets": [target], "rest": "1h"}) as node:
        assert problem_of(await ask(node)) == (
            502,
            "upstream-unreachable",
            f"{target.removeprefix('http://')}: connection refused",
        )
        late = Backend()
        await late.start(int(target.rpartition(":")[2]))
        assert (await ask(node)).status == 200
        await late.stop()


# Time.


async def test_a_target_that_does_not_accept_is_504_that_says_how_long(tmp_path: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.socket() as first, socket.socket() as second:  # the queue of a server that never accepts
            for sock in (first, second):
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            service = {"targets": [f"http://127.0.0.1:{port}"], "timeouts": {"connect": "300ms"}}
            async with gateway(tmp_path, service) as node:
                assert problem_of(await ask(node)) == (
                    504,
                    "upstream-connect-timeout",
                    f"127.0.0.1:{port} did not accept a connection within 0.3 s",
                )


async def test_each_time_out_says_which_and_how_long(tmp_path: Path, backends: list[Backend]) -> None:
    async def silent(x: Exchange) -> None:
        await x.gone()

    backends[0].script = silent
    services = {
        "first": {"targets": [backends[0].url], "timeouts": {"first_byte": "250ms"}},
        "total": {"targets": [backends[0].url], "timeouts": {"total": "500ms"}},
    }
    routes = {name: {"match": {"path": f"/{name}"}, "service": name} for name in services}
    async with running(tmp_path, {"services": services, "routes": routes}) as node:
        for name, waited in (("first", "0.25 s for the response to begin"), ("total", "0.5 s for the whole response")):
            assert problem_of(await ask(node, path=f"/{name}".encode())) == (
                504,
                "upstream-timeout",
                f"waited {waited} from {backends[0].url}",
            )


# Kept connections.


async def test_connections_are_kept_and_no_more_than_the_pool_holds(tmp_path: Path, backends: list[Backend]) -> None:
    backend = backends[0]
    go = asyncio.Event()

    async def together(x: Exchange) -> None:
        await x.body()
        await go.wait()
        x.write(OK)

    backend.script = together
    async with gateway(tmp_path, {"targets": [backend.url], "pool": 2}) as node:
        asking = [asyncio.create_task(ask(node)) for _ in range(5)]
        await backend.request(4)
        assert len(backend.connections) == 5
        go.set()
        assert {(await answer).status for answer in asking} == {200}
        closed = [c for c in backend.connections if c.lost]
        if len(closed) < 3:
            for connection in backend.connections:
                if len([c for c in backend.connections if c.lost]) >= 3:
                    break
                await connection.wait(lambda: len([c for c in backend.connections if c.lost]) >= 3)
        for _ in range(10):
            await ask(node)
        assert len(backend.connections) == 5, "all ten went over the two that were kept"


# Addresses.


async def test_a_unix_target(tmp_path: Path, backends: list[Backend]) -> None:
    path = tmp_path / "up.sock"
    backend = backends[0]
    server = await asyncio.get_running_loop().create_unix_server(lambda: connection_of(backend), str(path))
    async with gateway(tmp_path / "node", {"targets": [f"unix:{path}"]}) as node:
        for _ in range(3):
            assert (await ask(node)).body == b"0"
        assert [x.get(b"host") for x in backend.requests] == [b"localhost"] * 3
        assert len(backend.connections) == 1
        server.close()
        path.unlink()
        await stopped(backend)
        status, kind, detail = problem_of(await ask(node))
    assert (status, kind) == (502, "upstream-unreachable")
    assert detail == f"unix:{path}: no such file or directory"


async def test_a_listener_on_a_unix_socket(tmp_path: Path, backends: list[Backend]) -> None:
    path = tmp_path / "in.sock"
    node = Node(tmp_path / "node", {})
    control = f"127.0.0.1:{node.control[1]}"
    node.write(
        {
            "listen": {"traffic": f"unix:{path}", "control": control},
            "services": {"main": {"targets": [backends[0].url]}},
            "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
        }
    )
    try:
        await node.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
    finally:
        node.kill()
        await node.exit_code()
    [x] = backends[0].requests
    assert x.get(b"x-forwarded-for") == b"unknown", "RFC 7239 §6: who has no address"
    assert x.get(b"forwarded") == b'for=unknown;proto=http;host="a"'


# What a response may be.


async def test_a_response_may_be_limited(tmp_path: Path, backends: list[Backend]) -> None:
    url = backends[0].url
    service = {"targets": [url], "response_header_bytes": "1KiB", "response_bytes": "10KiB"}
    async with gateway(tmp_path, service) as node:
        backends[0].answer(b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 2\r\n\r\nok" % (b"x" * 1100), close=True)
        assert problem_of(await ask(node)) == (502, "upstream-invalid", f"{url}: its header is larger than 1024 bytes")
        backends[0].answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n" + b"x" * 10_240)
        assert len((await ask(node)).body) == 10_240
        backends[0].answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10241\r\n\r\n" + b"x" * 10_241, close=True)
        assert problem_of(await ask(node)) == (502, "upstream-invalid", f"{url}: its body is larger than 10240 bytes")
        chunks = b"400\r\n" + b"x" * 1024 + b"\r\n"
        backends[0].answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks * 11 + b"0\r\n\r\n")
        with pytest.raises(ClosedEarly):
            await ask(node)


# Helpers.


async def records(node: Node, count: int = 1) -> list[str]:
    file = node.directory / "access.log"
    for _ in range(500):
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= count:
            return lines
        await asyncio.sleep(0.01)
    raise AssertionError(f"only {lines}")


def connection_of(backend: Backend) -> Any:
    return Connection(backend)


async def stopped(backend: Backend) -> None:
    for connection in backend.connections:
        connection.transport.abort()
        await connection.wait(lambda c=connection: c.lost)
