"""Many messages in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.control_api import URL, Api

from gatepost.stores import jobs
from gatepost.stores.base import NewMessage

BATCH = "/api/v1/app/shop/msg/batch"
MANY = "/api/v1/msg"


def an_order(number: int, **fields: Any) -> dict[str, Any]:
    return {"eventType": "order.created", "payload": {"n": number}, **fields}


@pytest.fixture
def commits(api: Api) -> list[int]:
    """How many messages each transaction had."""
    sizes: list[int] = []

    def heard(messages: Sequence[NewMessage]) -> None:
        sizes.append(len(messages))

    api.store.on_commit(heard)
    return sizes


async def test_a_batch_is_one_transaction_in_its_order(
    api: Api, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ROWS", 10)
    app = await api.make_app()
    endpoint = await api.make_endpoint(app, uid="e")
    reply = await api.post(BATCH, {"messages": [an_order(n) for n in range(50)]})
    assert reply.status == 202
    assert {each["status"] for each in reply.json["data"]} == {"accepted"}
    assert commits == [50]
    listed = (await api.get("/api/v1/app/shop/msg", limit=250)).json["data"]
    assert [each["id"] for each in listed][::-1] == [each["id"] for each in reply.json["data"]]
    assert [each["payload"]["n"] for each in listed] == list(range(50))[::-1]
    assert (await api.store.count_deliveries(app.key, endpoint.key, None, None)).untried == 50


async def test_payloads_keep_their_bytes(api: Api) -> None:
    await api.make_app()
    raw = b'{"messages":[{"eventType":"a","payload":{"b": 1.50,  "a":"\\u00e9"}}]}'
    made = (await api.request("POST", BATCH, raw=raw)).json["data"][0]["id"]
    assert b'{"b": 1.50,  "a":"\\u00e9"}' in (await api.get(f"/api/v1/app/shop/msg/{made}")).body


async def test_one_that_is_not_valid_refuses_them_all_with_every_fault(api: Api) -> None:
    await api.make_app()
    schema = {"type": "object", "required": ["n"]}
    await api.post("/api/v1/event-type", {"name": "order.created", "description": "", "schemas": {"1": schema}})
    wrong = {"eventType": "order.created", "payload": {}}
    reply = await api.post(BATCH, {"messages": [an_order(1), wrong, {"eventType": "!", "payload": []}]})
    assert reply.status == 422
    places = [fault["loc"] for fault in reply.json["detail"]]
    assert places == [
        ["body", "messages", "1", "payload"],
        ["body", "messages", "2", "eventType"],
        ["body", "messages", "2", "payload"],
    ]
    assert (await api.get("/api/v1/app/shop/msg")).json["data"] == []
    for body in ({}, {"messages": []}, {"messages": [{}]}, {"messages": [an_order(1)] * 501}):
        assert (await api.post(BATCH, body)).status == 422
    assert (await api.request("POST", BATCH, raw=b"{")).status == 422


async def test_a_batch_that_is_sent_again_makes_what_is_missing(api: Api) -> None:
    await api.make_app()
    first = (await api.post(BATCH, {"messages": [an_order(1, eventId="a")]})).json["data"]
    again = (await api.post(BATCH, {"messages": [an_order(1, eventId="a"), an_order(2, eventId="b")]})).json["data"]
    assert again[0] == {"id": first[0]["id"], "status": "conflict"}
    assert again[1]["status"] == "accepted"


async def test_one_message_goes_to_the_apps_that_are_named(api: Api, commits: list[int]) -> None:
    for uid in ("a", "b", "c"):
        await api.make_app(uid)
    reply = await api.post(MANY, an_order(1, apps=["a", "c", "a"]))
    assert (reply.status, reply.json["accepted"], commits) == (202, 2, [2])
    assert [len((await api.get(f"/api/v1/app/{uid}/msg")).json["data"]) for uid in "abc"] == [1, 0, 1]
    unknown = await api.post(MANY, an_order(1, apps=["a", "nobody"]))
    assert (unknown.status, unknown.json["detail"][0]["loc"]) == (422, ["body", "apps", "1"])


async def test_one_message_goes_to_the_apps_that_fit(api: Api) -> None:
    for uid, plan in (("a", "gold"), ("b", "free"), ("c", None)):
        body = {"name": uid, "uid": uid, "metadata": {} if plan is None else {"plan": plan}}
        assert (await api.post("/api/v1/app", body)).status == 201
        await api.post(f"/api/v1/app/{uid}/endpoint", {"url": URL})
    reply = await api.post(MANY, an_order(1, match="app.metadata.plan == 'gold' || app.uid == 'c'"))
    assert reply.json["accepted"] == 2
    assert [len((await api.get(f"/api/v1/app/{uid}/msg")).json["data"]) for uid in "abc"] == [1, 0, 1]
    for wrong in ({"match": "app.plan =="}, {"match": "payload.x"}, {}, {"apps": ["a"], "match": "true"}):
        assert (await api.post(MANY, an_order(1, **wrong))).status == 422
