from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from tests.support.control_api import Api

from gatepost import ids

APPS = "/api/v1/app"


async def test_get_if_exists_makes_one_app_of_many_requests_at_once(api: Api) -> None:
    replies = await asyncio.gather(
        *(api.post(APPS, {"name": "Shop", "uid": "shop"}, query={"get_if_exists": True}) for _ in range(10))
    )
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    assert len({reply.json["id"] for reply in replies}) == 1


async def test_get_if_exists_without_a_uid_makes_a_new_one(api: Api) -> None:
    for _ in range(2):
        assert (await api.post(APPS, {"name": "Shop"}, query={"get_if_exists": "true"})).status == 201
    assert len(api.store.directory.apps) == 2


async def test_a_uid_is_taken_once(api: Api) -> None:
    await api.make_app("shop")
    await api.make_app("other")
    for reply in (
        await api.post(APPS, {"name": "x", "uid": "shop"}),
        await api.patch(f"{APPS}/other", {"uid": "shop"}),
        await api.put(f"{APPS}/other", {"name": "x", "uid": "shop"}),
    ):
        assert (reply.status, reply.json["code"]) == (409, "conflict")
        assert "uid 'shop'" in reply.json["detail"]


async def test_a_uid_must_not_look_like_the_id_of_another_app(api: Api) -> None:
    """It would answer to that app's name."""
    victim = ids.encode("app", (await api.make_app()).id)
    reply = await api.post(APPS, {"name": "x", "uid": victim})
    assert reply.status == 422
    assert reply.json["detail"][0]["loc"] == ["body", "uid"]
    assert (await api.post(APPS, {"name": "x", "uid": "app_of_mine"})).status == 201


_BAD_APPS: Final[list[Any]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": 5}, "name"),
    ({"name": "x", "uid": ""}, "uid"),
    ({"name": "x", "uid": "a b"}, "uid"),
    ({"name": "x", "uid": "a\n"}, "uid"),
    ({"name": "x", "uid": "a" * 257}, "uid"),
    ({"name": "x", "throttleRate": 0}, "throttleRate"),
    ({"name": "x", "throttleRate": "7"}, "throttleRate"),
    ({"name": "x", "metadata": {"a": 1}}, "metadata"),
    ({"name": "x", "metadata": None}, "metadata"),
]


async def test_what_is_not_valid_is_said_with_its_place(api: Api) -> None:
    for document, place in _BAD_APPS:
        reply = await api.post(APPS, document)
        assert reply.status == 422
        (fault,) = reply.json["detail"]
        assert fault["loc"][:2] == ["body", place]
        assert fault["type"].startswith(("value_error", "type_error"))


async def test_members_that_are_not_known_are_ignored(api: Api) -> None:
    assert (await api.post(APPS, {"name": "x", "later": True})).status == 201


async def test_a_patch_changes_only_what_it_names(api: Api) -> None:
    document = {"name": "Shop", "uid": "shop", "metadata": {"a": "b"}, "throttleRate": 5}
    made = (await api.post(APPS, document)).json
    api.clock.advance(60)
    changed = (await api.patch(f"{APPS}/shop", {"rateLimit": None, "name": "New"})).json
    assert changed["createdAt"] == made["createdAt"] == "2027-01-15T08:00:00.000Z"
    assert changed["updatedAt"] == "2027-01-15T08:01:00.000Z"
    assert (changed["name"], changed["uid"], changed["metadata"]) == ("New", "shop", {"a": "b"})
    assert "throttleRate" not in changed


async def test_put_makes_an_app_only_under_the_uid_in_its_path(api: Api) -> None:
    assert (await api.put(f"{APPS}/one", {"name": "x", "uid": "two"})).status == 422
    assert (await api.put(f"{APPS}/app_00000000007", {"name": "x"})).status == 404
    assert (await api.put(f"{APPS}/a%20b", {"name": "x"})).status == 422
    made = await api.put(f"{APPS}/one", {"name": "x", "uid": "one"})
    assert (made.status, made.json["uid"]) == (201, "one")
    assert (await api.put(f"{APPS}/one", {"name": "y", "uid": "one"})).status == 200


async def test_a_declared_app_is_read_only(api: Api) -> None:
    app = await api.make_app()
    await api.store.put_app(msgspec.structs.replace(app, declared=True))
    for reply in (
        await api.put(f"{APPS}/shop", {"name": "x"}),
        await api.patch(f"{APPS}/shop", {"name": "x"}),
        await api.delete(f"{APPS}/shop"),
    ):
        assert (reply.status, reply.json["code"]) == (409, "conflict")
        assert "gatepost.yaml" in reply.json["detail"]
    assert (await api.get(f"{APPS}/shop")).json["name"] == "Shop"


async def test_a_deleted_app_is_gone_with_its_endpoints(api: Api) -> None:
    app = await api.make_app()
    await api.make_endpoint(app)
    assert (await api.delete(f"{APPS}/shop")).status == 204
    assert (await api.get(f"{APPS}/shop/endpoint")).status == 404
    assert not api.store.directory.endpoints


async def test_changes_at_once_lose_nothing(api: Api) -> None:
    await api.make_app()
    await asyncio.gather(
        api.patch(f"{APPS}/shop", {"name": "New"}),
        api.patch(f"{APPS}/shop", {"metadata": {"a": "b"}}),
        api.patch(f"{APPS}/shop", {"throttleRate": 3}),
    )
    app = (await api.get(f"{APPS}/shop")).json
    assert (app["name"], app["metadata"], app["throttleRate"]) == ("New", {"a": "b"}, 3)


async def test_a_change_that_waits_for_a_deletion_finds_nothing(api: Api) -> None:
    await api.make_app()
    deleted, changed = await asyncio.gather(api.delete(f"{APPS}/shop"), api.patch(f"{APPS}/shop", {"name": "New"}))
    assert (deleted.status, changed.status) == (204, 404)
