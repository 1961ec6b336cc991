"""HTTPS and unix listeners: clients of every kind, and those who are none."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange, echo_upgrade
from tests.support.certificates import Authority
from tests.support.node import Node, address
from tests.support.rawclient import RawClient, soon
from tests.support.strict_http import Message, Reader

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Https:
    """A node whose two listeners speak TLS, its backend, and clients of it."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.authority = authority = Authority(folder)
        cert, key = authority.issue("localhost", "127.0.0.1")
        self.ca = authority.ca
        self.backend = backend
        self.node = Node(folder / "node", {})
        tls = {"cert": cert, "key": key}
        self.node.write(
            {
                # The node's own control port stays plain, so that its readiness can be asked for.
                "listen": {
                    "traffic": {"address": address(self.node.traffic), "tls": tls},
                    "control": address(self.node.control),
                },
                "services": {"main": {"targets": [backend.url]}},
                "routes": {"main": {"match": {"path": "/*"}, "service": "main", "upgrade": True, "body_bytes": "9MiB"}},
                "limits": {"header_timeout": "2s"},
            }
        )

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    async def connect(self, context: ssl.SSLContext | None = None) -> Streams:
        return Streams(
            *await soon(
                asyncio.open_connection(
                    *self.node.traffic, ssl=context or self.context(), server_hostname="localhost", limit=1 << 24
                ),
                "a handshake",
            )
        )


class Streams:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def tls(self) -> ssl.SSLObject:
        found: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return found

    async def response(self, method: bytes = b"GET") -> Message:
        reader = Reader(method)
        while not reader.message.complete:
            data = await soon(self.reader.read(65_536), "an answer")
            assert data, f"closed after {bytes(reader.message.raw)!r}"
            assert not reader.feed(data)
        return reader.message

    async def __aenter__(self) -> Streams:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Https]:
    backend = Backend()
    await backend.start()
    https = Https(tmp_path_factory.mktemp("https"), backend)
    await https.node.start()
    yield https
    https.node.kill()
    await https.node.exit_code()
    await backend.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def https(started: Https) -> AsyncIterator[Https]:
    started.backend.reset()
    yield started
    assert not started.backend.faults, started.backend.faults
    assert not started.node.tracebacks, started.node.errors


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_the_newest_tls_and_http_1_1_are_agreed_on(https: Https) -> None:
    async with await https.connect() as client:
        assert client.tls.version() == "TLSv1.3"
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            client.writer.write(GET)
            assert (await client.response()).status == 200
    assert len(https.backend.requests) == 3
    x = https.backend.requests[0]
    assert x.get(b"x-forwarded-proto") == b"https"
    assert x.get(b"forwarded") == b'for=127.0.0.1;proto=https;host="localhost"'


async def test_tls_1_2_passes_and_1_1_does_not(https: Https) -> None:
    context = https.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await https.connect(context) as client:
        assert client.tls.version() == "TLSv1.2"
        assert "ECDHE" in client.tls.cipher()[0]  # type: ignore[index]
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await https.connect(context)


async def test_a_large_body_goes_both_ways(https: Https) -> None:
    async def echo(x: Exchange) -> None:
        body = await x.body()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    https.backend.script = echo
    body = bytes(range(256)) * 20_000
    async with await https.connect() as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert bytes((await client.response()).body) == body


async def test_a_tunnel(https: Https) -> None:
    https.backend.script = echo_upgrade
    async with await https.connect() as client:
        client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await soon(client.reader.readuntil(b"\r\n\r\n"), "the switch")
        client.writer.write(b"hello")
        assert await soon(client.reader.readexactly(5), "the echo") == b"hello"


async def test_a_refusal_comes_with_an_orderly_end(https: Https) -> None:
    """Over TLS the connection cannot be half-closed, and the answer arrives all the same."""
    async with await https.connect() as client:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.response()).status == 400
        assert await soon(client.reader.read(), "the end") == b""


async def test_who_speaks_no_tls_is_cut_off_and_nobody_else_notices(https: Https) -> None:
    async with await https.connect() as neighbour:
        for noise in (GET, b"\x16\x03\x01\x00\x05hello", b"\x00" * 100):
            async with await RawClient.connect(https.node.traffic) as client:
                client.send(noise)
                assert b"HTTP" not in await client.closed()
        neighbour.writer.write(GET)
        assert (await neighbour.response()).status == 200
    assert len(https.backend.requests) == 1


async def test_a_handshake_that_is_never_made_ends_in_time(https: Https) -> None:
    """Each costs a descriptor: they must not stay for as long as they like."""
    async with (
        await RawClient.connect(https.node.traffic) as silent,
        await RawClient.connect(https.node.traffic) as half,
    ):
        half.send(b"\x16\x03\x01\x02\x00\x01")
        assert await silent.closed() == b""
        assert await half.closed() == b""


async def test_a_listener_that_is_plain_takes_no_tls(https: Https) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*https.node.control, ssl=https.context(), server_hostname="localhost")
    assert (await https.node.ready()).status == 200


async def test_the_certificate_is_the_one_of_the_file(https: Https) -> None:
    def shown() -> str:
        with (
            socket.create_connection(https.node.traffic) as sock,
            https.context().wrap_socket(sock, server_hostname="127.0.0.1") as tls,
        ):
            return json.dumps(tls.getpeercert())

    assert "localhost" in await asyncio.to_thread(shown)


async def test_a_reload_shows_a_renewed_certificate_and_keeps_the_old_one_where_the_new_is_wrong(
    tmp_path: Path,
) -> None:
    backend = Backend()
    await backend.start()
    https = Https(tmp_path, backend)
    node = https.node
    await node.start()
    cert, key = tmp_path / "localhost.crt", tmp_path / "localhost.key"

    async def serial() -> str:
        async with await https.connect() as client:
            client.writer.write(GET)
            assert (await client.response()).status == 200
            found = client.tls.getpeercert()
            assert found is not None
            return str(found["serialNumber"])

    async def reload(event: str) -> dict[str, object]:
        seen = len(node.errors)
        node.signal(signal.SIGHUP)
        return await node.event(event, after=seen)

    first = await serial()
    async with await https.connect() as kept:
        https.authority.issue("localhost", "127.0.0.1")
        await reload("config_reloaded")
        second = await serial()
        assert second != first
        good = key.read_bytes()
        key.write_text("no key")
        assert str(cert) in str((await reload("config_refused"))["reason"])
        assert await serial() == second
        key.write_bytes(good)
        kept.writer.write(GET)
        assert (await kept.response()).status == 200
    node.kill()
    await node.exit_code()
    assert not node.tracebacks, node.errors
    await backend.stop()


async def test_a_client_that_says_no_goodbye_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    https = Https(tmp_path, backend)
    await https.node.start()
    client = await https.connect()
    client.writer.write(GET)
    assert (await client.response()).status == 200
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it neither hears nor answers
    https.node.signal(signal.SIGTERM)
    assert await https.node.exit_code(within=10) == 0
    client.writer.transport.abort()
    await backend.stop()
