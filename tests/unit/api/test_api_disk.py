"""A disk that refuses: changes by the API answer 503 and leave nothing behind, reading goes on, it ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.control_api import URL, Api, running
from tests.support.stores import FaultyDisk


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
async def api(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[Api]:
    with disk.installed():
        async with running(tmp_path) as api:
            yield api
            disk.full = disk.read_only = False


# Every kind of thing that the API changes, and one read that must go on.
CHANGES = (
    ("POST", "/api/v1/app", {"name": "New"}),
    ("PUT", "/api/v1/app/shop", {"name": "Other", "uid": "shop"}),
    ("PATCH", "/api/v1/app/shop", {"name": "Other"}),
    ("DELETE", "/api/v1/app/shop", None),
    ("POST", "/api/v1/app/shop/endpoint", {"url": URL}),
    ("PATCH", "/api/v1/app/shop/endpoint/partner", {"disabled": True}),
    ("PATCH", "/api/v1/app/shop/endpoint/partner/headers", {"headers": {"x-a": "b"}}),
    ("POST", "/api/v1/app/shop/endpoint/partner/secret/rotate", {}),
    ("DELETE", "/api/v1/app/shop/endpoint/partner", None),
    ("POST", "/api/v1/event-type", {"name": "order.created", "description": "An order"}),
    ("POST", "/api/v1/consumer", {"name": "web"}),
    ("POST", "/api/v1/plan", {"name": "gold"}),
)


@pytest.mark.parametrize("trouble", ["full", "read_only"])
async def test_changes_answer_503_and_the_same_request_goes_through_later(
    api: Api, disk: FaultyDisk, trouble: str
) -> None:
    app = await api.make_app()
    endpoint = await api.make_endpoint(app, uid="partner")
    before = (await api.get("/api/v1/audit")).json["data"]
    setattr(disk, trouble, True)
    for method, path, body in CHANGES:
        reply = await api.request(method, path, body)
        assert reply.status == 503, (method, path, reply)
        assert reply.headers["retry-after"] == "1"
        assert "send the request again" in str(reply.json["detail"])
    assert api.store.directory.apps == {app.key: app}
    assert api.store.directory.endpoints == {endpoint.key: endpoint}
    assert (await api.get("/api/v1/app/shop/endpoint/partner")).json["disabled"] is False
    assert (await api.get("/api/v1/audit")).json["data"] == before

    setattr(disk, trouble, False)
    async with asyncio.timeout(5):
        while not api.store.writable:
            await asyncio.sleep(0.01)  # its own look at the disk, once a second
    for method, path, body in (CHANGES[0], CHANGES[2], CHANGES[5]):
        reply = await api.request(method, path, body)
        assert reply.status < 300, (method, path, reply)
    assert len((await api.get("/api/v1/audit")).json["data"]) == len(before) + 3


async def test_an_answer_that_failed_for_want_of_room_is_not_given_again(api: Api, disk: FaultyDisk) -> None:
    """The key of a request that was refused is free: the same one, sent again, makes what it asks for."""
    disk.full = True
    same = {"headers": {"idempotency-key": "k"}}
    assert (await api.post("/api/v1/app", {"name": "New"}, **same)).status == 503
    disk.full = False
    assert (await api.post("/api/v1/app", {"name": "New"}, **same)).status == 201
