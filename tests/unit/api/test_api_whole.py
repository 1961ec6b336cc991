"""What holds for every path: refusals, repeated requests, the documents, health."""

from __future__ import annotations

import asyncio
import inspect
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.support.asgi import AsgiClient
from tests.support.control_api import URL, Api
from tests.support.exchanges import RecordingDownstream, make_exchange

from gatepost import log
from gatepost.api import idempotency
from gatepost.api.control import create_api
from gatepost.api.idempotency import Idempotency
from gatepost.api.paths import OPEN_PATHS, own
from gatepost.clock import ManualClock
from gatepost.errors import StoreUnavailable
from gatepost.stores.control import KeptAnswer
from gatepost.upstream.asgi import AsgiHandler

APPS = "/api/v1/app"


# refusals


async def test_every_refusal_has_the_shape_that_svix_clients_read(api: Api) -> None:
    await api.make_app()
    for method, path, raw, status, code in (
        ("GET", "/nowhere", b"", 404, "not_found"),
        ("GET", f"{APPS}/", b"", 404, "not_found"),
        ("GET", f"{APPS}/none", b"", 404, "not_found"),
        ("PATCH", APPS, b"{}", 405, "method_not_allowed"),
    ):
        reply = await api.request(method, path, raw=raw)
        assert (reply.status, reply.json["code"]) == (status, code)
        assert reply.json["detail"]
        assert reply.headers["content-type"] == "application/json"
    assert (await api.request("PATCH", APPS)).headers["allow"] == "GET, POST"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"name": "x"}}', b"[1]", b'"name"'])
async def test_a_body_that_is_no_json_object(api: Api, raw: bytes) -> None:
    reply = await api.request("POST", APPS, raw=raw)
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["body"]


async def test_a_store_that_cannot_write_is_503_and_says_when_to_try_again(api: Api) -> None:
    await api.make_app()
    await api.store.close()
    reply = await api.post(APPS, {"name": "x"})
    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "unavailable", "1")
    assert (await api.get("/api/v1/health")).status == 503
    assert (await api.get("/api/v1/health/ping")).status == 204
    assert (await api.get(f"{APPS}/shop")).status == 200


async def test_a_body_is_json_unless_it_says_otherwise(api: Api) -> None:
    for kind in ("application/json; charset=utf-8", ""):
        assert (await api.post(APPS, {"name": "x"}, headers={"content-type": kind})).status == 201
    reply = await api.post(APPS, {"name": "x"}, headers={"content-type": "application/x-www-form-urlencoded"})
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["header", "content-type"]


async def test_a_fault_of_ours_is_one_log_line_and_shows_nothing_of_itself(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Any) -> None:
        raise RuntimeError("swordfish")

    monkeypatch.setattr(api.store, "put_app", broken)
    over = asyncio.Event()
    client = RecordingDownstream(on_end=over.set)
    json = [(b"content-type", b"application/json")]
    x, _ = make_exchange("POST", APPS, json, b'{"name": "x"}', downstream=client)
    handler = AsgiHandler(api.app)
    with log.recorded() as events:
        handler.handle(x)
        await asyncio.wait_for(over.wait(), 5)
        await handler.shutdown()
    assert client.status == 500
    assert b'"code":"server_error"' in client.body
    assert b"swordfish" not in client.body
    assert [event["reason"] for event in events] == ["RuntimeError: swordfish"]


async def test_what_went_meanwhile_is_not_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.make_app()

    async def gone(_: Any) -> None:
        raise LookupError("the app is gone")

    monkeypatch.setattr(api.store, "put_endpoint", gone)
    reply = await api.post(f"{APPS}/shop/endpoint", {"url": URL})
    assert (reply.status, reply.json["detail"]) == (404, "The app is gone.")


async def test_health_answers_head(api: Api) -> None:
    for path in ("/api/v1/health", "/api/v1/health/ping"):
        reply = await api.request("HEAD", path)
        assert (reply.status, reply.body) == (204, b"")


# repeated requests


async def test_a_repeated_post_gets_the_first_ones_answer(api: Api) -> None:
    key = {"idempotency-key": "auto_1"}
    first = await api.post(APPS, {"name": "x"}, headers=key)
    again = await api.post(APPS, {"name": "x"}, headers=key)
    other = await api.post(APPS, {"name": "x"}, headers={"idempotency-key": "auto_2"})
    assert first == again
    assert first.json["id"] != other.json["id"]
    assert len(api.store.directory.apps) == 2


async def test_a_key_with_another_body_is_refused(api: Api) -> None:
    key = {"idempotency-key": "k"}
    await api.post(APPS, {"name": "x"}, headers=key)
    reply = await api.post(APPS, {"name": "y"}, headers=key)
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["header", "idempotency-key"]


async def test_a_key_is_of_one_path(api: Api) -> None:
    key = {"idempotency-key": "k"}
    for uid in ("a", "b"):
        await api.make_app(uid)
        assert (await api.post(f"{APPS}/{uid}/endpoint", {"url": URL}, headers=key)).status == 201
    assert len(api.store.directory.endpoints) == 2


async def test_two_at_once_make_one(api: Api) -> None:
    key = {"idempotency-key": "k"}
    async with asyncio.timeout(5):
        replies = await asyncio.gather(*(api.post(APPS, {"name": "x"}, headers=key) for _ in range(5)))
    assert len({reply.body for reply in replies}) == 1
    assert len(api.store.directory.apps) == 1


async def test_what_failed_may_be_tried_again_with_its_key(api: Api) -> None:
    await api.make_app("taken")
    key = {"idempotency-key": "k"}
    assert (await api.post(APPS, {"name": "x", "uid": "taken"}, headers=key)).status == 409
    await api.delete(f"{APPS}/taken")
    assert (await api.post(APPS, {"name": "x", "uid": "taken"}, headers=key)).status == 201


async def test_a_key_is_kept_for_twelve_hours(api: Api) -> None:
    key = {"idempotency-key": "k"}
    await api.post(APPS, {"name": "x"}, headers=key)
    api.clock.advance(idempotency.SECONDS - 1)
    await api.post(APPS, {"name": "x"}, headers=key)
    assert len(api.store.directory.apps) == 1
    api.clock.advance(1)
    await api.post(APPS, {"name": "x"}, headers=key)
    assert len(api.store.directory.apps) == 2


async def test_an_answer_that_its_client_did_not_wait_for_is_there_when_it_asks_again() -> None:
    made = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        made += 1
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"made"})

    kept = Idempotency(app, ManualClock(), Answers())
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"idempotency-key", b"k")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def gone(_: Any) -> None:
        raise OSError("the client has gone")

    await kept(scope, receive, gone)
    reply = await AsgiClient(kept, {"idempotency-key": "k"}).post("/")
    assert (reply.status, reply.body, made) == (201, b"made", 1)


async def test_a_failure_wakes_those_who_waited_for_it_and_one_of_them_tries() -> None:
    calls = 0
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await go.wait()
            raise StoreUnavailable("full")
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"made"})

    client = AsgiClient(Idempotency(app, ManualClock(), Answers()), {"idempotency-key": "k"})
    waiting = [asyncio.ensure_future(client.post("/")) for _ in range(4)]
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(5):
        first, *others = await asyncio.gather(*waiting)
    assert [reply.status for reply in (first, *others)] == [503, 201, 201, 201]
    assert calls == 2


async def test_the_memory_for_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"made"})

    monkeypatch.setattr(idempotency, "KEPT", 3)
    kept = Idempotency(app, ManualClock(), Answers())
    for number in range(10):
        await AsgiClient(kept, {"idempotency-key": str(number)}).post("/")
    assert len(kept._first) == 3


async def test_keys_that_a_library_made_are_kept_for_ten_minutes(api: Api) -> None:
    key = {"idempotency-key": "auto_1"}
    for seconds in (0.0, idempotency.AUTO_SECONDS - 1):
        api.clock.advance(seconds)
        await api.post(APPS, {"name": "x"}, headers=key)
    assert len(api.store.directory.apps) == 1
    api.clock.advance(1)
    await api.post(APPS, {"name": "x"}, headers=key)
    assert len(api.store.directory.apps) == 2


async def test_an_answer_is_given_again_after_a_restart_and_one_with_a_secret_stands_on_no_disk(api: Api) -> None:
    key = {"idempotency-key": "k"}
    first = await api.post(APPS, {"name": "x", "uid": "a"}, headers=key)
    await api.post(f"{APPS}/a/endpoint", {"url": URL, "uid": "e"})
    rotated = f"{APPS}/a/endpoint/e/secret/rotate"
    secret = (await api.post(rotated, {}, headers=key)).json["key"]
    assert (await api.post(rotated, {}, headers=key)).json["key"] == secret
    reborn = AsgiClient(create_api(api.store, clock=api.clock, version="1"))
    again = await reborn.post(APPS, {"name": "x", "uid": "a"}, headers=key)
    assert (again.status, again.body) == (first.status, first.body)
    assert (await reborn.post(APPS, {"name": "y"}, headers=key)).status == 422
    assert (await reborn.post(rotated, {}, headers=key)).json["key"] != secret


async def test_one_key_of_two_callers_is_two(api: Api) -> None:
    answers = [
        await api.post(APPS, {"name": "x"}, headers={"idempotency-key": "k", "authorization": f"Bearer {who}"})
        for who in "ab"
    ]
    assert answers[0].json["id"] != answers[1].json["id"]


class Answers:
    """What a store keeps, as long as it lives."""

    def __init__(self) -> None:
        self._kept: dict[bytes, KeptAnswer] = {}

    async def keep_answer(self, place: bytes, answer: KeptAnswer, expires: float) -> None:
        self._kept.setdefault(place, answer)

    async def kept_answer(self, place: bytes) -> KeptAnswer | None:
        return self._kept.get(place)


# the documents


async def test_the_openapi_document_is_whole(api: Api) -> None:
    document = (await api.get("/api/v1/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == "1.2.3"
    text = str(document)
    referred = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert referred == set(document["components"]["schemas"])
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations) > 40
    for path, _, operation in operations:
        assert operation["description"]
        assert operation.get("security") == ([] if path in OPEN_PATHS else None)


async def test_the_document_says_which_refusals_are_problem_documents(api: Api) -> None:
    for path, methods in (await api.get("/api/v1/openapi.json")).json["paths"].items():
        for operation in methods.values():
            refusals = {
                kind
                for status, each in operation["responses"].items()
                if status[0] in "45"
                for kind in each.get("content", {})
            }
            if refusals:
                assert refusals == {"application/problem+json" if own(path) else "application/json"}, path


async def test_the_start_makes_the_document(api: Api) -> None:
    """It takes 0.2 s, which no request should wait for."""
    async with api.app.router.lifespan_context(api.app):
        assert api.app.openapi_schema is not None


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(str(value))
            if name == "id":
                self.anchors.add(str(value))


async def test_the_docs_page_loads_nothing_and_its_links_lead_somewhere(api: Api) -> None:
    assert (await api.get("/")).headers["location"] == "/docs"
    reply = await api.get("/docs")
    page = Page(reply.body.decode())
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert not page.tags & {"script", "img", "link", "iframe"}
    for link in page.links:
        assert link == "/api/v1/openapi.json" or link.removeprefix("#") in page.anchors, link
    for path in (await api.get("/api/v1/openapi.json")).json["paths"]:
        assert f"<code>{path}</code>" in reply.body.decode()


def test_nothing_in_the_api_runs_in_a_thread(api: Api) -> None:
    """FastAPI calls a plain `def` in a thread pool, which costs twice as much and runs beside the loop."""
    seen = 0
    for route in api.app.routes:
        assert isinstance(route, APIRoute)
        for function in (route.endpoint, *(dependency.call for dependency in route.dependant.dependencies)):
            assert inspect.iscoroutinefunction(function), function
            seen += 1
    assert seen > 28
