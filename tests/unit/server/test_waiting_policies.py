"""A policy that must wait: what becomes of its exchange, and of its connection, until it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.fake_transport import FakeTransport

from gatepost import log
from gatepost.config.schema import Limits
from gatepost.exchange import Answer, Collected, Exchange, Handler, Phase, Policy, Response, Route
from gatepost.net.deadlines import Deadlines
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Slow(Policy):
    """Knows once the test says so: a future an exchange, in their order."""

    name = "slow"
    phase = Phase.IDENTIFY

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Response | None]] = []

    def on_request(self, x: Exchange) -> Answer:
        future = x.loop.create_future()
        self.asked.append(future)
        return future


class Later(Policy):
    """A policy behind it: notes whom it has seen, and refuses one path."""

    name = "later"
    phase = Phase.VALIDATE

    def __init__(self) -> None:
        self.saw: list[str] = []

    def on_request(self, x: Exchange) -> Answer:
        self.saw.append(x.path)
        return Response(422, [], b"no", "refused-later") if x.path == "/refused" else None


class Echo(Handler):
    def handle(self, x: Exchange) -> None:
        if x.body is None:
            x.downstream.receive(x, Collected(10_000, lambda body: x.downstream.respond(x, 200, [], body or b"")))
        else:
            x.downstream.respond(x, 200, [], x.path.encode())

    def client_gone(self, x: Exchange) -> None: ...


class Records:
    def __init__(self) -> None:
        self.outcomes: list[tuple[str, int, str]] = []

    def record(self, x: Exchange, finished: float) -> None:
        self.outcomes.append((x.path, x.status, x.outcome))


class Node:
    """One connection to a server whose only route has both policies."""

    def __init__(self, **limits: Any) -> None:
        self.slow, self.later, self.records = Slow(), Later(), Records()
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(loop)
        router: Router[Route] = Router()
        router.add("all", "/*", Route("all", Echo(), (self.later, self.slow)))
        self.gate = Gate(loop, Snapshot(router, Limits(**limits)), self.deadlines, recorder=self.records)
        self.client = FakeTransport(Connection(self.gate))

    def send(self, *pieces: bytes) -> None:
        self.client.feed(*pieces)

    async def knows(self, say: Callable[[asyncio.Future[Response | None]], None]) -> None:
        """The policy knows of the exchange that it was asked about last."""
        say(self.slow.asked[-1])
        await turns()

    @property
    def answers(self) -> list[bytes]:
        """The status and the body of each answer."""
        out = []
        for part in bytes(self.client.written).split(b"HTTP/1.1 ")[1:]:
            head, _, body = part.partition(b"\r\n\r\n")
            out.append(head[:3] + b" " + body)
        return out


async def turns() -> None:
    """As many turns of the loop as a future needs to reach the end of its exchange."""
    for _ in range(5):
        await asyncio.sleep(0)


def passes(future: asyncio.Future[Response | None]) -> None:
    future.set_result(None)


async def test_it_passes_later_and_the_policies_behind_it_still_run() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    assert (node.answers, node.later.saw) == ([], [])
    await node.knows(passes)
    assert (node.answers, node.later.saw) == ([b"200 /1"], ["/1"])
    node.send(GET % b"refused")
    await turns()
    await node.knows(passes)
    assert node.answers[1] == b"422 no"
    assert node.records.outcomes == [("/1", 200, ""), ("/refused", 422, "refused-later")]


async def test_it_answers_later_and_nothing_behind_it_runs() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    await node.knows(lambda future: future.set_result(Response(401, [], b"who?", "unknown")))
    assert (node.answers, node.later.saw) == ([b"401 who?"], [])
    assert node.records.outcomes == [("/1", 401, "unknown")]
    node.send(GET % b"2")
    await turns()
    await node.knows(passes)
    assert node.answers[1] == b"200 /2"


async def test_what_it_raises_is_a_500_and_the_connection_goes_on() -> None:
    node = Node()
    node.send(GET % b"1", GET % b"2")
    await turns()
    with log.recorded() as events:
        await node.knows(lambda future: future.set_exception(RuntimeError("the store is away")))
    assert [answer[:3] for answer in node.answers] == [b"500"]
    assert b"the store is away" not in node.client.written
    assert [(event["event"], event["reason"]) for event in events] == [
        ("exchange_failed", "RuntimeError: the store is away")
    ]
    assert events[0]["where"]  # whose code it was
    await node.knows(passes)
    assert node.answers[1] == b"200 /2"


async def test_pipelined_requests_are_asked_and_answered_in_order() -> None:
    node = Node()
    node.send(GET % b"1" + GET % b"2" + GET % b"3")
    await turns()
    for n in range(3):
        assert len(node.slow.asked) == n + 1, "one at a time"
        await node.knows(passes)
    assert node.answers == [b"200 /1", b"200 /2", b"200 /3"]


async def test_a_client_that_leaves_cancels_it_and_leaves_a_record() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    node.client.close()
    node.client.settle()
    await turns()
    assert node.slow.asked[0].cancelled()
    assert node.records.outcomes == [("/1", 0, "client-gone")]
    assert (node.answers, node.later.saw) == ([], [])
    assert not node.gate.connections


async def test_an_answer_in_the_same_turn_as_the_client_leaves_goes_nowhere() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    node.slow.asked[0].set_result(None)
    node.client.close()
    node.client.settle()
    await turns()
    assert node.records.outcomes == [("/1", 0, "client-gone")]
    assert (node.answers, node.later.saw) == ([], [])


async def test_a_client_that_has_closed_its_sending_side_has_a_moment() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    node.client.end()
    assert node.client.closed is False
    node.deadlines.sweep(asyncio.get_running_loop().time() + 2.0)
    node.client.settle()
    await turns()
    assert node.slow.asked[0].cancelled()
    assert node.records.outcomes == [("/1", 0, "client-gone")]


async def test_a_body_that_comes_meanwhile_waits_and_its_limit_holds() -> None:
    node = Node(body_bytes=100)
    node.send(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    await turns()
    await node.knows(passes)
    assert node.answers == [b"200 hello"]
    node.send(CHUNKED, b"80\r\n" + b"x" * 128 + b"\r\n0\r\n\r\n" + GET % b"2")
    await turns()
    assert len(node.answers) == 1, "nobody has asked for the body yet"
    await node.knows(passes)
    assert [answer[:3] for answer in node.answers] == [b"200", b"413"], "and what followed is not read as a request"
    assert node.records.outcomes[1] == ("/1", 413, "body-too-large")


async def test_a_declared_length_over_the_limit_is_refused_before_it_is_asked() -> None:
    node = Node(body_bytes=100)
    node.send(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 128\r\n\r\n")
    await turns()
    assert [answer[:3] for answer in node.answers] == [b"413"]
    assert not node.slow.asked


async def test_a_body_that_is_cut_off_meanwhile_is_refused_and_cancels_it() -> None:
    node = Node()
    node.send(CHUNKED + b"5\r\nhel")
    await turns()
    node.client.end()
    await turns()
    assert node.slow.asked[0].cancelled()
    assert [answer[:3] for answer in node.answers] == [b"400"]
    assert node.later.saw == []


async def test_what_waits_when_the_node_drains_is_answered_and_its_connection_ends() -> None:
    node = Node()
    node.send(GET % b"1" + GET % b"2")
    await turns()
    node.gate.drain()
    assert not node.client.closed
    await node.knows(passes)
    assert node.answers == [b"200 /1"]
    assert b"connection: close\r\n" in node.client.written
    assert node.client.closed
    assert len(node.slow.asked) == 1


async def test_what_still_waits_when_the_drain_is_over_is_cancelled() -> None:
    node = Node()
    node.send(GET % b"1")
    await turns()
    node.gate.drain()
    node.gate.kill()
    node.client.settle()
    await turns()
    assert node.slow.asked[0].cancelled()
    assert (node.answers, node.records.outcomes) == ([], [("/1", 0, "stopped")])
