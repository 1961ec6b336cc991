"""What goes on to an upstream, what comes back, and what each failure is called."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.support.backend import BodyCut, Exchange
from tests.support.rawclient import ClosedEarly, Hang
from tests.support.strict_http import NotHttp
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path: bytes, fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, fields)


async def problem_of(gate: Gate, wire: bytes = GET) -> tuple[int, str]:
    answer = await gate.ask(wire)
    return answer.status, str(check_problem(answer)["type"]).removeprefix("urn:gatepost:problem:")


# Fields on the way in.


async def test_end_to_end_fields_arrive_in_their_order(gate: Gate) -> None:
    await gate.ask(get(b"/", b"Accept: a\r\nX-B: 1\r\nCookie: c=d; e=f\r\nX-B: 2\r\nX-Latin: caf\xe9\r\n"))
    [x] = gate.backend.requests
    own = [field for field in x.message.fields if field[0] in (b"accept", b"x-b", b"cookie", b"x-latin")]
    assert own == [
        (b"accept", b"a"),
        (b"x-b", b"1"),
        (b"cookie", b"c=d; e=f"),
        (b"x-b", b"2"),
        (b"x-latin", b"caf\xe9"),
    ]


async def test_fields_of_one_hop_do_not_go_on(gate: Gate) -> None:
    """RFC 9110 §7.6.1. The backend's checker refuses them all; those that Connection names are looked for here."""
    await gate.ask(
        get(
            b"/",
            b"Connection: keep-alive, X-Hop\r\nConnection: X-Hop-Too\r\nX-Hop: 1\r\nX-Hop-Too: 2\r\nKeep-Alive: 300\r\n"
            b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nTrailer: X\r\n",
        )
    )
    [x] = gate.backend.requests
    assert x.get(b"x-hop") is None
    assert x.get(b"x-hop-too") is None
    assert x.get(b"connection") is None


async def test_nobody_is_trusted_by_default(gate: Gate) -> None:
    await gate.ask(
        get(
            b"/",
            b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
            b"X-Forwarded-Port: 1\r\n"
            b"Forwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-Server: x\r\nX-Request-Id: chosen\r\n",
        )
    )
    [x] = gate.backend.requests
    assert x.get(b"x-forwarded-for") == b"127.0.0.1"
    assert x.get(b"x-forwarded-proto") == b"http"
    assert x.get(b"x-forwarded-host") == b"a"
    assert x.get(b"forwarded") == b'for=127.0.0.1;proto=http;host="a"'
    assert x.get(b"x-real-ip") is None
    assert x.get(b"x-forwarded-port") is None
    assert x.get(b"x-request-id") != b"chosen"


async def test_a_trusted_proxy_speaks_for_its_client(strict_gate: Gate) -> None:
    await strict_gate.ask(
        get(
            b"/",
            b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
            b"Forwarded: for=203.0.113.7\r\nX-Request-Id: chosen\r\n",
        )
    )
    [x] = strict_gate.backend.requests
    assert x.get(b"x-forwarded-for") == b"203.0.113.7, 127.0.0.1"
    assert x.get(b"x-forwarded-proto") == b"https"
    assert x.get(b"x-forwarded-host") == b"shop.example"
    assert (x.get(b"forwarded") or b"").startswith(b"for=203.0.113.7, for=127.0.0.1")
    assert x.get(b"x-request-id") == b"chosen"


async def test_underscores_pass_where_they_are_allowed(strict_gate: Gate) -> None:
    strict_gate.backend.underscores = True
    await strict_gate.ask(get(b"/", b"X_Y: z\r\n"))
    assert strict_gate.backend.requests[0].get(b"x_y") == b"z"


async def test_allowed_trailers_pass_and_others_do_not(strict_gate: Gate) -> None:
    strict_gate.backend.trailers = True
    await strict_gate.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Checksum: abc\r\nX-Other: y\r\n\r\n"
    )
    assert strict_gate.backend.requests[0].message.trailers == [(b"x-checksum", b"abc")]


async def test_request_ids_differ_and_go_both_ways(gate: Gate) -> None:
    client = await gate.say(GET + GET)
    answers = [await client.response() for _ in range(2)]
    given = [x.get(b"x-request-id") for x in gate.backend.requests]
    assert given == [answer.get(b"x-request-id") for answer in answers]
    assert given[0] != given[1]


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_trace_is_passed_on_or_started(gate: Gate) -> None:
    await gate.ask(get(b"/", b"Traceparent: %b\r\nTracestate: a=1\r\n" % TRACE))
    await gate.ask(GET)
    await gate.ask(get(b"/", b"Traceparent: 00-nonsense\r\nTracestate: a=1\r\n"))
    passed, started, mended = gate.backend.requests
    assert (passed.get(b"traceparent"), passed.get(b"tracestate")) == (TRACE, b"a=1")
    for x in (started, mended):
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", x.get(b"traceparent") or b"")
        assert x.get(b"tracestate") is None


# Host and path.


async def test_the_target_sees_its_own_host_or_the_clients(gate: Gate) -> None:
    await gate.ask(b"GET /x HTTP/1.1\r\nHost: Shop.Example:8080\r\n\r\n")
    await gate.ask(b"GET /preserving/x HTTP/1.1\r\nHost: Shop.Example:8080\r\n\r\n")
    target, preserved = gate.backend.requests
    assert target.get(b"host") == gate.backend.url.removeprefix("http://").encode()
    assert preserved.get(b"host") == b"shop.example:8080"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"/a/../b?x=%2e", b"/b?x=%2e"),
        (b"/a//b/./c", b"/a/b/c"),
        (b"/%7Euser/%e4", b"/~user/%E4"),
        (b"/based/../x", b"/x"),
        (b"/preserving/%41//b?%41", b"/preserving/%41//b?%41"),
        (b"/based/x?y", b"/base/x?y"),
        (b"/based", b"/base/"),
        (b"/based/", b"/base/"),
        (b"/based//x", b"/base/x"),
    ],
)
async def test_the_path_that_the_target_sees(gate: Gate, sent: bytes, seen: bytes) -> None:
    """Normalised by default, as it came with `path: raw`; `strip_prefix` goes before the base path."""
    assert (await gate.ask(get(sent))).status == 200
    assert gate.backend.requests[0].target == seen


@pytest.mark.parametrize(
    "path", [b"/../x", b"/a/..;/b", b"/a%2fb", b"/%2e%2e/x", b"/a%00b", b"/a%5cb", b"/a\\b", b"/%zz"]
)
async def test_a_path_that_can_be_read_in_two_ways_is_refused(gate: Gate, path: bytes) -> None:
    await gate.refused(get(path))


# Fields on the way out.


async def test_fields_of_one_hop_do_not_come_back(gate: Gate) -> None:
    gate.backend.answer(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
        b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = await gate.ask(GET)
    assert answer.all(b"set-cookie") == [b"a=b", b"c=d"]
    for name in (b"connection", b"x-hop", b"keep-alive", b"proxy-authenticate"):
        assert answer.get(name) is None


async def test_connection_close_of_the_upstream_is_not_the_clients(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", close=True)
    client = await gate.say(GET)
    assert (await client.response()).get(b"connection") is None
    client.send(GET)
    assert (await client.response()).status == 200


async def test_early_hints_reach_a_client_that_can_read_them(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", OK)
    client = await gate.say(GET)
    hint = await client.response(final=False)
    assert (hint.status, hint.get(b"link")) == (103, b"</x>")
    assert (await client.response(final=False)).status == 200
    old = await gate.say(b"GET / HTTP/1.0\r\n\r\n")
    assert (await old.response(final=False)).status == 200


async def test_unknown_statuses_pass(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n")
    assert (await gate.ask(GET)).status == 599


# Streams.


async def test_server_sent_events_pass_unbuffered(gate: Gate) -> None:
    more = asyncio.Event()

    async def script(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        x.write(b"data: 1\n\n")
        await more.wait()
        x.write(b"data: 2\n\n")
        x.close()

    gate.backend.script = script
    client = await gate.say(GET)
    await client.until(b"data: 1\n\n")
    more.set()
    await client.until(b"data: 2\n\n")
    await client.until(b"0\r\n\r\n")


async def test_a_slow_client_stops_the_upstream(gate: Gate) -> None:
    """Backpressure: what a client does not read stays at the upstream, not in the gateway's memory."""
    written = 0
    stuck = asyncio.Event()

    async def script(x: Exchange) -> None:
        nonlocal written
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n")
        while written < 40_000_000:
            x.write(b"x" * 64_000)
            written += 64_000
            if not x.connection.writable:
                stuck.set()
            await x.drain()

    gate.backend.script = script
    client = await gate.client(receive_buffer=65_536)
    client.pause()
    client.send(GET)
    await asyncio.wait_for(stuck.wait(), 5)
    [x] = gate.backend.requests
    with pytest.raises(TimeoutError):  # it stays so
        await asyncio.wait_for(x.connection.wait(lambda: written > 30_000_000), 0.3)
    client.resume()
    answer = await client.response()
    assert len(answer.body) == 40_000_000


async def test_a_slow_upstream_stops_the_client(gate: Gate) -> None:
    async def script(x: Exchange) -> None:
        x.connection.transport.pause_reading()
        await go.wait()
        x.connection.transport.resume_reading()
        body = await x.body()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert len(body) == 40_000_000

    go = asyncio.Event()
    gate.backend.script = script
    client = await gate.say(b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n")
    await gate.backend.request()
    client.send(b"x" * 40_000_000)
    with pytest.raises(Hang):
        await client.drained(within=0.3)
    go.set()
    assert (await client.response()).status == 200


# An upstream that fails.


async def test_an_upstream_that_refuses_is_a_502(gate: Gate) -> None:
    status, slug = await problem_of(gate, get(b"/dead/x"))
    assert status == 502
    assert slug.startswith("upstream")


async def test_a_target_that_is_down_is_passed_over(gate: Gate) -> None:
    answers = [await gate.ask(get(b"/half-dead/x")) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4


async def test_all_targets_down_is_a_503_that_names_them(gate: Gate) -> None:
    answer = await gate.ask(get(b"/all-dead/x"))
    document = check_problem(answer)
    assert answer.status == 503
    assert answer.get(b"retry-after")
    assert str(document["detail"]).count("http://127.0.0.1:") == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200\r\nBad Name: x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 999 High\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 +200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\ngarbage",
        b"\x15\x03\x01\x00\x02\x02\x50",
    ],
)
async def test_an_invalid_response_is_a_502_and_nothing_of_it_passes(gate: Gate, garbage: bytes) -> None:
    gate.backend.answer(garbage, close=True)
    status, _ = await problem_of(gate)
    assert status == 502


async def test_an_upstream_that_closes_without_an_answer_is_a_502(gate: Gate) -> None:
    gate.backend.answer(b"", close=True)
    assert (await problem_of(gate))[0] == 502


async def test_an_upstream_that_closes_inside_its_header_is_a_502(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nContent-", close=True)
    assert (await problem_of(gate))[0] == 502


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_truncated_response_looks_truncated(gate: Gate, cut: bytes, version: bytes) -> None:
    """No last chunk, too few bytes, or, where only the end of the connection would tell, a reset."""
    gate.backend.answer(cut, close=True)
    client = await gate.say(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
    with pytest.raises(ClosedEarly) as cut_short:
        await client.response()
    assert cut_short.value.reset or version == b"1.1" or b"Length" in cut


async def test_bytes_behind_a_response_are_nobodys_answer(gate: Gate) -> None:
    """Response splitting: what an upstream sends unasked must not become the next client's answer."""
    gate.backend.answer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    client = await gate.say(GET)
    assert bytes((await client.response()).body) == b"ok"
    gate.backend.answer(OK)
    client.send(GET)
    assert bytes((await client.response()).body) == b"ok"
    first, second = gate.backend.requests
    assert first.connection is not second.connection


async def test_bytes_on_an_idle_upstream_connection_end_it(gate: Gate) -> None:
    client = await gate.say(GET)
    await client.response()
    [x] = gate.backend.requests
    x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    await x.gone()
    client.send(GET)
    assert bytes((await client.response()).body) == b"ok"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_body_where_none_may_be_is_not_the_next_answer(gate: Gate, status: bytes) -> None:
    gate.backend.answer(b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\nwrong" % status)
    client = await gate.say(GET)
    answer = await client.response()
    assert answer.framing == "none"
    gate.backend.answer(OK)
    client.send(GET)
    assert bytes((await client.response()).body) == b"ok"


async def test_a_body_behind_the_answer_to_head_is_not_the_next_answer(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    client = await gate.say(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.response(b"HEAD")
    gate.backend.answer(OK)
    client.send(GET)
    assert bytes((await client.response()).body) == b"ok"


async def test_a_kept_connection_that_dies_is_replaced_for_a_safe_request(gate: Gate) -> None:
    """RFC 9110 §9.2.2, RFC 9112 §9.3.1: the upstream closes while the request is on its way to it."""
    await gate.ask(GET)
    kept = gate.backend.requests[0].connection

    async def die_once(x: Exchange) -> None:
        if x.connection is kept:
            x.abort()
        else:
            await x.body()
            x.write(OK)

    gate.backend.script = die_once
    assert (await gate.ask(GET)).status == 200
    assert len(gate.backend.requests) == 3


async def test_a_request_that_may_have_acted_is_not_sent_twice(gate: Gate) -> None:
    await gate.ask(GET)
    kept = gate.backend.requests[0].connection

    async def die(x: Exchange) -> None:
        await x.body()
        assert x.connection is kept
        x.abort()

    gate.backend.script = die
    assert (await problem_of(gate, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"))[0] == 502
    assert len(gate.backend.requests) == 2


async def test_a_request_that_has_begun_to_be_answered_is_not_sent_twice(gate: Gate) -> None:
    await gate.ask(GET)

    async def die(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nX-")
        x.close()

    gate.backend.script = die
    assert (await problem_of(gate))[0] == 502
    assert len(gate.backend.requests) == 2


# Responses that come early, clients that leave early.


async def test_a_response_before_the_upload_ends_makes_both_connections_unusable(gate: Gate) -> None:
    async def early(x: Exchange) -> None:
        x.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    gate.backend.script = early
    client = await gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nthe beginning")
    answer = await client.response()
    assert (answer.status, answer.get(b"connection")) == (403, b"close")
    await client.send_slowly([b"x" * 1000, b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert await client.closed() == b""
    [x] = gate.backend.requests
    await x.gone()
    assert await gate.reached() == [x]


async def test_a_client_that_leaves_aborts_the_upstream_exchange(gate: Gate) -> None:
    left: list[Exchange] = []

    async def wait(x: Exchange) -> None:
        await x.gone()
        left.append(x)

    gate.backend.script = wait
    client = await gate.say(GET)
    x = await gate.backend.request()
    await client.leave()
    await x.gone()


async def test_a_client_that_leaves_inside_a_response_aborts_the_upstream(gate: Gate) -> None:
    async def endless(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not x.connection.lost:
            x.write(b"x" * 10_000)
            await x.drain()

    gate.backend.script = endless
    client = await gate.say(GET)
    await client.until(b"x" * 1000)
    client.abort()
    x = await gate.backend.request()
    await x.gone()


async def test_a_client_that_leaves_inside_its_upload_aborts_the_upstream(gate: Gate) -> None:
    cut = asyncio.Event()

    async def script(x: Exchange) -> None:
        try:
            await x.body()
        except BodyCut:
            cut.set()

    gate.backend.script = script
    client = await gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
    await gate.backend.request()
    client.abort()
    await asyncio.wait_for(cut.wait(), 5)


async def test_a_method_that_no_route_takes_is_405_with_allow(strict_gate: Gate) -> None:
    answer = await strict_gate.ask(b"DELETE /only-get HTTP/1.1\r\nHost: methods.example\r\n\r\n")
    assert answer.status == 405
    assert answer.get(b"allow") == b"GET, HEAD"
    check_problem(answer)


async def test_no_route_is_404(strict_gate: Gate) -> None:
    assert await problem_of(strict_gate, b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n") == (404, "no-route")


async def test_the_answers_of_one_client_are_never_anothers(gate: Gate) -> None:
    """Many clients at once over pooled connections, each with its own answer."""

    async def echo(x: Exchange) -> None:
        body = await x.body()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    gate.backend.script = echo

    async def one(name: int) -> None:
        client = await gate.client()
        for turn in range(20):
            text = b"client %d turn %d " % (name, turn) * (1 + turn * 50)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text), text)
            if (await client.response()).body != text:
                raise NotHttp("another client's answer")

    await asyncio.gather(*[one(name) for name in range(30)])
