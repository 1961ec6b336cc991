"""Who changed what: what the API records of a change, and what it does not."""

from __future__ import annotations

from typing import Any

from tests.support.control_api import URL, Api


async def records(api: Api) -> list[dict[str, Any]]:
    reply = await api.get("/api/v1/audit")
    assert reply.status == 200, reply
    return list(reply.json["data"])


async def test_a_change_is_recorded_with_who_what_and_when(api: Api) -> None:
    app = (await api.post("/api/v1/app", {"name": "Shop", "uid": "shop"}, headers={"x-request-id": "req-7"})).json["id"]
    [record] = await records(api)
    assert record["id"].startswith("aud_")
    assert record["at"].startswith("2027-01-15T08:00:00")
    assert record == record | {
        "who": "admin", "method": "POST", "path": "/api/v1/app", "object": app, "fields": ["name", "uid"],
        "request_id": "req-7",
    }  # fmt: skip


async def test_fields_are_named_and_no_value_is_kept(api: Api) -> None:
    await api.post("/api/v1/app", {"name": "Shop", "uid": "shop"})
    made = await api.post("/api/v1/app/shop/endpoint", {"url": URL, "secret": "whsec_" + "QUJD" * 8})
    assert made.status == 201, made
    await api.patch("/api/v1/app/shop/endpoint/" + made.json["id"] + "/headers", {"headers": {"x-api-key": "hidden"}})
    found = await records(api)
    assert [(record["method"], record["fields"]) for record in found] == [
        ("PATCH", ["headers"]), ("POST", ["url", "secret"]), ("POST", ["name", "uid"]),
    ]  # fmt: skip
    assert found[1]["object"] == found[0]["object"] == made.json["id"]
    assert not {"hidden", "QUJD" * 8} & set(str(found))


async def test_reading_and_refusals_leave_no_record(api: Api) -> None:
    await api.make_app()
    assert (await api.get("/api/v1/app")).status == 200
    assert (await api.post("/api/v1/app", {"name": "Again", "uid": "shop"})).status == 409
    assert (await api.post("/api/v1/app", {})).status == 422
    assert (await api.delete("/api/v1/app/nobody")).status == 404
    assert await records(api) == []


async def test_an_answer_given_again_is_one_change(api: Api) -> None:
    for _ in range(2):
        reply = await api.post("/api/v1/app", {"name": "Shop"}, headers={"idempotency-key": "k"})
        assert reply.status == 201
    assert len(await records(api)) == 1


async def test_a_portal_is_told_apart_by_its_token_and_the_token_is_not_kept(api: Api) -> None:
    await api.make_app()
    token = "appsk_" + "a" * 40
    reply = await api.post("/api/v1/app/shop/endpoint", {"url": URL}, headers={"authorization": f"Bearer {token}"})
    assert reply.status == 201
    [record] = await records(api)
    assert record["who"].startswith("portal:")
    assert token not in str(record)


async def test_deleting_is_recorded_by_its_path(api: Api) -> None:
    await api.make_app()
    assert (await api.delete("/api/v1/app/shop")).status == 204
    [record] = await records(api)
    assert (record["method"], record["path"], record["fields"]) == ("DELETE", "/api/v1/app/shop", [])


async def test_records_come_in_pages(api: Api) -> None:
    for n in range(3):
        assert (await api.post("/api/v1/app", {"name": str(n), "uid": f"app-{n}"})).status == 201
        api.clock.advance(1)
    first = (await api.get("/api/v1/audit", limit=2)).json
    assert len(first["data"]) == 2
    assert first["done"] is False
    rest = (await api.get("/api/v1/audit", limit=2, iterator=first["iterator"])).json
    assert len(rest["data"]) == 1
    assert rest["done"] is True
    assert (await api.get("/api/v1/audit", iterator="nonsense")).status == 422
    assert len((await api.get("/api/v1/audit", after="2027-01-15T08:00:00.500Z")).json["data"]) == 2
