"""`settings` of an endpoint: what may stand there, what is shown of it, and trying it on a sample."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support.asgi import AsgiClient
from tests.support.control_api import URL, Api

from gatepost import ids
from gatepost.api.control import create_api
from gatepost.config.destinations import Command, DestinationDecl, Valkey
from gatepost.config.values import Secret
from gatepost.model import Batching, EndpointSettings, Signing

BASE = "/api/v1/app/shop/endpoint"
WHOLE: dict[str, Any] = {
    "filter": "payload.total > 100",
    "transform": "{'id': payload.order_id}",
    "encoding": "gzip",
    "batch": {"messages": 10, "wait": 0.5, "format": "cloudevents"},
    "schedule": [5, 60],
    "deadline": 3600,
    "concurrency": 4,
    "ordering": "payload.customer",
    "signing": {"prefix": "acme", "svix": True},
}


async def made(api: Api, **settings: Any) -> str:
    await api.make_app()
    reply = await api.post(BASE, {"url": URL, "uid": "e", "settings": settings})
    assert reply.status == 201, reply
    return f"{BASE}/e"


async def stored(api: Api) -> EndpointSettings:
    (endpoint,) = api.store.directory.endpoints.values()
    return endpoint.settings


async def test_settings_are_kept_and_shown(api: Api) -> None:
    path = await made(api, **WHOLE)
    assert await stored(api) == EndpointSettings(
        filter="payload.total > 100",
        transform="{'id': payload.order_id}",
        encoding="gzip",
        batch=Batching(messages=10, wait=0.5, format="cloudevents"),
        schedule=(5.0, 60.0),
        deadline=3600.0,
        concurrency=4,
        ordering="payload.customer",
        signing=Signing(prefix="acme", svix=True),
    )
    assert (await api.get(path)).json["settings"] == WHOLE


async def test_a_patch_changes_what_it_names_and_null_is_the_default(api: Api) -> None:
    path = await made(api, **WHOLE)
    shown = (await api.patch(path, {"settings": {"filter": None, "concurrency": 9}})).json["settings"]
    assert shown == {name: value for name, value in WHOLE.items() if name != "filter"} | {"concurrency": 9}
    assert (await api.patch(path, {"description": "x"})).json["settings"] == shown
    assert (await api.put(path, {"url": URL, "uid": "e"})).json["settings"] == shown


async def test_without_settings_an_endpoint_shows_none(api: Api) -> None:
    assert "settings" not in (await api.get(await made(api))).json


@pytest.mark.parametrize(
    ("settings", "place", "reason"),
    [
        ({"filter": "payload.total >"}, ["filter"], ""),
        ({"filter": "nobody.total"}, ["filter"], "nobody"),
        ({"transform": "'a' +"}, ["transform"], ""),
        ({"ordering": "payload["}, ["ordering"], ""),
        ({"transform": "payload", "payload": "thin"}, ["transform"], "choose one"),
        ({"payload": "thick"}, ["payload"], "thick"),
        ({"encoding": "br"}, ["encoding"], "br"),
        ({"batch": {"messages": 0}}, ["batch", "messages"], "1 to 1000"),
        ({"batch": {"size": 7}}, ["batch"], "size"),
        ({"batch": {"wait": 301}}, ["batch", "wait"], "300"),
        ({"schedule": [-1]}, ["schedule"], "not less than 0"),
        ({"schedule": [1] * 101}, ["schedule"], "100 tries"),
        ({"deadline": 0}, ["deadline"], "a second"),
        ({"concurrency": 0}, ["concurrency"], "1 to 1000"),
        ({"signing": {"prefix": "X Y"}}, ["signing", "prefix"], "header name"),
        ({"destination": "script"}, ["destination"], "script"),
        ({"auth": {"kind": "bearer", "token": "(kept)"}}, ["auth", "token"], "nothing is kept"),
        ({"auth": {"kind": "magic"}}, ["auth", "kind"], "magic"),
        ({"auth": {"kind": "mtls", "certificate": "x", "key": "y"}}, ["auth", "certificate"], "PEM"),
        ({"retries": 7}, [], "retries"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_place(
    api: Api, settings: dict[str, Any], place: list[str], reason: str
) -> None:
    await api.make_app()
    reply = await api.post(BASE, {"url": URL, "settings": settings})
    assert reply.status == 422
    (fault,) = reply.json["detail"]
    assert fault["loc"] == ["body", "settings", *place]
    assert reason in fault["msg"]
    assert not api.store.directory.endpoints


async def test_every_fault_is_told_at_once(api: Api) -> None:
    await api.make_app()
    reply = await api.post(BASE, {"url": URL, "settings": {"filter": "(", "deadline": 0, "concurrency": 0}})
    assert [fault["loc"][2] for fault in reply.json["detail"]] == ["filter", "deadline", "concurrency"]


async def test_a_token_is_not_fetched_from_inside(api: Api) -> None:
    await api.make_app()
    auth = {"kind": "oauth2", "token_url": "http://169.254.169.254/t", "client_id": "a", "client_secret": "b"}
    reply = await api.post(BASE, {"url": URL, "settings": {"auth": auth}})
    assert (reply.status, reply.json["detail"][0]["loc"]) == (422, ["body", "settings", "auth", "token_url"])


async def test_secrets_are_not_shown_and_stay_when_they_are_written_back(api: Api) -> None:
    path = await made(api, auth={"kind": "basic", "username": "ann", "password": "hunter2"})
    reply = await api.get(path)
    assert b"hunter2" not in reply.body
    shown = reply.json["settings"]
    assert shown["auth"] == {"kind": "basic", "username": "ann", "password": "(kept)"}
    shown["auth"]["username"] = "bob"
    await api.patch(path, {"settings": shown})
    auth = msgspec.to_builtins((await stored(api)).auth)
    assert auth == {"kind": "basic", "username": "bob", "password": "hunter2"}


async def test_only_destinations_that_are_open_to_the_api_can_be_named(api: Api) -> None:
    stream, run = Valkey(url=Secret("redis://127.0.0.1")), Command(run=("/bin/true",))
    named = {"open": DestinationDecl(valkey=stream, api=True), "closed": DestinationDecl(command=run)}
    client = AsgiClient(create_api(api.store, clock=api.clock, version="1", named=named))
    await api.make_app()
    body = {"url": URL, "settings": {"destination": "open"}}
    assert (await client.post(BASE, body)).status == 201
    portal = {"authorization": "Bearer appsk_x"}
    assert (await client.post(BASE, body, headers=portal)).status == 403
    refused = await client.post(BASE, {"url": URL, "settings": {"destination": "closed"}})
    assert "not open to the API" in refused.json["detail"][0]["msg"]


async def test_types_by_prefix_may_be_asked_for(api: Api) -> None:
    await api.make_app()
    assert (await api.post(BASE, {"url": URL, "eventTypes": ["order.*", "a"]})).json["eventTypes"] == ["a", "order.*"]
    for wrong in ("*", "order*", "order.*.paid", ".*"):
        assert (await api.post(BASE, {"url": URL, "eventTypes": [wrong]})).status == 422


async def test_settings_are_tried_on_a_sample_and_not_saved(api: Api) -> None:
    path = await made(api, filter="payload.total > 100")
    sample = {"eventType": "order.created", "payload": {"total": 250, "order_id": 7}}
    assert (await api.post(f"{path}/try", sample)).json == {"wanted": True, "body": sample["payload"]}
    small = sample | {"payload": {"total": 5}}
    assert (await api.post(f"{path}/try", small)).json == {"wanted": False}
    transform = {"settings": {"transform": "{'id': payload.order_id}"}}
    assert (await api.post(f"{path}/try", sample | transform)).json == {"wanted": True, "body": {"id": 7}}
    failing = {"settings": {"filter": None, "transform": "payload.nothing.here"}}
    assert "error" in (await api.post(f"{path}/try", sample | failing)).json
    assert (await api.post(f"{path}/try", sample | {"settings": {"filter": "("}})).status == 422
    assert await stored(api) == EndpointSettings(filter="payload.total > 100")


async def test_what_holds_up_a_line_can_be_skipped(api: Api) -> None:
    app = await api.make_app()
    endpoint = await api.make_endpoint(app, uid="e")
    message = await api.make_message(app, endpoint, event_id="first")
    body = {"message": "first"}
    assert (await api.post(f"{BASE}/e/skip", body)).json == {"message": ids.encode("msg", message)}
    assert (await api.post(f"{BASE}/e/skip", body)).status == 409
    (sent,) = (await api.get(f"/api/v1/app/shop/msg/{ids.encode('msg', message)}/endpoint")).json["data"]
    assert sent["statusText"] == "canceled"
