"""How messages are framed: keep-alive, pipelining, lengths, chunks, HEAD and 204, HTTP/1.0, 100-continue, targets.

Each test is a conversation; both ends check by the way that everything they get is sound HTTP/1.1.
"""

from __future__ import annotations

import pytest
from tests.support.backend import BodyCut, Exchange
from tests.support.rawclient import Hang
from tests.support.strict_http import Message
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    return b"".join([b"%x\r\n%b\r\n" % (len(p), p) for p in pieces]) + b"0\r\n" + trailers + b"\r\n"


def post_chunked(*pieces: bytes, path: bytes = b"/", trailers: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    return head + chunked(*pieces, trailers=trailers)


async def echo_target(x: Exchange) -> None:
    await x.body()
    x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(x.target), x.target))


# Many requests on one connection.


async def test_a_connection_is_kept_for_the_next_request(gate: Gate) -> None:
    client = await gate.say(GET)
    first = await client.response()
    client.send(GET)
    second = await client.response()
    assert (first.status, second.status) == (200, 200)
    assert first.get(b"connection") is None


async def test_the_upstream_connection_is_kept_too(gate: Gate) -> None:
    client = await gate.say(GET)
    await client.response()
    client.send(GET)
    await client.response()
    assert gate.backend.requests[0].connection is gate.backend.requests[1].connection


async def test_connection_close_is_obeyed(gate: Gate) -> None:
    client = await gate.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    [answer] = await client.answers(b"GET")
    assert answer.get(b"connection") == b"close"


async def test_what_follows_a_connection_close_is_not_a_request(gate: Gate) -> None:
    client = await gate.say(b"GET /first HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get(b"/second"))
    await client.answers(b"GET")
    assert [x.target for x in await gate.reached()] == [b"/first"]


async def test_pipelined_requests_are_answered_in_order(gate: Gate) -> None:
    gate.backend.script = echo_target
    client = await gate.say(b"".join([get(b"/%d" % n) for n in range(20)]))
    assert [bytes((await client.response()).body) for _ in range(20)] == [b"/%d" % n for n in range(20)]


async def test_pipelined_bodies_are_cut_where_they_end(gate: Gate) -> None:
    gate.backend.script = echo_target
    client = await gate.say(
        post_chunked(b"one", b"two", path=b"/1")
        + b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthree"
        + get(b"/3")
        + post_chunked(path=b"/4")
    )
    assert [bytes((await client.response()).body) for _ in range(4)] == [b"/1", b"/2", b"/3", b"/4"]
    assert [bytes(x.message.body) for x in gate.backend.requests] == [b"onetwo", b"three", b"", b""]


async def test_a_refused_request_ends_the_pipeline_after_those_before_it(gate: Gate) -> None:
    client = await gate.say(get(b"/good") + b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n" + get(b"/never"))
    good = await client.response()
    bad = await client.response()
    assert (good.status, bad.status) == (200, 400)
    check_problem(bad)
    assert await client.closed() == b""
    assert [x.target for x in await gate.reached()] == [b"/good"]


async def test_look_ahead_is_bounded(gate: Gate) -> None:
    """While one request waits, the gateway stops to read: a client cannot make it hold megabytes of requests."""

    async def never(x: Exchange) -> None:
        await x.gone()

    gate.backend.script = never
    client = await gate.say(get(b"/waits"))
    await gate.backend.request(0)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 60_000) * 400)  # 24 MB
    with pytest.raises(Hang):
        await client.drained(within=0.5)
    assert len(gate.backend.requests) == 1
    # Nothing of it may be left for the next test: the gateway does not see a client leave whose bytes it does not read.
    client.abort()
    gate.backend.requests[0].abort()
    await gate.reached()


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_request_may_come_in_pieces(gate: Gate, size: int) -> None:
    whole = b"\r\n" + post_chunked(b"hello", b" world") + get(b"/next")
    client = await gate.client()
    await client.send_slowly([whole[at : at + size] for at in range(0, len(whole), size)])
    assert [(await client.response()).status for _ in range(2)] == [200, 200]
    assert [bytes(x.message.body) for x in gate.backend.requests] == [b"hello world", b""]


# Requests with bodies.


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"GET", b"OPTIONS"])
async def test_a_body_goes_with_any_method(gate: Gate, method: bytes) -> None:
    await gate.ask(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" % method)
    [x] = gate.backend.requests
    assert (x.method, bytes(x.message.body)) == (method, b"hello")


async def test_a_post_without_a_body_says_so(gate: Gate) -> None:
    await gate.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gate.backend.requests[0].get(b"content-length") == b"0"


async def test_a_get_without_a_body_has_no_framing_field(gate: Gate) -> None:
    await gate.ask(GET)
    assert gate.backend.requests[0].message.framing == "none"


async def test_a_chunked_body_is_framed_anew(gate: Gate) -> None:
    await gate.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'0005;name="va lue"\r\nhello\r\nA;x\r\n0123456789\r\n000\r\n\r\n'
    )
    [x] = gate.backend.requests
    assert bytes(x.message.body) == b"hello0123456789"


async def test_a_large_body_arrives_whole_both_ways(gate: Gate) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB

    async def echo(x: Exchange) -> None:
        got = await x.body()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got), got)

    gate.backend.script = echo
    for request in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        post_chunked(*[body[at : at + 70_001] for at in range(0, len(body), 70_001)]),
    ):
        assert (await gate.ask(request)).body == body


async def test_a_body_streams_before_it_is_whole(gate: Gate) -> None:
    client = await gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    x = await gate.backend.request()
    await x.connection.wait(lambda: bytes(x.message.body) == b"hello")
    assert not x.message.complete
    client.send(b"0\r\n\r\n")
    assert (await client.response()).status == 200
    assert x.message.complete


async def test_trailers_are_dropped(gate: Gate) -> None:
    answer = await gate.ask(post_chunked(b"hello", trailers=b"X-Checksum: abc\r\nX-Other: y\r\n"))
    assert answer.status == 200
    assert gate.backend.requests[0].message.trailers == []


async def test_a_body_that_never_ends_is_not_delivered_as_if_it_had(gate: Gate) -> None:
    """The client goes away inside a body: the upstream must see it cut, not short."""
    seen: list[type[Exception]] = []

    async def script(x: Exchange) -> None:
        try:
            await x.body()
        except BodyCut:
            seen.append(BodyCut)
            raise

    gate.backend.script = script
    for request in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ):
        client = await gate.say(request)
        x = await gate.backend.request(len(seen))
        await client.leave()
        await x.gone()
        assert not x.message.complete
    assert seen == [BodyCut, BodyCut]


@pytest.mark.parametrize(
    "unfinished",
    [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_an_unfinished_message_at_the_end_of_the_stream_is_refused(gate: Gate, unfinished: bytes) -> None:
    """RFC 9112 §8: incomplete. Nothing whole may reach the backend."""
    client = await gate.say(unfinished)
    client.half_close()
    await gate.refusal(client, 400)
    for x in await gate.reached():
        await x.gone()
        assert not x.message.complete


@pytest.mark.parametrize(
    "unfinished",
    [b"G", b"\r", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"],
)
async def test_an_unfinished_message_behind_another_is_refused_too(gate: Gate, unfinished: bytes) -> None:
    """The end of the stream is known long before the parser comes to it."""
    client = await gate.say(GET + unfinished)
    client.half_close()
    assert (await client.response()).status == 200
    await gate.refusal(client, 400)


async def test_a_client_that_has_closed_its_sending_side_gets_its_answer(gate: Gate) -> None:
    client = await gate.say(GET)
    client.half_close()
    [answer] = await client.answers(b"GET")
    assert answer.status == 200


# Responses.


async def test_a_response_keeps_its_length(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello")
    answer = await gate.ask(GET)
    assert (answer.status, answer.framing, bytes(answer.body)) == (201, "length", b"hello")
    assert answer.get(b"x-a") == b"b"
    assert answer.get(b"date")
    assert answer.get(b"x-request-id")


async def test_a_chunked_response_stays_chunked(gate: Gate) -> None:
    gate.backend.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhel", b"lo\r\n6\r\n world\r\n0\r\n\r\n"
    )
    client = await gate.say(GET + GET)
    for _ in range(2):
        answer = await client.response()
        assert (answer.framing, bytes(answer.body)) == ("chunked", b"hello world")


async def test_trailers_of_a_response_are_dropped(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"x", trailers=b"X-T: 1\r\n"))
    answer = await gate.ask(GET)
    assert answer.trailers == []


async def test_a_response_until_close_becomes_chunked(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True)
    client = await gate.say(GET)
    answer = await client.response()
    assert (answer.framing, bytes(answer.body)) == ("chunked", b"hello")
    client.send(GET)
    assert bytes((await client.response()).body) == b"hello"


async def test_a_response_of_an_http10_upstream(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True)
    assert bytes((await gate.ask(GET)).body) == b"hello"


@pytest.mark.parametrize(
    "upstream",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_a_head_has_no_body_and_the_connection_goes_on(gate: Gate, upstream: bytes) -> None:
    gate.backend.answer(upstream)
    client = await gate.say(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await client.response(b"HEAD")
    assert answer.status == 200
    assert answer.get(b"content-length") == (b"5" if b"Length" in upstream else None)
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client.send(GET)
    assert bytes((await client.response()).body) == b"ok"


@pytest.mark.parametrize(
    "upstream",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
    ],
)
async def test_204_and_304_have_no_body_and_the_connection_goes_on(gate: Gate, upstream: bytes) -> None:
    gate.backend.answer(upstream)
    client = await gate.say(GET + GET)
    for _ in range(2):
        answer = await client.response()
        assert answer.status == int(upstream[9:12])
        assert answer.framing == "none"


async def test_an_empty_response(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client = await gate.say(GET + GET)
    assert [(await client.response()).framing for _ in range(2)] == ["length", "length"]


# HTTP/1.0 clients.


async def http10(gate: Gate, fields: bytes = b"") -> tuple[Message, bool]:
    client = await gate.say(b"GET / HTTP/1.0\r\n%b\r\n" % fields)
    answer = await client.response()
    if (answer.get(b"connection") or b"") == b"keep-alive":
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.response()
        await client.closed()
        return answer, True
    assert await client.closed() == b""
    return answer, False


async def test_an_http10_client_needs_no_host_and_is_closed(gate: Gate) -> None:
    answer, kept = await http10(gate)
    assert (answer.status, kept) == (200, False)
    assert gate.backend.requests[0].get(b"host")


async def test_an_http10_client_may_ask_for_keep_alive(gate: Gate) -> None:
    _, kept = await http10(gate, b"Connection: keep-alive\r\n")
    assert kept


async def test_an_http10_client_gets_no_chunks(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"hello", b" world"))
    answer, kept = await http10(gate, b"Connection: keep-alive\r\n")
    assert (answer.framing, bytes(answer.body), kept) == ("until-close", b"hello world", False)


async def test_an_http10_client_that_is_kept_must_say_how_long_its_body_is(gate: Gate) -> None:
    kept = b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
    await gate.refused(kept + b"\r\nGET /smuggled HTTP/1.0\r\n\r\n", status=411)
    client = await gate.say(kept + b"Content-Length: 0\r\n\r\n")
    assert (await client.response(final=False)).status == 200


async def test_an_http10_client_gets_no_100_continue(gate: Gate) -> None:
    client = await gate.say(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await gate.backend.request()
    client.send(b"ok")
    assert (await client.response(final=False)).status == 200


# 100-continue.

EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


async def test_100_continue_is_sent_and_the_body_follows(gate: Gate) -> None:
    client = await gate.say(EXPECTING)
    assert (await client.response(final=False)).status == 100
    client.send(b"hello")
    assert (await client.response(final=False)).status == 200
    assert bytes(gate.backend.requests[0].message.body) == b"hello"
    assert gate.backend.requests[0].get(b"expect") is None, "the gateway has met the expectation itself"


async def test_a_client_need_not_wait_for_100_continue(gate: Gate) -> None:
    client = await gate.say(EXPECTING + b"hello")
    assert (await client.response()).status == 200
    client.send(GET)
    assert (await client.response()).status == 200


async def test_no_100_continue_where_nobody_wants_the_body(gate: Gate) -> None:
    """A refusal instead of 100; the connection cannot go on, since nobody knows whether the body comes."""
    client = await gate.say(
        b"POST /too-large HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    )
    answer = await client.response(final=False)
    assert answer.status == 413
    assert await client.closed() == b""


@pytest.mark.parametrize("expectation", [b"200-ok", b"100-continue, 200-ok", b"100-continu", b""])
async def test_another_expectation_is_refused(gate: Gate, expectation: bytes) -> None:
    await gate.refused(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: %b\r\n\r\n" % expectation, status=417)


async def test_an_upstream_100_does_not_reach_the_client(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client = await gate.say(GET)
    assert (await client.response(final=False)).status == 200


# Targets.


async def test_an_absolute_target_wins_over_host(gate: Gate) -> None:
    """RFC 9112 §3.2.2: Host is ignored, and what goes on is rebuilt from the target."""
    client = await gate.say(b"GET http://Real.example:81/preserving/x?q=1 HTTP/1.1\r\nHost: other.example\r\n\r\n")
    await client.response()
    [x] = gate.backend.requests
    assert x.target == b"/preserving/x?q=1"
    assert x.get(b"host") == b"real.example:81"


async def test_an_absolute_target_without_a_path_is_the_root(gate: Gate) -> None:
    await gate.ask(b"GET http://a.example?x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gate.backend.requests[0].target == b"/?x"


async def test_options_asterisk_never_becomes_a_path(gate: Gate) -> None:
    """RFC 9112 §3.2.4. Whoever answers it, no service may see it as an ordinary path."""
    answer = await gate.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status in (200, 204, 404)
    assert all(x.target == b"*" for x in await gate.reached())


async def test_an_empty_line_before_a_request_is_ignored(gate: Gate) -> None:
    """RFC 9112 §2.2: one CRLF, as some old clients send it behind a body."""
    client = await gate.say(
        b"\r\n" + GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok" + b"\r\n" + GET
    )
    assert [(await client.response()).status for _ in range(3)] == [200, 200, 200]
