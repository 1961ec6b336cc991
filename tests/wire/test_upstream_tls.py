"""TLS to a target: what SNI says, whose certificates are accepted, and what a refusal is called."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Connection, Exchange, echo_upgrade
from tests.support.certificates import Authority
from tests.support.node import Node, running
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.strict_http import Message
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")


class TlsBackend(Backend):
    """A backend that speaks TLS. `names` is what each handshake's SNI said."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str | None] = []

    async def serve(self, context: ssl.SSLContext) -> None:
        context.sni_callback = lambda sock, name, context: self.names.append(name)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, ssl=context)
        self.address = self._server.sockets[0].getsockname()


def server_context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@asynccontextmanager
async def gateway(folder: Path, certificate: tuple[str, str], **tls: Any) -> AsyncIterator[tuple[Node, TlsBackend]]:
    """A node before a TLS backend with this certificate. `target`: how the file names it, without its port."""
    backend = TlsBackend()
    await backend.serve(server_context(*certificate))
    target = tls.pop("target", "127.0.0.1")
    settings = {
        "services": {"main": {"targets": [f"https://{target}:{backend.address[1]}"], "tls": tls}},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main", "upgrade": True}},
    }
    try:
        async with running(folder / "node", settings) as node:
            yield node, backend
    finally:
        await backend.stop()
    assert not backend.faults, backend.faults


@pytest_asyncio.fixture(loop_scope="session")
async def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def ask(node: Node, method: bytes = b"GET", body: bytes = b"", host: bytes = b"a") -> Message:
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"%b / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n%b" % (method, host, len(body), body))
        return await client.response(method)


async def refusal(node: Node, host: bytes = b"a") -> str:
    answer = await ask(node, host=host)
    document = check_problem(answer)
    assert (answer.status, document["type"]) == (502, "urn:gatepost:problem:upstream-tls"), document
    return str(document["detail"])


async def test_an_address_with_a_certificate_of_our_authority(tmp_path: Path, authority: Authority) -> None:
    async with gateway(tmp_path, authority.issue("127.0.0.1"), ca=authority.ca) as (node, backend):
        for _ in range(3):
            assert (await ask(node, b"POST", b"x" * 100_000)).status == 200
        assert len(backend.connections) == 1, "the handshake is made once"
        assert len(backend.requests[0].message.body) == 100_000
        alpn = backend.connections[0].transport.get_extra_info("ssl_object").selected_alpn_protocol()
        assert alpn == "http/1.1"
        assert backend.names == [None], "RFC 6066 §3: an address is no server name"


async def test_the_targets_name_is_sent_and_verified(tmp_path: Path, authority: Authority) -> None:
    async with gateway(tmp_path, authority.issue("localhost"), ca=authority.ca, target="localhost") as (node, backend):
        assert (await ask(node)).status == 200
        assert backend.names == ["localhost"]


async def test_server_name_is_sent_and_verified_instead(tmp_path: Path, authority: Authority) -> None:
    settings = {"ca": authority.ca, "server_name": "orders.internal"}
    async with gateway(tmp_path, authority.issue("orders.internal"), **settings) as (node, backend):
        assert (await ask(node)).status == 200
        assert backend.names == ["orders.internal"]
        assert backend.requests[0].get(b"host") == b"127.0.0.1:%d" % backend.address[1]


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path, authority: Authority) -> None:
    async with gateway(tmp_path, authority.issue("other.example"), ca=authority.ca) as (node, backend):
        detail = await refusal(node)
        assert f"127.0.0.1:{backend.address[1]}: its certificate was not accepted" in detail
        assert "127.0.0.1" in detail
        assert not backend.requests, "not a byte of the request"


async def test_an_expired_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    past = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    async with gateway(tmp_path, authority.issue("127.0.0.1", until=past), ca=authority.ca) as (node, _):
        assert "expired" in await refusal(node)


async def test_a_certificate_of_a_strange_authority_is_refused(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with gateway(tmp_path, stranger.issue("127.0.0.1"), ca=authority.ca) as (node, _):
        assert "its certificate was not accepted" in await refusal(node)
    (tmp_path / "system").mkdir()
    async with gateway(tmp_path / "system", stranger.issue("127.0.0.1")) as (node, _):
        assert "its certificate was not accepted" in await refusal(node), "the system's authorities do not know it"


async def test_verification_can_be_turned_off(tmp_path: Path, authority: Authority) -> None:
    async with gateway(tmp_path, authority.issue("other.example"), verify=False) as (node, _):
        assert (await ask(node)).status == 200


async def test_a_target_that_speaks_no_tls_is_refused(tmp_path: Path) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with AsyncExitStack() as stack:
        ports = []
        for answer in (speak, leave):
            server = await stack.enter_async_context(await asyncio.start_server(answer, "127.0.0.1", 0))
            ports.append(server.sockets[0].getsockname()[1])
        services = {
            name: {"targets": [f"https://127.0.0.1:{port}"], "tls": {"verify": False}}
            for name, port in zip(("speaks", "leaves"), ports, strict=True)
        }
        routes = {name: {"match": {"path": "/*", "hosts": [name]}, "service": name} for name in services}
        async with running(tmp_path / "node", {"services": services, "routes": routes}) as node:
            assert f"127.0.0.1:{ports[0]}: the TLS handshake failed" in await refusal(node, b"speaks")
            async with await RawClient.connect(node.traffic) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: leaves\r\n\r\n")
                document = check_problem(await client.response())
            assert document["status"] == 502
            assert document["detail"] == f"127.0.0.1:{ports[1]}: it closed the connection during the TLS handshake"


async def test_a_tunnel_through_tls(tmp_path: Path, authority: Authority) -> None:
    async with gateway(tmp_path, authority.issue("127.0.0.1"), ca=authority.ca) as (node, backend):
        backend.script = echo_upgrade
        async with await RawClient.connect(node.traffic) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nahead")
            assert (await client.response()).status == 101
            await client.exactly(b"ahead")
            client.send(b"x" * 200_000)
            assert len(await client.some(200_000)) == 200_000


async def test_a_truncated_response_over_tls_looks_truncated(tmp_path: Path, authority: Authority) -> None:
    async def half(x: Exchange) -> None:
        await x.body()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        x.close()

    async with gateway(tmp_path, authority.issue("127.0.0.1"), ca=authority.ca) as (node, backend):
        backend.script = half
        with pytest.raises(ClosedEarly):
            await ask(node)
