"""Nearly right requests, through a real node to a recording backend: each reaches it sound and once, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.backend import OK, Backend, Exchange
from tests.support.mutations import mutated
from tests.support.node import Node
from tests.support.rawclient import ClosedEarly
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUESTS = [
    b"GET /1?x=y HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
    b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /upgrade/1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HEAD http://b/1 HTTP/1.1\r\nHost: a\r\nConnection: close, X-B\r\nX-B: c\r\n\r\n",
]
ANSWERS = [
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\n\r\nhello",
]
examples = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@examples
@given(wire=mutated(REQUESTS))
async def test_a_backend_sees_sound_requests_or_none(session_node: Node, session_backend: Backend, wire: bytes) -> None:
    async with Gate(session_node, session_backend) as gate:  # leaving it fails on anything unsound at the backend
        client = await gate.say(wire)
        client.half_close()
        statuses = []
        try:
            while True:
                # A HEAD may have become anything else: what is read as its answer has no body.
                method = b"HEAD" if wire.lstrip(b"\r\n").startswith(b"HEAD ") else b"GET"
                answer = await client.response(method)
                statuses.append(answer.status)
                if answer.status >= 400:
                    if method != b"HEAD":
                        check_problem(answer)
                    break
        except ClosedEarly as end:
            if end.got:
                raise
        await client.closed()
        whole = [x for x in await gate.reached() if x.message.complete]
        assert len(statuses) <= len(whole) + 1, (statuses, whole)
        assert len(whole) <= wire.count(b"HTTP/1."), whole


@examples
@given(wire=mutated(ANSWERS))
async def test_a_client_gets_one_sound_answer_or_a_502(
    session_node: Node, session_backend: Backend, wire: bytes
) -> None:
    async def script(x: Exchange) -> None:
        x.write(wire)
        x.close()

    async with Gate(session_node, session_backend) as gate:
        session_backend.script = script
        client = await gate.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        try:
            answer = await client.response()
            if answer.status == 502:
                check_problem(answer)
        except ClosedEarly as end:
            if not end.got.startswith(b"HTTP/1.1 "):
                raise  # the beginning of an answer at least, and visibly cut
        assert await client.closed() == b""
