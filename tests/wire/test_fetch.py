"""What the gateway itself asks of others, over loopback, on the loop that production uses and on Python's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from tests.support.certificates import Authority, server_context

from gatepost.net.fetch import OFFLINE, Fetched, Fetcher, FetchError
from gatepost.net.guard import Guard
from gatepost.net.resolve import Answer, Resolver
from gatepost.net.tls import client_context

Scenario = Callable[[], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    return lambda scenario: request.param(asyncio.wait_for(scenario(), 10))


class Server:
    """Answers each connection with the same bytes once a head has come; `None`: never. Then closes, if told so."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[bytes] = []
        self.answer: bytes | None = OK
        self.closes = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.asked.append(head + await reader.readexactly(int(length or 0)))
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
            if not self.closes:
                await reader.read()  # until the client closes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


def fetcher() -> Fetcher:
    def lookup(host: str) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        future.set_result(Answer(("127.0.0.1",), 60))
        return future

    return Fetcher(Resolver(lookup))


def test_it_asks_and_hands_over_the_whole_answer(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            url = f"http://keys.example:{server.port}/jwks?v=1"
            answer = await fetcher().fetch("POST", url, fields=[(b"accept", b"application/json")], body=b"a=1")
            assert answer == Fetched(200, [(b"content-type", b"text/plain")], b"hello")
            (request,) = server.asked
            assert request.startswith(b"POST /jwks?v=1 HTTP/1.1\r\nhost: keys.example:%d\r\n" % server.port)
            assert b"\r\naccept: application/json\r\ncontent-length: 3\r\n\r\na=1" in request

    play(scenario)


def test_every_framing_is_read_to_its_end(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            url = f"http://127.0.0.1:{server.port}/"
            server.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            assert (await fetcher().fetch("GET", url)).body == b"hello"
            server.answer, server.closes = b"HTTP/1.1 200 OK\r\n\r\nhello", True
            assert (await fetcher().fetch("GET", url)).body == b"hello"
            server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            assert (await fetcher().fetch("HEAD", url)).body == b""
            assert b"content-length" not in server.asked[0]

    play(scenario)


def test_a_redirect_is_an_answer_and_not_followed(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            server.answer = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
            assert (await fetcher().fetch("GET", f"http://127.0.0.1:{server.port}/")).status == 302
            assert len(server.asked) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("answer", "closes", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", True, "closed the connection before its answer was comp"),
        (b"", True, "closed the connection before its answer was complete"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, "status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, False, "too long"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200, False, "too long"),
        (None, False, "no whole answer within 0.2 s"),
    ],
)
def test_anything_but_a_whole_answer_is_one_sentence(
    play: Callable[[Scenario], None], answer: bytes | None, closes: bool, reason: str
) -> None:
    async def scenario() -> None:
        async with serving() as server:
            server.answer, server.closes = answer, closes
            with pytest.raises(FetchError, match=reason) as caught:
                await fetcher().fetch("GET", f"http://127.0.0.1:{server.port}/?secret=1", timeout=0.2, limit=100)
            assert "secret" not in str(caught.value)

    play(scenario)


def test_tls_is_verified(play: Callable[[Scenario], None], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("keys.example")

    async def scenario() -> None:
        async with serving(server_context(cert, key)) as server:
            url = f"https://keys.example:{server.port}/"
            with pytest.raises(FetchError, match="certificate was not accepted"):
                await fetcher().fetch("GET", url)
            trusting = client_context(ca=authority.ca)
            assert (await fetcher().fetch("GET", url, tls=trusting)).body == b"hello"
            with pytest.raises(FetchError, match="certificate was not accepted"):
                await fetcher().fetch("GET", url.replace("keys", "other"), tls=trusting)

    play(scenario)


def test_a_guard_is_asked_before_a_connection_is_made(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            with pytest.raises(FetchError, match="loopback"):
                await fetcher().fetch("GET", f"http://keys.example:{server.port}/", guard=Guard())
            assert server.asked == []

    play(scenario)


def test_a_line_end_in_a_field_is_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="line end"):
            await fetcher().fetch("GET", "http://127.0.0.1:1/", fields=[(b"authorization", b"a\r\nx: y")])

    play(scenario)


def test_a_closed_port_is_said(play: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with serving() as server:
            port = server.port
        with pytest.raises(FetchError, match="connection refused"):
            await fetcher().fetch("GET", f"http://127.0.0.1:{port}/")
        with pytest.raises(FetchError, match="asks nobody"):
            await OFFLINE.fetch("GET", "http://127.0.0.1:1/")

    play(scenario)
