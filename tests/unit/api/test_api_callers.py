"""Consumers, keys and plans over the control API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import Reply
from tests.support.control_api import Api, running

from gatepost.config import schema
from gatepost.config.secrets import Secret
from gatepost.notices import Facts
from gatepost.stores.access import Access

CONSUMERS, PLANS = "/api/v1/consumer", "/api/v1/plan"
DECLARED = {
    "web-shop": schema.Consumer(keys=(schema.ConsumerKey(sha256=Secret("ab" * 32)),), tags=("own",), plans=("free",))
}
FILE_PLANS = {"free": schema.Plan(rate_limits={"default": schema.PlanRate(limit=10, window=90.0)})}


class Told:
    """Notices, written down."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.notices.append((event_type, subject, facts))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def api(tmp_path: Path, told: Told) -> AsyncIterator[Api]:
    apis: list[Api] = []

    def access() -> Access:
        api = apis[0]
        return Access(DECLARED, FILE_PLANS, api.store.access, api.clock.now)

    async with running(tmp_path, access=access, notices=told) as api:
        apis.append(api)
        yield api


async def made(api: Api, name: str = "partner", **fields: Any) -> dict[str, Any]:
    reply = await api.post(CONSUMERS, {"name": name, **fields})
    assert reply.status == 201, reply
    api.clock.advance(0.001)
    return reply.json  # type: ignore[no-any-return]


async def key_of(api: Api, consumer: str = "partner", **fields: Any) -> dict[str, Any]:
    reply = await api.post(f"{CONSUMERS}/{consumer}/key", fields)
    assert reply.status == 201, reply
    api.clock.advance(0.001)
    return reply.json  # type: ignore[no-any-return]


def who(api: Api, key: str) -> str | None:
    access = Access(DECLARED, FILE_PLANS, api.store.access, api.clock.now)
    consumer = access.by_key(sha256(key.encode()).digest())
    return None if consumer is None else consumer.id


def refused(reply: Reply, status: int, slug: str) -> dict[str, Any]:
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = reply.json
    assert document["type"] == f"urn:gatepost:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    return document


# consumers


async def test_a_consumer_from_its_making_to_its_end(api: Api) -> None:
    one = await made(api, tags=["eu"], metadata={"tier": "gold"}, plans=["free"], routes=["orders"])
    assert one == {
        "id": one["id"],
        "name": "partner",
        "tags": ["eu"],
        "metadata": {"tier": "gold"},
        "plans": ["free"],
        "routes": ["orders"],
        "disabled": False,
        "declared": False,
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
    }
    for name in (one["id"], "partner"):
        assert (await api.get(f"{CONSUMERS}/{name}")).json == one
    changed = (await api.patch(f"{CONSUMERS}/partner", {"name": "friend", "routes": None, "disabled": True})).json
    assert changed == one | {
        "name": "friend",
        "routes": None,
        "disabled": True,
        "updated_at": "2027-01-15T08:00:00.001Z",
    }
    refused(await api.get(f"{CONSUMERS}/partner"), 404, "not-found")
    assert (await api.delete(f"{CONSUMERS}/friend")).status == 204
    refused(await api.get(f"{CONSUMERS}/{one['id']}"), 404, "not-found")
    refused(await api.delete(f"{CONSUMERS}/friend"), 404, "not-found")


async def test_what_is_not_valid_is_told_all_at_once(api: Api) -> None:
    body = {"name": "a b", "tags": [1], "plans": "free", "colour": "red"}
    document = refused(await api.post(CONSUMERS, body), 422, "request-invalid")
    assert {error["pointer"] for error in document["errors"]} == {"#/name", "#/tags/0", "#/plans", "#/colour"}
    assert all(error["detail"] for error in document["errors"])
    document = refused(
        await api.post(CONSUMERS, {"name": "a", "plans": ["free", "gold", "lead"]}), 422, "request-invalid"
    )
    assert document["errors"] == [
        {"detail": "there is no plan 'gold'", "pointer": "#/plans/1"},
        {"detail": "there is no plan 'lead'", "pointer": "#/plans/2"},
    ]
    document = refused(await api.get(CONSUMERS, limit=0), 422, "request-invalid")
    assert document["errors"][0]["parameter"] == "limit"
    document = refused(await api.get(CONSUMERS, iterator="nonsense"), 422, "request-invalid")
    assert document["errors"][0]["parameter"] == "iterator"
    refused(await api.post(CONSUMERS, {"name": "csm_00000000007"}), 422, "request-invalid")
    document = refused(await api.request("POST", CONSUMERS, raw=b"{"), 422, "request-invalid")
    assert "not JSON" in document["errors"][0]["detail"]
    assert document["errors"][0]["detail"].endswith("at character 1")
    form = {"content-type": "application/x-www-form-urlencoded"}  # what curl sends if it is not told otherwise
    document = refused(await api.request("POST", CONSUMERS, {"name": "a"}, headers=form), 422, "request-invalid")
    assert document["errors"] == [{"detail": "send the body as application/json", "parameter": "Content-Type"}]


async def test_refusals_are_problem_documents_with_the_request_id(api: Api) -> None:
    reply = await api.request("GET", f"{CONSUMERS}/nobody", headers={"x-request-id": "r-1"})
    assert refused(reply, 404, "not-found")["request_id"] == "r-1"
    reply = await api.request("PUT", f"{CONSUMERS}/nobody")
    refused(reply, 405, "method-not-allowed")
    assert reply.headers["allow"] == "DELETE, GET, PATCH"
    refused(await api.get(f"{CONSUMERS}/a/b/c/d"), 404, "not-found")
    await api.store.close()
    reply = await api.post(CONSUMERS, {"name": "x"})
    refused(reply, 503, "store-unavailable")
    assert reply.headers["retry-after"] == "1"


async def test_names_are_unique_over_file_and_store(api: Api) -> None:
    await made(api)
    await made(api, "other")
    refused(await api.post(CONSUMERS, {"name": "partner"}), 409, "name-taken")
    refused(await api.post(CONSUMERS, {"name": "web-shop"}), 409, "name-taken")
    refused(await api.patch(f"{CONSUMERS}/other", {"name": "partner"}), 409, "name-taken")
    refused(await api.patch(f"{CONSUMERS}/other", {"name": "web-shop"}), 409, "name-taken")


async def test_what_the_file_declares_can_be_read_and_not_changed(api: Api) -> None:
    shop = (await api.get(f"{CONSUMERS}/web-shop")).json
    assert (shop["id"], shop["declared"], shop["tags"], shop["plans"]) == (None, True, ["own"], ["free"])
    refused(await api.patch(f"{CONSUMERS}/web-shop", {"disabled": True}), 409, "declared")
    refused(await api.delete(f"{CONSUMERS}/web-shop"), 409, "declared")
    listed = (await api.get(CONSUMERS, declared=True)).json
    assert ([one["name"] for one in listed["data"]], listed["done"]) == (["web-shop"], True)
    assert (await api.get(CONSUMERS)).json["data"] == []


async def test_pages_forth_and_back_and_by_tag(api: Api) -> None:
    for number in range(5):
        await made(api, f"c{number}", tags=["odd"] if number % 2 else [])
    first = (await api.get(CONSUMERS, limit=3)).json
    assert ([one["name"] for one in first["data"]], first["done"]) == (["c4", "c3", "c2"], False)
    second = (await api.get(CONSUMERS, limit=3, iterator=first["iterator"])).json
    assert ([one["name"] for one in second["data"]], second["done"]) == (["c1", "c0"], True)
    back = (await api.get(CONSUMERS, limit=3, iterator=second["prevIterator"])).json
    assert [one["name"] for one in back["data"]] == ["c4", "c3", "c2"]
    assert [one["name"] for one in (await api.get(CONSUMERS, tag="odd")).json["data"]] == ["c3", "c1"]


# keys


async def test_a_key_is_shown_once_and_works_at_once(api: Api, told: Told) -> None:
    await made(api)
    made_key = await key_of(api, name="ci", tags=["ci"], metadata={"by": "me"})
    key = made_key.pop("key")
    assert key.startswith("gp_")
    assert (made_key["prefix"], made_key["consumer"], made_key["expires_at"]) == (key[:8], "partner", None)
    assert who(api, key) == "partner"
    path = f"{CONSUMERS}/partner/key"
    for reply in (await api.get(f"{path}/{made_key['id']}"), await api.get(path)):
        assert reply.status == 200
        assert key.encode() not in reply.body
    assert (await api.get(path)).json["data"] == [made_key]
    assert told.notices == [
        ("key.created", made_key["id"], {"key_id": made_key["id"], "consumer": "partner", "name": "ci"})
    ]
    assert key not in str(told.notices)


async def test_a_changed_key_is_changed_at_once(api: Api, told: Told) -> None:
    await made(api)
    one = await key_of(api)
    path = f"{CONSUMERS}/partner/key/{one['id']}"
    assert (await api.patch(path, {"disabled": True})).json["disabled"] is True
    assert who(api, one["key"]) is None
    await api.patch(path, {"disabled": False, "expires_at": "2027-01-15T09:00:00+01:00", "tags": ["x"]})
    refused(await api.patch(path, {"expires_at": "2027-01-15T08:00:00"}), 422, "request-invalid")
    document = refused(await api.patch(path, {"expires_at": "2027-01-15T08:00:00Z"}), 422, "request-invalid")
    assert document["errors"][0]["pointer"] == "#/expires_at"
    assert [notice[0] for notice in told.notices] == ["key.created", "key.revoked"]


async def test_a_key_expires(api: Api) -> None:
    await made(api)
    one = await key_of(api, expires_at="2027-01-15T08:00:10Z")
    assert (one["expires_at"], one["expired"]) == ("2027-01-15T08:00:10.000Z", False)
    assert who(api, one["key"]) == "partner"
    api.clock.advance(10)
    assert who(api, one["key"]) is None
    assert (await api.get(f"{CONSUMERS}/partner/key/{one['id']}")).json["expired"] is True
    await api.patch(f"{CONSUMERS}/partner/key/{one['id']}", {"expires_at": None})
    assert who(api, one["key"]) == "partner"


async def test_a_deleted_key_is_unknown_at_once(api: Api, told: Told) -> None:
    await made(api)
    one = await key_of(api)
    path = f"{CONSUMERS}/partner/key/{one['id']}"
    assert (await api.delete(path)).status == 204
    assert who(api, one["key"]) is None
    refused(await api.delete(path), 404, "not-found")
    assert told.notices[-1][0] == "key.revoked"


async def test_a_rotated_key_goes_on_for_its_grace(api: Api, told: Told) -> None:
    await made(api)
    old = await key_of(api, name="ci", tags=["t"])
    path = f"{CONSUMERS}/partner/key/{old['id']}/rotate"
    reply = await api.post(path)
    assert reply.status == 201
    new = reply.json
    assert (new["name"], new["tags"], new["expires_at"]) == ("ci", ["t"], None)
    assert new["id"] != old["id"]
    assert (who(api, old["key"]), who(api, new["key"])) == ("partner", "partner")
    assert (await api.get(f"{CONSUMERS}/partner/key/{old['id']}")).json["expires_at"] == "2027-01-16T08:00:00.000Z"
    api.clock.advance(86_401)
    assert (who(api, old["key"]), who(api, new["key"])) == (None, "partner")
    event, subject, facts = told.notices[-1]
    assert (event, subject) == ("key.rotated", old["id"])
    assert facts["new_key_id"] == new["id"]


async def test_the_grace_is_chosen_and_never_prolongs(api: Api) -> None:
    await made(api)
    one = await key_of(api, expires_at="2027-01-15T08:01:00Z")
    path = f"{CONSUMERS}/partner/key/{one['id']}"
    await api.post(f"{path}/rotate", {"old_expires_in": 3600})
    assert (await api.get(path)).json["expires_at"] == "2027-01-15T08:01:00.000Z"
    at_once = (await api.post(f"{path}/rotate", {"old_expires_in": 0})).json
    api.clock.advance(1)
    assert who(api, one["key"]) is None
    assert who(api, at_once["key"]) == "partner"
    refused(await api.post(f"{path}/rotate", {"old_expires_in": -1}), 422, "request-invalid")


async def test_keys_belong_to_one_consumer(api: Api) -> None:
    await made(api)
    await made(api, "other")
    one = await key_of(api)
    refused(await api.get(f"{CONSUMERS}/other/key/{one['id']}"), 404, "not-found")
    refused(await api.delete(f"{CONSUMERS}/other/key/{one['id']}"), 404, "not-found")
    refused(await api.get(f"{CONSUMERS}/partner/key/nonsense"), 404, "not-found")
    assert (await api.get(f"{CONSUMERS}/other/key")).json["data"] == []


async def test_a_consumer_of_the_file_may_have_keys_of_the_store(api: Api) -> None:
    one = await key_of(api, "web-shop")
    assert who(api, one["key"]) == "web-shop"
    assert [key["id"] for key in (await api.get(f"{CONSUMERS}/web-shop/key")).json["data"]] == [one["id"]]
    shop = (await api.get(f"{CONSUMERS}/web-shop")).json
    assert shop["id"].startswith("csm_")
    assert (await api.get(f"{CONSUMERS}/{shop['id']}")).json == shop
    assert shop["tags"] == ["own"]
    assert (await api.get(CONSUMERS)).json["data"] == [], "it stands in the list of the file's"
    refused(await api.delete(f"{CONSUMERS}/{shop['id']}"), 409, "declared")
    await key_of(api, "web-shop")


async def test_the_end_of_a_consumer_is_the_end_of_its_keys(api: Api, told: Told) -> None:
    await made(api)
    one = await key_of(api)
    await api.delete(f"{CONSUMERS}/partner")
    assert who(api, one["key"]) is None
    assert told.notices[-1] == ("key.revoked", "consumer:partner", {"key_id": "", "consumer": "partner", "all": True})


async def test_keys_in_pages_and_by_tag(api: Api) -> None:
    await made(api)
    keys = [(await key_of(api, tags=["odd"] if number % 2 else []))["id"] for number in range(5)]
    path = f"{CONSUMERS}/partner/key"
    page = (await api.get(path, limit=2)).json
    assert ([key["id"] for key in page["data"]], page["done"]) == (keys[:2:-1], False)
    page = (await api.get(path, limit=10, iterator=page["iterator"])).json
    assert ([key["id"] for key in page["data"]], page["done"]) == (keys[2::-1], True)
    assert [key["id"] for key in (await api.get(path, tag="odd")).json["data"]] == [keys[3], keys[1]]


# plans


async def test_a_plan_from_its_making_to_its_end(api: Api) -> None:
    body = {
        "name": "gold",
        "routes": ["orders"],
        "methods": ["GET"],
        "rate_limits": {"default": {"limit": 100, "window": "1m"}},
        "quotas": {"quota": {"limit": 10_000, "period": "month"}, "rolling": {"limit": 5, "period": "1h"}},
        "concurrency": 4,
        "metadata": {"price": "9"},
    }
    reply = await api.post(PLANS, body)
    assert reply.status == 201
    plan = reply.json
    assert plan == body | {
        "rate_limits": {"default": {"limit": 100, "window": "60s"}},
        "quotas": {"quota": {"limit": 10_000, "period": "month"}, "rolling": {"limit": 5, "period": "3600s"}},
        "declared": False,
        "created_at": plan["created_at"],
        "updated_at": plan["updated_at"],
    }
    assert (await api.get(f"{PLANS}/gold")).json == plan
    again = {name: plan[name] for name in body}
    assert (await api.patch(f"{PLANS}/gold", {n: v for n, v in again.items() if n != "name"})).json["quotas"] == plan[
        "quotas"
    ]
    changed = (await api.patch(f"{PLANS}/gold", {"routes": None, "concurrency": None})).json
    assert (changed["routes"], changed["concurrency"], changed["methods"]) == (None, None, ["GET"])
    refused(await api.post(PLANS, body), 409, "name-taken")
    await made(api, plans=["gold"])
    assert (await api.delete(f"{PLANS}/gold")).status == 204
    refused(await api.get(f"{PLANS}/gold"), 404, "not-found")
    consumer = Access(stored=api.store.access).consumer("partner")
    assert consumer is not None
    assert not consumer.may_use("orders", b"GET")


async def test_plans_that_are_not_valid(api: Api) -> None:
    body = {
        "name": "gold",
        "methods": ["get"],
        "rate_limits": {"default": {"limit": 0, "window": "0s"}},
        "quotas": {"quota": {"limit": 1, "period": "week"}},
        "concurrency": 0,
    }
    document = refused(await api.post(PLANS, body), 422, "request-invalid")
    assert {error["pointer"] for error in document["errors"]} == {
        "#/methods/0",
        "#/rate_limits/default/limit",
        "#/rate_limits/default/window",
        "#/quotas/quota/period",
        "#/concurrency",
    }


async def test_plans_of_the_file_are_listed_and_cannot_be_changed(api: Api) -> None:
    for name in ("a", "z"):
        assert (await api.post(PLANS, {"name": name})).status == 201
    page = (await api.get(PLANS, limit=2)).json
    assert [(plan["name"], plan["declared"]) for plan in page["data"]] == [("a", False), ("free", True)]
    rest = (await api.get(PLANS, iterator=page["iterator"])).json
    assert ([plan["name"] for plan in rest["data"]], rest["done"]) == (["z"], True)
    refused(await api.patch(f"{PLANS}/free", {"concurrency": 1}), 409, "declared")
    refused(await api.delete(f"{PLANS}/free"), 409, "declared")
    refused(await api.post(PLANS, {"name": "free"}), 409, "name-taken")
    assert (await api.get(f"{PLANS}/free")).json["rate_limits"] == {"default": {"limit": 10, "window": "90s"}}
