"""What policies let pass, and how, on the wire: transforms, CORS, versions, error bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.node import Node, running
from tests.support.wire import PROBE, Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "<h1>${problem.title}</h1><p>${request.path}</p>"
ORDER = b'{"order_id": 4711, "secret": 1}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backends() -> AsyncIterator[tuple[Backend, Backend]]:
    first, second = Backend(), Backend()
    await first.start()
    await second.start()
    yield first, second
    await first.stop()
    await second.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(backends: tuple[Backend, Backend], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    first, second = backends
    cors = {"cors": {"origins": ["https://shop.example"], "credentials": True}}
    settings = {
        "services": {
            "first": {"targets": [first.url]},
            "second": {"targets": [f"{second.url}/base"]},
            "raw": {"targets": [first.url], "path": "raw"},
            "dead": {"targets": ["http://127.0.0.1:1"]},
        },
        "errors": {"404": {"text/html": PAGE}, "401": {"application/json": "${ {'code': problem.status} }"}},
        "routes": {
            "probe": {"match": {"path": PROBE.decode()}, "service": "first"},
            "plain": {"match": {"path": "/plain/*"}, "service": "first"},
            "edits": {
                "match": {"path": "/edits/*"},
                "service": "first",
                "strip_prefix": "/edits",
                "policies": [
                    {"headers": {"request": {"set": {"X-Client": "${client.address}"}, "remove": ["Cookie"]}}},
                    {"query": {"set": {"by": "${request.headers['x-by']}"}, "remove": ["debug"]}},
                    {"rewrite": {"pattern": "/edits/{id}-{name}", "path": "/edits/by/${match.name}/${match.id}"}},
                    {"headers": {"response": {"set": {"X-Seen": "${response.status}"}, "remove": ["Server"]}}},
                ],
            },
            "raw": {"match": {"path": "/raw/*"}, "service": "raw", "policies": [{"rewrite": "/new${request.path}"}]},
            "method": {"match": {"path": "/method"}, "service": "first", "policies": [{"method": "DELETE"}]},
            "body": {
                "match": {"path": "/body"},
                "service": "first",
                "policies": [
                    {"transform": {"request": "{'id': request.body.order_id}", "response": "{'r': response.body.a}"}}
                ],
            },
            "described": {
                "match": {"path": "/described"},
                "service": "first",
                "policies": [{"validate_response": {"responses": {"200": {}}}}],
            },
            "keyed": {
                "match": {"path": "/keyed", "methods": ["PUT"]},
                "service": "first",
                "policies": [
                    cors,
                    {"api_key": {}},
                    {"security_headers": {}},
                    {"request_id": {"header": "X-Trace"}},
                    {"compress": {"min_size": 0}},
                ],
            },
            "dead": {"match": {"path": "/dead"}, "service": "dead", "policies": [cors]},
            "moved": {
                "match": {"path": "/moved/*"},
                "service": "dead",
                "policies": [{"redirect": {"to": "https://new.example${request.path}", "status": 308}}],
            },
            "versions": {
                "match": {"path": "/versions/*"},
                "service": "first",
                "policies": [
                    {
                        "version": {
                            "path": "/versions",
                            "default": "v1",
                            "versions": {"v1": {"sunset": "2099-01-01"}, "v2": {"service": "second", "prefix": "/two"}},
                        }
                    }
                ],
            },
        },
    }
    async with running(tmp_path_factory.mktemp("what-passes"), settings) as node:
        yield node


@pytest_asyncio.fixture(loop_scope="module")
async def gate(node: Node, backends: tuple[Backend, Backend]) -> AsyncIterator[Gate]:
    backends[1].reset()
    async with Gate(node, backends[0]) as gate:
        yield gate


def get(path: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_the_service_sees_what_the_policies_made_of_the_request(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok")
    answer = await gate.ask(get("/edits/7-tab%20le?debug=1&a=%20", "X-By: me & you", "Cookie: a=1", "X-Client: forged"))
    assert (answer.status, bytes(answer.body), answer.get(b"x-seen"), answer.get(b"server")) == (
        200,
        b"ok",
        b"200",
        None,
    )
    (seen,) = await gate.reached()
    assert seen.target == b"/by/tab%20le/7?a=%20&by=me%20%26%20you"
    assert seen.get(b"x-client") == b"127.0.0.1"
    assert seen.get(b"cookie") is None


async def test_a_service_that_wants_raw_paths_gets_the_rewritten_one(gate: Gate) -> None:
    await gate.ask(get("/raw/./a?b=1"))
    (seen,) = await gate.reached()
    assert seen.target == b"/new/raw/a?b=1"


async def test_another_method_keeps_the_answers_framing(gate: Gate) -> None:
    client = await gate.say(get("/method", method="POST", body=b"x"), get("/method", method="HEAD"), get("/method"))
    first, head, last = [await client.response(method) for method in (b"POST", b"HEAD", b"GET")]
    assert [first.status, head.status, last.status] == [200, 405, 200]
    assert [x.method for x in await gate.reached()] == [b"DELETE", b"DELETE"]


@pytest.mark.parametrize("framing", ["Content-Length: 15", "Transfer-Encoding: chunked"])
async def test_both_bodies_are_others_and_whole(gate: Gate, framing: str) -> None:
    body = b'{"a": {"b": 2}}'
    framed = b"f\r\n" + body + b"\r\n0\r\n\r\n" if "chunked" in framing else body
    fields = f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Type: text/json\r\n{framing}\r\n\r\n'.encode()
    gate.backend.answer(fields + framed)
    client = await gate.say(
        get("/body", "Accept-Encoding: gzip", "Content-MD5: x", method="POST", body=ORDER), get("/plain/after")
    )
    answer = await client.response(b"POST")
    assert json.loads(answer.body) == {"r": {"b": 2}}
    assert (answer.get(b"etag"), answer.get(b"content-type")) == (None, b"application/json")
    assert (await client.response()).status == 200, "what follows on the connection is in its place"
    seen, _ = await gate.reached()
    assert bytes(seen.message.body) == b'{"id":4711}'
    assert seen.get(b"accept-encoding") == b"identity"
    assert seen.get(b"content-md5") is None


async def test_what_policies_made_of_a_head_does_not_stay_with_the_next_like_it(gate: Gate) -> None:
    """A head that repeats the one before is not parsed again: what was changed of that must not be taken for it. The
    length least of all, for then the rest of a body would be read as a request."""
    requests = [get("/body", method="POST", body=ORDER)] * 2
    requests += [get("/method?again", method="POST", body=ORDER)] * 2
    requests += [get("/method?other", method="POST", body=ORDER)] * 2
    requests += [get("/raw/a", method="POST", body=ORDER)] * 2
    gate.backend.answer(b'HTTP/1.1 200 OK\r\nContent-Type: text/json\r\nContent-Length: 7\r\n\r\n{"a":1}')
    client = await gate.say(*requests)
    assert [(await client.response(b"POST")).status for _ in requests] == [200] * len(requests)
    seen = [(x.method, x.target, bytes(x.message.body)) for x in await gate.reached()]
    assert seen == [
        *[(b"POST", b"/body", b'{"id":4711}')] * 2,
        *[(b"DELETE", b"/method?again", ORDER)] * 2,
        *[(b"DELETE", b"/method?other", ORDER)] * 2,
        *[(b"POST", b"/new/raw/a", ORDER)] * 2,
    ]


async def test_what_cannot_be_transformed_never_leaves_half(gate: Gate) -> None:
    answer = await gate.ask(get("/body", method="POST", body=b"{}"), b"POST")
    assert check_problem(answer)["type"] == "urn:gatepost:problem:body-not-transformed"
    assert not await gate.reached()
    for response in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnot json",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1000,
    ):
        gate.backend.answer(response)
        answer = await gate.ask(get("/body", method="POST", body=ORDER), b"POST")
        assert (answer.status, check_problem(answer)["type"]) == (502, "urn:gatepost:problem:response-not-transformed")


async def test_a_preflight_finds_its_route_and_needs_no_key(gate: Gate) -> None:
    asks = ("Origin: https://shop.example", "Access-Control-Request-Method: PUT")
    answer = await gate.ask(get("/keyed", *asks, method="OPTIONS"), b"OPTIONS")
    assert (answer.status, bytes(answer.body)) == (204, b"")
    assert answer.get(b"access-control-allow-origin") == b"https://shop.example"
    assert answer.get(b"access-control-allow-credentials") == b"true"
    assert answer.get(b"x-content-type-options") == b"nosniff"
    answer = await gate.ask(get("/keyed", "Origin: https://evil.example", asks[1], method="OPTIONS"), b"OPTIONS")
    assert (answer.status, answer.get(b"access-control-allow-origin")) == (403, None)
    assert not await gate.reached()


async def test_answers_of_the_gateway_itself_can_be_read_by_the_page(gate: Gate) -> None:
    for path, method, status in (("/keyed", "PUT", 401), ("/dead", "GET", 502)):
        answer = await gate.ask(get(path, "Origin: https://shop.example", method=method), method.encode())
        assert (answer.status, answer.get(b"access-control-allow-origin")) == (status, b"https://shop.example")
        assert b"origin" in answer.all(b"vary")
    answer = await gate.ask(get("/keyed", "X-Trace: forged", method="PUT"), b"PUT")
    assert answer.get(b"x-trace") == answer.get(b"x-request-id") != b"forged"


async def test_a_redirect_asks_no_service(gate: Gate) -> None:
    answer = await gate.ask(get("/moved/a?b=1"))
    assert (answer.status, answer.get(b"location")) == (308, b"https://new.example/moved/a?b=1")


async def test_versions_are_services_and_paths(gate: Gate, backends: tuple[Backend, Backend]) -> None:
    answer = await gate.ask(get("/versions/v1/orders"))
    assert answer.get(b"sunset") == b"Thu, 01 Jan 2099 00:00:00 GMT"
    assert (await gate.ask(get("/versions/v2/orders"))).get(b"sunset") is None
    await gate.ask(get("/versions/v3/orders"))
    assert [x.target for x in await gate.reached()] == [b"/versions/orders", b"/versions/v3/orders"]
    assert [x.target for x in backends[1].requests] == [b"/base/two/versions/orders"]


async def test_error_bodies_are_what_the_client_accepts(gate: Gate) -> None:
    page = await gate.ask(get("/nowhere/<b>".replace("<b>", "%3Cb%3E"), "Accept: text/html,*/*;q=0.8"))
    assert (page.status, page.get(b"content-type"), page.get(b"vary")) == (404, b"text/html; charset=utf-8", b"accept")
    assert bytes(page.body) == b"<h1>Nothing is routed here</h1><p>/nowhere/%3Cb%3E</p>"
    check_problem(await gate.ask(get("/nowhere")))
    answer = await gate.ask(get("/keyed", "Accept: application/json", method="PUT"), b"PUT")
    assert (answer.get(b"content-type"), bytes(answer.body)) == (b"application/json", b'{"code":401}')
    assert answer.get(b"www-authenticate") is not None
    compressing = get("/keyed", "Accept: application/json", "Accept-Encoding: gzip", method="PUT")
    answer = await gate.ask(compressing, b"PUT")
    assert (answer.get(b"content-encoding"), bytes(answer.body)) == (None, b'{"code":401}')
    head = await gate.ask(get("/nowhere", "Accept: text/html", method="HEAD"), b"HEAD")
    assert (head.status, head.get(b"content-type")) == (404, b"text/html; charset=utf-8")


async def test_a_service_keeps_its_own_errors(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\ntheirs")
    answer = await gate.ask(get("/plain/x", "Accept: text/html"))
    assert (answer.status, bytes(answer.body), answer.get(b"content-type")) == (404, b"theirs", b"text/plain")


async def test_what_is_refused_in_a_services_place_ends_no_other_exchange(gate: Gate) -> None:
    """The next request of the client has begun before the target's connection is done with the first."""
    gate.backend.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
    client = await gate.say(get("/described", method="HEAD") + get("/plain/next"))
    assert (await client.response(b"HEAD")).status == 502
    assert (await client.response()).status == 201


async def test_the_record_has_the_clients_path(gate: Gate) -> None:
    await gate.ask(get("/edits/1-recorded"))
    node = gate.node
    for _ in range(200):
        if "/edits/1-recorded" in (node.directory / "access.log").read_text():
            return
        await node.ready()  # a moment: records are written in batches
    raise AssertionError("no record")
