"""Connections over loopback, on the loop that production uses and on Python's own."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop
from tests.support.certificates import Authority, server_context
from tests.support.dns import name_server

from gatepost.errors import UpstreamError
from gatepost.net.cares import CaresLookup
from gatepost.net.dial import dial, dial_unix
from gatepost.net.listen import listen
from gatepost.net.resolve import LONGEST, Address, Answer, LookupFailed, NameUnknown, Resolver
from gatepost.net.tls import client_context

Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    return lambda scenario: request.param(asyncio.wait_for(scenario(), 10))


class Hello(asyncio.Protocol):
    """Says a word to everyone who connects."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"hello")


class Listener(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that says hello; its port, 0 for a unix socket."""
    sock = listen(address)
    unix = sock.family == socket.AF_UNIX
    loop = asyncio.get_running_loop()
    server = await (
        loop.create_unix_server(Hello, sock=sock) if unix else loop.create_server(Hello, sock=sock, ssl=tls)
    )
    try:
        yield 0 if unix else sock.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def answering(*ips: str) -> Resolver:
    """A resolver that knows one answer to everything."""

    def lookup(host: str) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        future.set_result(Answer(ips, 60))
        return future

    return Resolver(lookup)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def hear(transport: asyncio.Transport, listener: Listener) -> bytes:
    try:
        return await listener.heard
    finally:
        transport.abort()


def test_a_name_leads_to_its_address(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as port:
            made = await dial(Listener, "a.example", port, resolver=answering("127.0.0.1"), timeout=2)
            assert await hear(*made) == b"hello"

    play(scenario)


def test_the_next_address_is_tried_when_one_refuses(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as port:
            resolver = answering("127.0.0.2", "::1", "127.0.0.3", "127.0.0.1")
            transport, listener = await dial(Listener, "a.example", port, resolver=resolver, timeout=2)
            assert transport.get_extra_info("peername")[0] == "127.0.0.1"
            await hear(transport, listener)

    play(scenario)


def test_nobody_there_is_502_and_says_so(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        port = closed_port()
        with pytest.raises(UpstreamError) as caught:
            await dial(Listener, "a.example", port, resolver=answering("127.0.0.1", "127.0.0.2"), timeout=2)
        problem = caught.value.problem
        assert (problem.status, problem.slug) == (502, "upstream-unreachable")
        assert problem.detail == f"a.example:{port}: connection refused"
        assert not caught.value.sent

    play(scenario)


def test_a_server_that_does_not_accept_is_504_in_time(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        # A full backlog: the kernel drops what comes after, so the connection neither opens nor fails.
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for sock in (first, second):
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            port = full.getsockname()[1]
            started = asyncio.get_running_loop().time()
            with pytest.raises(UpstreamError) as caught:
                await dial(Listener, "127.0.0.1", port, resolver=answering(), timeout=0.2)
            assert (caught.value.problem.status, caught.value.problem.slug) == (504, "upstream-connect-timeout")
            assert asyncio.get_running_loop().time() - started < 1

    play(scenario)


def test_a_slow_address_leaves_time_for_the_next(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.2", 0))
            full.listen(0)
            for sock in (first, second):
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            port = full.getsockname()[1]
            async with serving(f"127.0.0.1:{port}"):
                resolver = answering("127.0.0.2", "127.0.0.1")
                assert await hear(*await dial(Listener, "a.example", port, resolver=resolver, timeout=0.4)) == b"hello"

    play(scenario)


def test_name_servers_that_do_not_answer_are_504(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        resolver = Resolver(lambda host: asyncio.get_running_loop().create_future())
        with pytest.raises(UpstreamError, match=r"a\.example was not resolved") as caught:
            await dial(Listener, "a.example", 80, resolver=resolver, timeout=0.05)
        assert caught.value.problem.status == 504

    play(scenario)


def test_tls_verifies_the_name_and_not_the_address(play: Callable[[Scenario], None], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(*authority.issue("a.example"))
    client = client_context(ca=authority.ca)

    async def scenario() -> None:
        async with serving(tls=context) as port:
            resolver = answering("127.0.0.1")
            made = await dial(Listener, "a.example", port, tls=client, resolver=resolver, timeout=2)
            assert made[0].get_extra_info("ssl_object").server_hostname == "a.example"
            assert await hear(*made) == b"hello"
            made = await dial(
                Listener, "b.example", port, tls=client, server_name="a.example", resolver=resolver, timeout=2
            )
            assert await hear(*made) == b"hello"
            for host in ("b.example", "127.0.0.1"):
                with pytest.raises(UpstreamError, match="certificate was not accepted") as caught:
                    await dial(Listener, host, port, tls=client, resolver=resolver, timeout=2)
                assert (caught.value.problem.status, caught.value.problem.slug) == (502, "upstream-tls")
            with pytest.raises(UpstreamError, match="certificate was not accepted"):
                await dial(Listener, "a.example", port, tls=client_context(), resolver=resolver, timeout=2)

    play(scenario)


def test_a_server_that_speaks_no_tls_is_502(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as port:
            with pytest.raises(UpstreamError) as caught:
                await dial(Listener, "127.0.0.1", port, tls=client_context(), resolver=answering(), timeout=2)
            assert caught.value.problem.slug == "upstream-tls"
            assert f"127.0.0.1:{port}: the TLS handshake failed" in caught.value.problem.detail

    play(scenario)


def test_a_unix_socket(play: Callable[[Scenario], None], tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def scenario() -> None:
        async with serving(f"unix:{path}"):
            assert await hear(*await dial_unix(Listener, path, timeout=2)) == b"hello"
        with pytest.raises(UpstreamError, match=r"no such file|connection refused") as caught:
            await dial_unix(Listener, path, timeout=2)
        assert caught.value.problem.slug == "upstream-unreachable"

    play(scenario)


def test_c_ares_gives_addresses_with_the_smallest_ttl(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with name_server() as names:
            lookup = CaresLookup([names.address], timeout=0.2, tries=2)
            names.ttl = 42
            names.say("a.example", ["192.0.2.1", "192.0.2.2", "2001:db8::1"])
            names.alias("alias.example", "a.example")
            for name in ("a.example", "alias.example"):
                answer = await lookup(name)
                assert set(answer.ips) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}
                assert answer.ttl == 42
            assert "127.0.0.1" in (await lookup("localhost")).ips  # as /etc/hosts says; nobody is asked
            assert names.asked["localhost"] == 0
            names.say("empty.example", [])
            for unknown in ("none.example", "empty.example", "a..b", "x" * 300):
                with pytest.raises(NameUnknown):
                    await lookup(unknown)
            lookup.close()

    play(scenario)


def test_c_ares_keeps_no_answer_for_longer_than_the_resolver_does(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with name_server() as names:
            lookup = CaresLookup([names.address], timeout=0.2, tries=2)
            names.say("a.example", ["192.0.2.1"], ["192.0.2.2"])
            names.ttl = int(LONGEST) + 1
            assert (await lookup("a.example")).ips == ("192.0.2.1",)
            async with asyncio.timeout(5):
                while (await lookup("a.example")).ips != ("192.0.2.2",):
                    pass  # it forgets in a thread of its own
            lookup.close()

    play(scenario)


def test_c_ares_fails_where_there_is_no_answer(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with name_server() as names:
            lookup = CaresLookup([names.address], timeout=0.1, tries=1)
            names.say("silent.example", "")
            names.say("broken.example", "failure")
            for name in ("silent.example", "broken.example"):
                with pytest.raises(LookupFailed, match="no answer from the name servers"):
                    await lookup(name)
            waiting = lookup("silent.example")
            lookup.close()
            with pytest.raises(LookupFailed):
                await waiting
            with pytest.raises(LookupFailed, match="closed"):
                await lookup("a.example")

    play(scenario)


def test_a_lost_packet_is_sent_again(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with name_server() as names:
            lookup = CaresLookup([names.address], timeout=0.1, tries=3)
            names.say("a.example", "", ["192.0.2.1"])
            assert await Resolver(lookup).resolve("a.example", 80) == [Address("192.0.2.1", 80, socket.AF_INET)]
            lookup.close()

    play(scenario)
