"""Every path that the control API shares with Svix, against Svix's published OpenAPI document.

Each conversation below goes through a client that checks what was sent, the status and every field of the answer.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import svix_contract
from tests.support.control_api import URL, Api, running
from tests.support.svix_contract import Contract

from gatepost import ids
from gatepost.api.control import create_api
from gatepost.api.paths import own
from gatepost.clock import SystemClock
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint
from gatepost.stores.sqlite import SqliteStore

pytestmark = pytest.mark.skipif(
    not svix_contract.FILE.exists(), reason="the contract's document is not part of the repository"
)

# Paths that the contract does not have, and that refuse as it does.
ADDED = re.compile(
    r"/analytics/|/background-task|/(?:replay-missing|bulk-replay|skip|try)$|/msg/batch$|/v1/msg$|/poller/"
)

ENDPOINT: dict[str, Any] = {
    "url": URL,
    "uid": "first",
    "description": "Orders",
    "eventTypes": ["order.created", "order.paid"],
    "channels": ["project_1", "project_2"],
    "disabled": False,
    "metadata": {"team": "a"},
    "throttleRate": 7,
    "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return svix_contract.load()


@pytest.fixture
async def api(tmp_path: Path, contract: Contract) -> AsyncIterator[Api]:
    async with running(tmp_path, on_reply=contract.check) as api:
        yield api


async def test_apps(api: Api) -> None:
    new = {"name": "Shop", "uid": "shop", "metadata": {"plan": "gold"}, "throttleRate": 9}
    created = await api.post("/api/v1/app", new)
    assert created.status == 201
    assert {name: created.json[name] for name in new} == new
    assert (await api.post("/api/v1/app", new)).status == 409
    assert (await api.request("POST", "/api/v1/app", new, query={"get_if_exists": "true"})).status == 200
    for name in ("shop", created.json["id"]):
        assert (await api.get(f"/api/v1/app/{name}")).json == created.json
    assert (await api.put("/api/v1/app/shop", {"name": "Shop 2", "uid": "shop"})).json["metadata"] == {}
    assert (await api.put("/api/v1/app/other", {"name": "Other"})).status == 201
    assert (await api.patch("/api/v1/app/shop", {"uid": None})).json.get("uid") is None
    assert (await api.patch(f"/api/v1/app/{created.json['id']}", {"metadata": {"a": "b"}})).json["name"] == "Shop 2"
    assert (await api.get("/api/v1/app")).json["data"][0]["id"] == created.json["id"]
    assert (await api.post("/api/v1/app", {})).status == 422
    assert (await api.delete("/api/v1/app/other")).status == 204
    assert (await api.get("/api/v1/app/other")).status == 404


async def test_endpoints(api: Api) -> None:
    await api.make_app()
    base = "/api/v1/app/shop/endpoint"
    created = await api.post(base, ENDPOINT)
    assert created.status == 201
    shown = {name: value for name, value in ENDPOINT.items() if name != "secret"}
    assert {name: created.json[name] for name in shown} == shown
    assert "secret" not in created.json
    assert (await api.post(base, ENDPOINT)).status == 409
    assert (await api.post(base, {"url": "ftp://x"})).status == 422
    assert (await api.get(f"{base}/first")).json == created.json
    assert (await api.get(base)).json["data"] == [created.json]
    assert (await api.put(f"{base}/first", {"url": URL, "uid": "first"})).json.get("channels") is None
    assert (await api.put(f"{base}/second", {"url": URL})).status == 201
    assert (await api.patch(f"{base}/second", {"channels": ["a"], "disabled": True})).json["disabled"] is True
    assert (await api.delete(f"{base}/second")).status == 204
    assert (await api.delete(f"{base}/second")).status == 404


async def test_headers_and_secrets(api: Api) -> None:
    await api.make_app()
    base = "/api/v1/app/shop/endpoint/first"
    await api.post("/api/v1/app/shop/endpoint", ENDPOINT)
    headers = {"headers": {"X-Team": "a", "Authorization": "Basic abc"}}
    assert (await api.put(f"{base}/headers", headers)).status == 204
    assert (await api.get(f"{base}/headers")).json == {"headers": {"X-Team": "a"}, "sensitive": ["Authorization"]}
    assert (await api.patch(f"{base}/headers", {"headers": {"X-Team": None}})).status == 204
    assert (await api.put(f"{base}/headers", {"headers": {"Host": "a"}})).status == 422
    assert (await api.get(f"{base}/secret")).json == {"key": ENDPOINT["secret"]}
    assert (await api.post(f"{base}/secret/rotate", {"key": None})).status == 200
    assert (await api.get(f"{base}/secret")).json["key"] != ENDPOINT["secret"]


async def _traffic(api: Api) -> tuple[App, Endpoint, str]:
    app = await api.make_app()
    endpoint = await api.make_endpoint(app)
    message = await api.make_message(app, endpoint, channels=("project_1",), event_id="event-1")
    await api.make_attempt(message, endpoint, ok=False, state=State.PENDING, due=api.clock.now() + 5)
    await api.make_attempt(message, endpoint, tries=2)
    return app, endpoint, ids.encode("msg", message)


async def test_messages(api: Api) -> None:
    _, _, message = await _traffic(api)
    listed = (await api.get("/api/v1/app/shop/msg")).json
    assert [item["id"] for item in listed["data"]] == [message]
    for name in (message, "event-1"):
        assert (await api.get(f"/api/v1/app/shop/msg/{name}")).json == listed["data"][0]
    assert (await api.get("/api/v1/app/shop/msg/unknown")).status == 404
    assert (await api.get("/api/v1/app/shop/msg", limit=0)).status == 422


async def test_attempts(api: Api) -> None:
    _, endpoint, message = await _traffic(api)
    name = ids.encode("ep", endpoint.id)
    by_message = (await api.get(f"/api/v1/app/shop/attempt/msg/{message}")).json
    by_endpoint = (await api.get(f"/api/v1/app/shop/attempt/endpoint/{name}")).json
    assert [item["status"] for item in by_message["data"]] == [0, 2]
    assert by_message["data"] == by_endpoint["data"]
    attempt = by_message["data"][0]
    assert (await api.get(f"/api/v1/app/shop/msg/{message}/attempt/{attempt['id']}")).json == attempt
    assert (await api.get(f"/api/v1/app/shop/msg/{message}/attempt/atmpt_x")).status == 404
    assert (await api.get(f"/api/v1/app/shop/endpoint/{name}/msg")).json["data"][0]["status"] == 0
    assert (await api.get(f"/api/v1/app/shop/msg/{message}/endpoint")).json["data"][0]["id"] == name
    assert (await api.post(f"/api/v1/app/shop/msg/{message}/endpoint/{name}/resend")).status == 202
    assert (await api.post(f"/api/v1/app/shop/msg/{message}/endpoint/unknown/resend")).status == 404


async def test_contents_are_expunged(api: Api) -> None:
    _, _, message = await _traffic(api)
    attempt = (await api.get(f"/api/v1/app/shop/attempt/msg/{message}")).json["data"][0]["id"]
    assert (await api.delete(f"/api/v1/app/shop/msg/{message}/attempt/{attempt}/content")).status == 204
    assert (await api.delete("/api/v1/app/shop/msg/event-1/content")).status == 204
    assert (await api.get(f"/api/v1/app/shop/msg/{message}")).json["payload"] == {"expired": True}
    assert (await api.delete("/api/v1/app/shop/msg/unknown/content")).status == 404


async def test_statistics_and_an_example(api: Api) -> None:
    _, endpoint, _ = await _traffic(api)
    base = f"/api/v1/app/shop/endpoint/{ids.encode('ep', endpoint.id)}"
    assert (await api.get(f"{base}/stats")).json == {"success": 1, "fail": 0, "pending": 0, "sending": 0, "canceled": 0}
    assert (await api.get(f"{base}/stats", since="2030-01-01T00:00:00Z")).json["success"] == 0
    assert (await api.post(f"{base}/send-example", {"eventType": "order.paid"})).status == 404
    await api.post("/api/v1/event-type", ORDER_PAID)
    sent = await api.post(f"{base}/send-example", {"eventType": "order.paid"})
    assert (sent.status, sent.json["payload"]) == (200, {"id": 12345})
    assert (await api.get(f"{base}/stats")).json["sending"] == 1


ORDER_PAID = {
    "name": "order.paid",
    "description": "An order was paid",
    "archived": False,
    "deprecated": False,
    "featureFlag": "beta",
    "schemas": {"1": {"type": "object", "properties": {"id": {"type": "integer", "example": 12345}}}},
}


async def test_recovering(api: Api) -> None:
    _, endpoint, _ = await _traffic(api)
    base = f"/api/v1/app/shop/endpoint/{ids.encode('ep', endpoint.id)}"
    since = {"since": "2027-01-15T00:00:00Z", "until": "2027-01-15T08:00:00.5+00:00"}
    begun = await api.post(f"{base}/recover", since)
    assert (begun.status, begun.json["status"], begun.json["task"]) == (202, "running", "endpoint.recover")
    for wrong in ({}, {"since": "yesterday"}, {"since": "2030-01-01T00:00:00Z"}):
        assert (await api.post(f"{base}/recover", wrong)).status == 422


async def test_event_types(api: Api) -> None:
    base = "/api/v1/event-type"
    created = await api.post(base, ORDER_PAID)
    assert created.status == 201
    assert {name: created.json[name] for name in ORDER_PAID} == ORDER_PAID
    assert (await api.post(base, ORDER_PAID)).status == 409
    assert (await api.post(base, {"name": "x"})).status == 422
    assert (await api.get(f"{base}/order.paid")).json == created.json
    assert "schemas" not in (await api.get(base)).json["data"][0]
    assert (await api.get(base, with_content="true")).json["data"] == [created.json]
    assert (await api.put(f"{base}/order.sent", {"description": "Sent"})).status == 201
    assert (await api.put(f"{base}/order.sent", {"description": "It was sent"})).status == 200
    assert (await api.patch(f"{base}/order.sent", {"deprecated": True})).json["description"] == "It was sent"
    assert [each["name"] for each in (await api.get(base, order="descending")).json["data"]] == [
        "order.sent",
        "order.paid",
    ]
    page = (await api.get(base, limit=1)).json
    assert (page["done"], page["iterator"]) == (False, "order.paid")
    page = (await api.get(base, limit=1, iterator="order.paid")).json
    assert (page["data"][0]["name"], page["done"], page["prevIterator"]) == ("order.sent", True, "-order.sent")
    assert (await api.get(base, limit=1, iterator="-order.sent")).json["data"][0]["name"] == "order.paid"
    assert (await api.delete(f"{base}/order.sent")).status == 204
    assert len((await api.get(base)).json["data"]) == 1
    assert len((await api.get(base, include_archived="true")).json["data"]) == 2
    assert (await api.post(base, {"name": "order.sent", "description": "Back"})).status == 201
    assert (await api.request("DELETE", f"{base}/order.sent", query={"expunge": "true"})).status == 204
    assert (await api.get(f"{base}/order.sent")).status == 404


async def test_the_portal(api: Api) -> None:
    made = await api.post("/api/v1/auth/app-portal-access/shop", {"application": {"name": "Shop", "uid": "shop"}})
    assert made.status == 200
    assert made.json["token"].startswith("appsk_")
    assert "/portal#key=" in made.json["url"]
    assert (await api.post("/api/v1/auth/app-portal-access/other", {})).status == 404
    headers = {"authorization": f"Bearer {made.json['token']}"}
    assert (await api.request("POST", "/api/v1/auth/logout", headers=headers)).status == 204
    assert (await api.post("/api/v1/auth/logout")).status == 403


async def test_health(api: Api) -> None:
    assert (await api.get("/api/v1/health")).status == 204
    assert (await api.get("/api/v1/health/ping")).status == 204


def test_every_path_that_is_served_was_exercised_with_its_successes(contract: Contract, tmp_path: Path) -> None:
    """Each of our paths stands in the contract, with its parameters, and each success that it documents was seen in
    the conversations above."""
    if not contract.exercised:
        pytest.skip("looks back at the other tests of this file: run them all")
    api = create_api(SqliteStore(str(tmp_path / "x.db")), clock=SystemClock(), version="1")
    missing = []
    for path, methods in api.openapi()["paths"].items():
        if own(path) or ADDED.search(path):
            continue  # Gatepost's own, not of the contract
        for method, operation in methods.items():
            if operation["operationId"] == "v1.message.create":
                continue  # served by the engine: tests of events/create.py
            template, published = contract.operation(method, path)
            assert template == path
            assert operation["operationId"] == published.get("operationId", operation["operationId"])
            ours = {parameter["name"] for parameter in operation.get("parameters", ())}
            theirs = {parameter["name"] for parameter in published.get("parameters", ())}
            assert theirs <= ours, (method, path, theirs - ours)
            missing += [
                (method, path, status)
                for status in operation["responses"]
                if status < "300" and (method.upper(), path, int(status)) not in contract.exercised
            ]
    assert missing == []
