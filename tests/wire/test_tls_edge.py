"""HTTPS as a front door: names, renewal without a restart, client certificates, the way from HTTP, PROXY before TLS."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.certificates import Authority
from tests.support.node import Node, address, free_port
from tests.support.rawclient import RawClient, soon
from tests.support.strict_http import Message, Reader
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def port() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


class Edge:
    """A node with a listener of each kind, its backend, and clients of it."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.authority = Authority(folder)
        self.folder = folder
        (folder / "clients").mkdir()
        self.clients = Authority(folder / "clients")
        self.backend = backend
        self.node = Node(folder / "node", {})
        self.https = self.node.traffic
        self.redirect, self.redirect_odd, self.mutual, self.asking, self.proxied = (port() for _ in range(5))
        names = ("localhost", "shop.example", "*.shop.example")
        self.files = {name: self.authority.issue(name) for name in names}
        self.settings: dict[str, Any] = {
            "listen": {
                "traffic": [
                    {"address": address(self.https), "tls": {**self.tls(*names), "hsts": {"max_age": "1d"}}},
                    {"address": address(self.redirect), "redirect_https": 443},
                    {"address": address(self.redirect_odd), "redirect_https": 8443},
                    {"address": address(self.mutual), "tls": {**self.tls("localhost"), "client_ca": self.clients.ca}},
                    {
                        "address": address(self.asking),
                        "tls": {**self.tls("localhost"), "client_ca": self.clients.ca, "client_auth": "optional"},
                    },
                    {"address": address(self.proxied), "tls": self.tls("localhost"), "proxy_protocol": True},
                ],
                "control": address(self.node.control),
            },
            "services": {"main": {"targets": [backend.url]}},
            "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
            "limits": {"header_timeout": "1s"},
        }
        self.node.write(self.settings)

    def tls(self, default: str, *others: str) -> dict[str, Any]:
        def pair(name: str) -> dict[str, str]:
            return dict(zip(("cert", "key"), self.files[name], strict=True))

        return {**pair(default), "certificates": [pair(name) for name in others]}

    def context(self, *, client: Authority | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.ca)
        if client is not None:
            context.load_cert_chain(*client.issue("client-7"))
        return context

    async def connect(
        self, to: tuple[str, int], context: ssl.SSLContext | None = None, *, name: str = "localhost", head: bytes = b""
    ) -> Client:
        """A handshake, after `head` in plain."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, to)
        await loop.sock_sendall(sock, head)
        streams = asyncio.open_connection(sock=sock, ssl=context or self.context(), server_hostname=name)
        return Client(*await soon(streams, "a handshake"))

    async def names_shown(self, name: str) -> set[str]:
        context = self.context()
        context.check_hostname = False
        async with await self.connect(self.https, context, name=name) as client:
            found: dict[str, Any] = client.writer.get_extra_info("peercert")
            return {value for _, value in found["subjectAltName"]}

    async def serial(self, name: str) -> str:
        async with await self.connect(self.https, name=name) as client:
            return str(client.writer.get_extra_info("peercert")["serialNumber"])


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes = GET) -> Message:
        self.writer.write(request)
        reader = Reader(b"GET")
        while not reader.message.complete:
            data = await soon(self.reader.read(65_536), "an answer")
            if not data:
                raise ConnectionError("closed")
            assert not reader.feed(data)
        return reader.message

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    backend = Backend()
    await backend.start()
    edge = Edge(tmp_path_factory.mktemp("edge"), backend)
    await edge.node.start()
    yield edge
    edge.node.kill()
    await edge.node.exit_code()
    await backend.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def edge(started: Edge) -> AsyncIterator[Edge]:
    started.backend.reset()
    yield started
    assert not started.backend.faults, started.backend.faults
    assert not started.node.tracebacks, started.node.errors


async def test_each_name_has_its_certificate(edge: Edge) -> None:
    assert await edge.names_shown("shop.example") == {"shop.example"}
    assert await edge.names_shown("eu.shop.example") == {"*.shop.example"}
    assert await edge.names_shown("localhost") == {"localhost"}
    assert await edge.names_shown("somebody.else") == {"localhost"}


async def test_hsts_is_said_over_https_once_and_nowhere_else(edge: Edge) -> None:
    field = b"strict-transport-security"
    async with await edge.connect(edge.https) as client:
        assert (await client.ask()).get(field) == b"max-age=86400"
        not_found = await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n")
        assert not_found.get(field) == b"max-age=86400"
    edge.backend.answer(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=7\r\nContent-Length: 0\r\n\r\n")
    async with await edge.connect(edge.https) as client:
        message = await client.ask()
        assert [value for name, value in message.fields if name.lower() == field] == [b"max-age=7"]
    async with await RawClient.connect(edge.redirect) as plain:
        plain.send(GET)
        assert (await plain.response()).get(field) is None


@pytest.mark.parametrize(
    ("request_line", "host", "location"),
    [
        (b"GET /a/../b?c=1&d HTTP/1.1", b"shop.example", b"https://shop.example/a/../b?c=1&d"),
        (b"POST / HTTP/1.1", b"Shop.Example:8080", b"https://shop.example/"),
        (b"GET //elsewhere.example/ HTTP/1.1", b"shop.example", b"https://shop.example//elsewhere.example/"),
        (b"GET /x HTTP/1.1", b"[::1]:80", b"https://[::1]/x"),
        (b"GET http://other.example/x?y HTTP/1.1", b"shop.example", b"https://other.example/x?y"),
        (b"GET http://other.example?y HTTP/1.1", b"shop.example", b"https://other.example/?y"),
    ],
)
async def test_a_redirecting_listener_sends_on_to_https(
    edge: Edge, request_line: bytes, host: bytes, location: bytes
) -> None:
    async with await RawClient.connect(edge.redirect) as client:
        client.send(b"%b\r\nHost: %b\r\nContent-Length: 0\r\n\r\n" % (request_line, host))
        answer = await client.response()
        assert (answer.status, answer.get(b"location")) == (308, location)
    assert not edge.backend.requests


async def test_another_port_than_443_is_named(edge: Edge) -> None:
    async with await RawClient.connect(edge.redirect_odd) as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
        assert (await client.response()).get(b"location") == b"https://shop.example:8443/x"


async def test_who_names_no_host_is_not_sent_on(edge: Edge) -> None:
    async with await RawClient.connect(edge.redirect) as client:
        client.send(b"GET /x HTTP/1.0\r\n\r\n")
        answer = await client.response()
        assert answer.status == 400
        assert check_problem(answer)["type"] == "urn:gatepost:problem:host-missing"


async def test_client_certificates_open_the_door(edge: Edge) -> None:
    for to in (edge.mutual, edge.asking):
        async with await edge.connect(to, edge.context(client=edge.clients)) as client:
            assert (await client.ask()).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with await edge.connect(to, edge.context(client=edge.authority)) as client:
                await client.ask()  # in TLS 1.3 the refusal comes after the client's part of the handshake
    async with await edge.connect(edge.asking) as client:
        assert (await client.ask()).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with await edge.connect(edge.mutual) as client:
            await client.ask()


# PROXY before TLS.


def of(source: str, tlvs: bytes = b"") -> bytes:
    packed = socket.inet_aton(source)
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 12 + len(tlvs)) + packed * 2 + struct.pack("!HH", 9, 443) + tlvs


async def test_a_proxy_header_comes_before_the_handshake(edge: Edge) -> None:
    for head in (of("203.0.113.7"), of("203.0.113.7", b"\x02\x00\x01a" * 50)):
        async with await edge.connect(edge.proxied, head=head) as client:
            assert (await client.ask()).status == 200
    for x in edge.backend.requests:
        assert x.get(b"x-forwarded-for") == b"203.0.113.7"
        assert x.get(b"x-forwarded-proto") == b"https"


async def test_a_proxy_that_speaks_for_itself_over_tls_is_the_client(edge: Edge) -> None:
    async with await edge.connect(edge.proxied, head=SIGNATURE + b"\x20\x00\x00\x00") as client:
        assert (await client.ask()).status == 200
    assert edge.backend.requests[0].get(b"x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(GET, id="plain HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="a handshake at once"),
        pytest.param(b"", id="nothing"),
        pytest.param(SIGNATURE, id="half a header"),
        pytest.param(SIGNATURE + b"\x21\x11\xff\xff", id="too long"),
        pytest.param(of("203.0.113.7") + GET, id="no handshake after it"),
        pytest.param(of("203.0.113.7") * 2, id="two headers"),
    ],
)
async def test_what_is_no_proxy_header_and_handshake_is_cut_off(edge: Edge, wire: bytes) -> None:
    async with await RawClient.connect(edge.proxied) as client:
        client.send(wire)
        assert b"HTTP" not in await client.closed()
    assert not edge.backend.requests
    async with await edge.connect(edge.proxied, head=of("203.0.113.8")) as client:
        assert (await client.ask()).status == 200  # and nobody else notices


# Without a restart.


async def test_a_certificate_that_is_replaced_on_disk_is_shown_by_itself(edge: Edge) -> None:
    first, other = await edge.serial("shop.example"), await edge.serial("localhost")
    seen = len(edge.node.errors)
    cert, key = edge.files["shop.example"]
    async with await edge.connect(edge.https, name="shop.example") as kept:
        assert (await kept.ask()).status == 200
        good = Path(key).read_bytes()
        Path(key).write_text("half a ke")
        refused = await edge.node.event("certificate_refused", after=seen)
        assert cert in str(refused["reason"])
        assert await edge.serial("shop.example") == first
        Path(key).write_bytes(good)
        edge.authority.issue("shop.example")
        renewed = await edge.node.event("certificate_renewed", after=seen)
        assert renewed["names"] == ["shop.example"]
        assert await edge.serial("shop.example") != first
        assert await edge.serial("localhost") == other
        assert (await kept.ask()).status == 200


async def test_a_certificate_is_added_and_hsts_changed_by_a_reload(edge: Edge) -> None:
    edge.files["new.example"] = edge.authority.issue("new.example")
    assert await edge.names_shown("new.example") == {"localhost"}
    seen = len(edge.node.errors)
    https = edge.settings["listen"]["traffic"][0]
    https["tls"] = edge.tls("localhost", "shop.example", "*.shop.example", "new.example")
    edge.node.write(edge.settings)
    edge.node.signal(signal.SIGHUP)
    await edge.node.event("config_reloaded", after=seen)
    assert await edge.names_shown("new.example") == {"new.example"}
    async with await edge.connect(edge.https) as client:
        assert (await client.ask()).get(b"strict-transport-security") is None
    assert "config_needs_restart" not in str(edge.node.errors[seen:])


async def test_another_address_needs_a_restart(edge: Edge) -> None:
    seen = len(edge.node.errors)
    kept = edge.settings["listen"]["traffic"].pop()
    edge.node.write(edge.settings)
    edge.node.signal(signal.SIGHUP)
    assert (await edge.node.event("config_needs_restart", after=seen))["settings"] == "listen"
    assert await edge.names_shown("new.example") == {"new.example"}
    edge.settings["listen"]["traffic"].append(kept)
    edge.node.write(edge.settings)
    edge.node.signal(signal.SIGHUP)
    await edge.node.event("config_reloaded", after=seen)
