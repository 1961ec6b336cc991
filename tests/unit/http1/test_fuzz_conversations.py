"""Whole conversations with the two parsers' owners, the client's connection and the upstream's, without a socket.

One invariant: only our own errors, never two answers to one request, never a hang; and the pieces in which the bytes
come make no difference.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.fake_transport import FakeTransport
from tests.support.manual_loop import ManualLoop
from tests.support.mutations import mutated, pieces
from tests.support.strict_http import Message, Reader

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.schema import Limits
from gatepost.config.services import Service, ServiceTarget
from gatepost.errors import Problem
from gatepost.exchange import Collected, Exchange, Handler, Route
from gatepost.net.deadlines import Deadlines
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.targets import Upstream

# The server.

CONVERSATIONS = [
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
    b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nHEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nPUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nokGET /2 HTTP/1.0\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
]


class Echo(Handler):
    """Answers with the method, the target and the body; keeps what it was asked, whole."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes, bytes]] = []

    def handle(self, x: Exchange) -> None:
        if x.body is not None:
            self._answer(x, x.body)
        else:
            x.downstream.receive(x, Collected(100_000, lambda body: body is not None and self._answer(x, body)))

    def _answer(self, x: Exchange, body: bytes) -> None:
        self.asked.append((x.head.method, x.head.target, body))
        x.downstream.respond(x, 200, [], b"%b %b %b" % (x.head.method, x.head.target, body))

    def client_gone(self, x: Exchange) -> None: ...


class Conversation:
    """What a server makes of a stream: the requests it understood and the answers it wrote."""

    def __init__(self, parts: list[bytes]) -> None:
        loop = ManualLoop(ManualClock())
        handler = Echo()
        router: Router[Route] = Router()
        router.add("all", "/*", Route("all", handler))
        gate = Gate(loop, Snapshot(router, Limits(body_bytes=1000)), Deadlines(loop))  # type: ignore[arg-type]
        with log.recorded() as logged:
            transport = FakeTransport(Connection(gate))
            transport.feed(*parts)
            transport.end()
        assert not logged, "a fault of ours"
        assert transport.closed or transport.half_closed, "a hang: nothing more can come, and it waits"
        self.asked = handler.asked
        self.answers = read(bytes(transport.written), [method for method, _, _ in handler.asked])


def read(wire: bytes, methods: list[bytes]) -> list[bytes]:
    """The body of each answer, read strictly; a refusal only at the end."""
    answers: list[Message] = []
    while wire:
        reader = Reader(methods[len(answers)] if len(answers) < len(methods) else b"GET")
        if len(answers) == len(methods) and wire.endswith(b"\r\n\r\n") and wire.count(b"\r\n\r\n") == 1:
            reader = Reader(b"HEAD")  # what was refused asked for a head
        wire = reader.feed(wire)
        assert reader.message.complete, reader.message
        if reader.message.status >= 200:
            answers.append(reader.message)
    assert len(answers) <= len(methods) + 1, "two answers to one request"
    assert all(answer.status == 200 for answer in answers[: len(methods)])
    assert all(answer.status >= 400 for answer in answers[len(methods) :])
    # Which 4xx a head gets that is wrong in two ways may depend on what came first.
    return [bytes(answer.body) if answer.status == 200 else b"refused" for answer in answers]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), wire=mutated(CONVERSATIONS))
def test_a_server_answers_each_request_once_however_it_comes(data: st.DataObject, wire: bytes) -> None:
    whole = Conversation([wire])
    cut = Conversation(data.draw(pieces(wire)))
    assert cut.asked == whole.asked
    assert cut.answers == whole.answers


# The client of an upstream.

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
]


class Forwarder:
    """The owner of an upstream connection: what failed before a byte went to the client."""

    first_byte = idle = total = 5.0

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def failed(self, connection: UpstreamConnection, x: Exchange, problem: Problem, *, retry: bool) -> None:
        self.problems.append(problem)


def answered(parts: list[bytes], method: str) -> tuple[RecordingDownstream, list[Problem]]:
    """One request, and the stream that comes back, to its end."""
    loop = ManualLoop(ManualClock())
    upstream = Upstream(
        "orders", Service(targets=(ServiceTarget(url="http://192.0.2.2"),)), None, Deadlines(loop), None
    )  # type: ignore[arg-type]
    connection = UpstreamConnection(upstream, upstream.targets[0])
    transport = FakeTransport(connection)
    owner = Forwarder()
    client = RecordingDownstream()
    x, _ = make_exchange(method, downstream=client)
    connection.start(x, owner, b"GET / HTTP/1.1\r\n\r\n", b"")
    transport.feed(*parts)
    transport.end()
    transport.settle()
    return client, owner.problems


@settings(max_examples=500, deadline=None)
@given(data=st.data(), wire=mutated(ANSWERS), method=st.sampled_from(["GET", "HEAD", "POST"]))
def test_an_upstream_gives_one_answer_or_fails_once_however_it_comes(
    data: st.DataObject, wire: bytes, method: str
) -> None:
    client, problems = answered([wire], method)
    # `RecordingDownstream` refuses a second head and a second end by itself.
    assert client.silent == bool(problems)
    assert len(problems) <= 1
    assert client.silent or client.ended, "a hang: nothing more can come"
    assert all(problem.status == 502 for problem in problems)
    cut, cut_problems = answered(data.draw(pieces(wire)), method)
    assert (cut.status, cut.finished, cut.aborted) == (client.status, client.finished, client.aborted)
    assert len(cut_problems) == len(problems)
    if client.finished:
        assert cut.body == client.body
