"""Webhooks on the wire: conversations with receivers that answer, hang, drip, lie and leave. On both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks.webhooks import Webhook
from tests.support.backend import Backend, Exchange
from tests.support.rawclient import PATIENCE, soon

from gatepost import __version__
from gatepost.clock import SystemClock
from gatepost.config.schema import Deliveries as Settings
from gatepost.destinations.base import Result
from gatepost.destinations.webhook import WebhookDestination
from gatepost.model import Endpoint, Secret
from gatepost.net.deadlines import Deadlines
from gatepost.net.guard import Guard
from gatepost.net.resolve import Answer, NameUnknown, Resolver
from gatepost.net.tls import client_context

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"event":"new_order","data":{"order_id":12345}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
NAMES = {"receiver.example": "127.0.0.1", "inside.example": "10.1.2.3"}


class Wire:
    """A receiver, a destination that may reach it, and one endpoint."""

    def __init__(self, *, allow: tuple[str, ...] = ("127.0.0.0/8",), **settings: Any) -> None:
        self.receiver = Backend()
        self.looked_up: list[str] = []
        self.settings = Settings(**{"timeout": 5.0, **settings})
        self.guard = Guard(allow)
        self.tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Wire:
        loop = asyncio.get_running_loop()
        await self.receiver.start()
        self.deadlines = Deadlines(loop)
        self.destination = WebhookDestination(
            self.settings,
            resolver=Resolver(self.look_up),
            guard=self.guard,
            deadlines=self.deadlines,
            clock=SystemClock(),
            loop=loop,
            tls=self.tls,
        )
        self.endpoint = Endpoint(1, 1, 1, f"{self.receiver.url}/hook?a=b", secrets=(Secret(SECRET),))
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.destination.close()
        self.deadlines.close()
        await self.receiver.stop()
        if failure[0] is None:
            assert self.receiver.faults == []
            assert not self.destination._open
            assert not self.destination._idle
            assert not self.destination._oldest

    def look_up(self, host: str) -> asyncio.Future[Answer]:
        self.looked_up.append(host)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if host in NAMES:
            future.set_result(Answer((NAMES[host],), 60.0))
        else:
            future.set_exception(NameUnknown(f"{host} does not exist"))
        return future

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    def begin(self, id: bytes = b"msg_1", body: bytes = BODY, **changes: Any) -> asyncio.Future[Result]:
        endpoint = msgspec.structs.replace(self.endpoint, **changes)
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.sending = self.destination.sender(endpoint).send(id, body, result.set_result)
        return result

    async def send(self, id: bytes = b"msg_1", body: bytes = BODY, **changes: Any) -> Result:
        return await soon(self.begin(id, body, **changes), "the result of a try")


def conversation(**wire: Any) -> Callable[[Callable[[Wire], Awaitable[None]]], Callable[[str], None]]:
    """The test runs once on each event loop, with a `Wire` made with these settings."""

    def decorate(test: Callable[[Wire], Awaitable[None]]) -> Callable[[str], None]:
        async def main() -> None:
            async with Wire(**wire) as made:
                await test(made)

        @pytest.mark.parametrize("loop", LOOPS)
        def runs(loop: str) -> None:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                runner.run(main())

        functools.update_wrapper(runs, test, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
        del runs.__wrapped__  # type: ignore[attr-defined]  # pytest would read its arguments
        return runs

    return decorate


# what is sent


@conversation()
async def test_the_request_is_what_standard_webhooks_says(wire: Wire) -> None:
    result = await wire.send()
    assert (result.status, result.body, result.error, result.ok) == (200, b"ok", "", True)
    assert 0 < result.duration < 5
    request = (await wire.receiver.request()).message
    assert request.raw.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert request.get(b"host") == b"127.0.0.1:%d" % wire.receiver.address[1]
    assert request.get(b"content-type") == b"application/json"
    assert request.get(b"user-agent") == f"Gatepost/{__version__}".encode()
    assert request.get(b"webhook-id") == b"msg_1"
    assert request.body == BODY
    headers = {name.decode(): value.decode() for name, value in request.fields}
    Webhook(SECRET).verify(bytes(request.body), headers)


@conversation()
async def test_an_endpoint_adds_its_own_headers_but_cannot_replace_ours(wire: Wire) -> None:
    headers = {"X-Tenant": "acme", "Host": "evil", "Content-Length": "1", "webhook-id": "x", "Bad": "a\r\nEvil: 1"}
    assert (await wire.send(headers=headers)).ok
    request = (await wire.receiver.request()).message
    assert request.get(b"x-tenant") == b"acme"
    assert request.get(b"webhook-id") == b"msg_1"
    assert request.get(b"content-length") == b"%d" % len(BODY)
    assert b"evil" not in request.raw.lower()


@conversation()
async def test_one_connection_serves_one_try_after_the_other(wire: Wire) -> None:
    for n in range(5):
        assert (await wire.send(b"msg_%d" % n)).ok
    assert len(wire.receiver.connections) == 1
    assert [x.message.get(b"webhook-id") for x in wire.receiver.requests] == [b"msg_%d" % n for n in range(5)]


@conversation()
async def test_tries_at_the_same_time_have_connections_of_their_own(wire: Wire) -> None:
    results = [wire.begin(b"msg_%d" % n) for n in range(5)]
    assert all([(await result).ok for result in results])
    assert len(wire.receiver.connections) == 5
    assert (await wire.send()).ok
    assert len(wire.receiver.connections) == 5


@conversation(connections=2)
async def test_an_idle_connection_makes_room_for_another_receivers(wire: Wire) -> None:
    others = [Backend() for _ in range(4)]
    for other in others:
        await other.start()
    for other in others:
        assert (await wire.send(url=other.url)).ok
        assert len(wire.destination._open) <= 2
    for other in others:
        await other.stop()


@conversation()
async def test_a_large_body_arrives_whole(wire: Wire) -> None:
    body = b'"' + b"x" * 3_000_000 + b'"'
    assert (await wire.send(body=body)).ok
    assert (await wire.receiver.request()).message.body == body


# how it is answered


@conversation()
async def test_what_is_not_2xx_fails_with_its_status_and_body(wire: Wire) -> None:
    for status in (400, 404, 410, 429, 500, 503):
        wire.receiver.answer(b"HTTP/1.1 %d Nope\r\nContent-Length: 3\r\n\r\nwhy" % status)
        result = await wire.send()
        assert (result.status, result.body, result.ok) == (status, b"why", False)
    assert len(wire.receiver.connections) == 1


@conversation()
async def test_a_redirect_is_not_followed(wire: Wire) -> None:
    elsewhere = f"{wire.receiver.url}/elsewhere".encode()
    for status in (301, 302, 303, 307, 308):
        wire.receiver.answer(b"HTTP/1.1 %d R\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere))
        result = await wire.send()
        assert (result.status, result.ok) == (status, False)
        assert "redirect" in result.error
    assert {x.target for x in wire.receiver.requests} == {b"/hook?a=b"}


@conversation()
async def test_an_answer_in_single_bytes_is_still_an_answer(wire: Wire) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        for at in range(len(OK)):
            x.write(OK[at : at + 1])
            await asyncio.sleep(0)

    wire.receiver.script = script
    assert (await wire.send()).body == b"ok"


@conversation()
async def test_interim_answers_are_passed_over(wire: Wire) -> None:
    wire.receiver.answer(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK)
    assert (await wire.send()).ok


@conversation()
async def test_a_chunked_answer_and_one_that_ends_with_the_connection(wire: Wire) -> None:
    wire.receiver.answer(b"HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (await wire.send()).body == b"abc"
    wire.receiver.answer(b"HTTP/1.1 201 C\r\n\r\nuntil the end", close=True)
    result = await wire.send()
    assert (result.body, result.ok) == (b"until the end", True)
    assert len(wire.receiver.connections) == 1


@conversation()
async def test_of_a_long_answer_16_kib_are_kept_and_the_connection_is_dropped(wire: Wire) -> None:
    wire.receiver.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n", b"x" * 1_000_000)
    result = await wire.send()
    assert (len(result.body), result.ok) == (16_384, True)
    await soon((await wire.receiver.request()).gone(), "the end of the connection")


# receivers that misbehave


@conversation(timeout=0.5)
async def test_a_receiver_that_hangs_is_given_up_at_the_time_out(wire: Wire) -> None:
    wire.receiver.script = lambda x: x.gone()
    result = await wire.send()
    assert (result.status, result.error) == (0, "no complete response within 0.5 s")
    assert 0.5 <= result.duration < 1.5
    await soon((await wire.receiver.request()).gone(), "the end of the connection")


@conversation(timeout=0.5)
async def test_a_dripping_body_does_not_stretch_the_time_out(wire: Wire) -> None:
    async def drip(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not x.connection.lost:
            x.write(b".")
            await asyncio.sleep(0.02)

    wire.receiver.script = drip
    result = await wire.send()
    assert (result.status, result.ok) == (200, False)
    assert "no complete response" in result.error
    assert result.duration < 1.5


@conversation(timeout=0.5)
async def test_a_time_out_on_a_kept_connection_is_a_time_out(wire: Wire) -> None:
    assert (await wire.send()).ok
    wire.receiver.script = lambda x: x.gone()
    assert "no complete response" in (await wire.send()).error
    assert len(wire.receiver.requests) == 2


@conversation()
async def test_garbage_is_an_error_that_says_so(wire: Wire) -> None:
    for garbage in (
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ):
        wire.receiver.answer(garbage)
        result = await wire.send()
        assert not result.ok
        assert "not valid" in result.error
    assert len(wire.receiver.connections) == 5


@conversation()
async def test_a_response_that_breaks_off_is_no_success(wire: Wire) -> None:
    wire.receiver.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    result = await wire.send()
    assert (result.status, result.body, result.ok) == (200, b"half", False)
    assert "before the response was complete" in result.error
    wire.receiver.answer(b"HTTP/1.1 200 O", close=True)
    result = await wire.send()
    assert (result.status, result.ok) == (0, False)


@conversation()
async def test_a_connection_closed_without_an_answer_is_a_failure_not_a_loop(wire: Wire) -> None:
    wire.receiver.answer(close=True)
    assert "before a response came" in (await wire.send()).error
    assert len(wire.receiver.requests) == 1

    async def abort(x: Exchange) -> None:
        x.abort()

    wire.receiver.script = abort
    assert "before a response came" in (await wire.send()).error
    assert len(wire.receiver.requests) == 2


@conversation()
async def test_a_kept_connection_that_turns_out_closed_costs_no_try(wire: Wire) -> None:
    assert (await wire.send()).ok

    async def leave_once(x: Exchange) -> None:
        if len(wire.receiver.requests) == 2:
            x.abort()
        else:
            x.write(OK)

    wire.receiver.script = leave_once
    assert (await wire.send()).ok
    assert len(wire.receiver.requests) == 3
    assert len(wire.receiver.connections) == 2


@conversation()
async def test_it_is_tried_on_a_new_connection_once_only(wire: Wire) -> None:
    assert (await wire.send()).ok

    async def leave(x: Exchange) -> None:
        x.abort()

    wire.receiver.script = leave
    assert "before a response came" in (await wire.send()).error
    assert len(wire.receiver.requests) == 3


@conversation()
async def test_a_kept_connection_closed_in_between_is_not_used(wire: Wire) -> None:
    assert (await wire.send()).ok
    wire.receiver.connections[0].transport.close()
    await wire.until(lambda: not wire.destination._oldest)
    assert (await wire.send()).ok
    assert len(wire.receiver.requests) == 2


@conversation()
async def test_a_kept_connection_that_is_just_closing_is_not_used(wire: Wire) -> None:
    assert (await wire.send()).ok
    next(iter(wire.destination._oldest))._transport.abort()  # the loop has not told us yet
    assert (await wire.send()).ok
    assert len(wire.receiver.requests) == 2


@conversation()
async def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next(wire: Wire) -> None:
    wire.receiver.answer(OK + b"HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n")
    assert (await wire.send()).ok
    wire.receiver.answer(OK)
    assert (await wire.send()).ok
    assert len(wire.receiver.connections) == 2
    wire.receiver.connections[1].transport.write(b"HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n")
    await wire.until(lambda: not wire.destination._oldest)
    assert (await wire.send()).ok


@conversation()
async def test_an_answer_before_the_request_was_taken_spoils_the_connection(wire: Wire) -> None:
    async def early(x: Exchange) -> None:
        x.connection.transport.pause_reading()
        x.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await x.gone()

    wire.receiver.script = early
    result = await wire.send(body=b'"' + b"x" * 20_000_000 + b'"')
    assert result.status == 413
    assert not wire.destination._oldest
    wire.receiver.connections[0].transport.abort()


@conversation()
async def test_a_cancelled_try_says_nothing_and_leaves_nothing(wire: Wire) -> None:
    wire.receiver.script = lambda x: x.gone()
    result = wire.begin()
    request = await wire.receiver.request()
    wire.sending.cancel()
    await soon(request.gone(), "the end of the connection")
    connecting = wire.begin()
    wire.sending.cancel()
    await asyncio.sleep(0)
    assert not result.done()
    assert not connecting.done()


@conversation(timeout=0.5)
async def test_a_try_cancelled_at_any_moment_leaves_no_connection_to_nobody(wire: Wire) -> None:
    wire.receiver.script = lambda x: x.gone()
    for turns in range(12):
        wire.begin()
        for _ in range(turns):
            await asyncio.sleep(0)
        wire.sending.cancel()
    wire.destination.close()
    await wire.until(lambda: all(connection.lost for connection in wire.receiver.connections))
    assert wire.destination._connecting == 0


# where it may go


@conversation()
async def test_nobody_listens(wire: Wire) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = await wire.send(url=f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert result.status == 0
    assert "connection refused" in result.error


@conversation(allow=())
async def test_private_addresses_are_refused_before_a_byte_is_sent(wire: Wire) -> None:
    port = wire.receiver.address[1]
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "receiver.example", "inside.example"):
        result = await wire.send(url=f"http://{host}:{port}/")
        assert result.status == 0
        assert "not a public address" in result.error
    assert wire.receiver.connections == []


@conversation(allow=("10.0.0.0/8",))
async def test_an_allowed_network_allows_no_other(wire: Wire) -> None:
    assert "not a public address" in (await wire.send()).error


@conversation()
async def test_a_name_is_looked_up_and_stands_in_host(wire: Wire) -> None:
    port = wire.receiver.address[1]
    assert (await wire.send(url=f"http://receiver.example:{port}/")).ok
    assert (await wire.receiver.request()).get(b"host") == b"receiver.example:%d" % port
    assert "does not exist" in (await wire.send(url="http://nowhere.example/")).error


@conversation()
async def test_a_url_or_secret_that_cannot_be_used_fails_with_a_reason(wire: Wire) -> None:
    assert "http" in (await wire.send(url="ftp://example.com/")).error
    assert "IPv4" in (await wire.send(url="http://0x7f.1/")).error
    assert "secret" in (await wire.send(secrets=())).error
    assert "secret" in (await wire.send(secrets=(Secret("plain"),))).error
    assert "secret" in (await wire.send(secrets=(Secret(SECRET, expires=1.0),))).error
    assert wire.receiver.connections == []


# TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("loop", LOOPS)
def test_over_tls_the_name_is_sent_and_verified(loop: str, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "good", "receiver.example")
    other_cert, other_key = certificate(tmp_path / "other", "receiver.example")
    wrong_cert, wrong_key = certificate(tmp_path / "wrong", "other.example")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(OK)
        writer.close()

    async def main() -> None:
        wire = Wire()
        ca = tmp_path / "ca.pem"
        ca.write_bytes(cert.read_bytes() + wrong_cert.read_bytes())
        wire.tls = client_context(ca=str(ca))
        names: list[str | None] = []
        async with wire:

            async def https(cert: Path, key: Path) -> tuple[asyncio.Server, str]:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(cert, key)
                context.sni_callback = lambda _socket, name, _context: names.append(name)
                server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
                return server, f"https://receiver.example:{server.sockets[0].getsockname()[1]}/"

            good, good_url = await https(cert, key)
            unknown, unknown_url = await https(other_cert, other_key)
            misnamed, misnamed_url = await https(wrong_cert, wrong_key)
            for _ in range(3):
                assert (await wire.send(url=good_url)).ok
            assert names == ["receiver.example"]
            for url in (unknown_url, misnamed_url):
                result = await wire.send(url=url)
                assert result.status == 0
                assert "certificate" in result.error
            wire.destination.close()
            for server in (good, unknown, misnamed):
                server.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
