from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.support.control_api import URL, Api, running

from gatepost import ids
from gatepost.api.endpoint_headers import MOST, sensitive
from gatepost.api.endpoint_secrets import MOST_OLD, checked, rotate_to
from gatepost.api.errors import Unprocessable
from gatepost.errors import GatepostError
from gatepost.model import Secret
from gatepost.signatures import STANDARD_WEBHOOKS

BASE = "/api/v1/app/shop/endpoint"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.mark.parametrize("types", ["eventTypes", "filterTypes"])
@pytest.mark.parametrize("rate", ["throttleRate", "rateLimit"])
async def test_both_of_svixs_names_are_read_and_shown(api: Api, types: str, rate: str) -> None:
    await api.make_app()
    made = (await api.post(BASE, {"url": URL, types: ["b", "a", "a"], rate: 5, "version": 3})).json
    assert made["eventTypes"] == made["filterTypes"] == ["a", "b"]
    assert made["throttleRate"] == made["rateLimit"] == 5
    assert made["version"] == 3
    (endpoint,) = api.store.directory.endpoints.values()
    assert (endpoint.event_types, endpoint.rate_limit) == (frozenset({"a", "b"}), 5)


async def test_an_endpoint_without_filters_has_none(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app())
    assert (endpoint.event_types, endpoint.channels, endpoint.disabled) == (None, None, False)


@pytest.mark.parametrize("nothing", [None, []])
async def test_a_patch_takes_a_filter_away(api: Api, nothing: Any) -> None:
    await api.make_endpoint(await api.make_app(), uid="a", channels=["/orders/1"], eventTypes=["x"])
    changed = (await api.patch(f"{BASE}/a", {"channels": nothing})).json
    assert "channels" not in changed
    assert changed["eventTypes"] == ["x"]


async def test_a_put_replaces_everything_but_the_secret_and_the_headers(api: Api) -> None:
    app = await api.make_app()
    document = {"uid": "a", "secret": SECRET, "headers": {"X-A": "1"}, "description": "d", "disabled": True}
    before = await api.make_endpoint(app, **document)
    reply = await api.put(f"{BASE}/a", {"url": "https://new.example/", "uid": "a"})
    assert reply.status == 200
    after = api.store.directory.endpoints[before.key]
    assert after == msgspec.structs.replace(
        before, url="https://new.example/", description="", disabled=False, updated=after.updated
    )
    assert after.secrets == (Secret(SECRET),)
    assert after.headers == {"X-A": "1"}


_BAD_URLS: Final[list[Any]] = [
    ("", "at least 1 character"),
    ("example.com/hook", "does not begin with http"),
    ("ftp://example.com", "does not begin with http"),
    ("https://user@example.com", "user name"),
    ("https://2130706433/", "IPv4"),
    ("http://0x7f.1/", "IPv4"),
    ("http://127.0.0.1/", "loopback"),
    ("http://[::1]:8080/", "loopback"),
    ("http://[::ffff:10.0.0.1]/", "private"),
    ("http://169.254.169.254/latest", "metadata"),
    ("https://exa mple.com/", "space"),
    ("https://example.com/\r\nX-A: 1", "control character"),
]


async def test_urls_that_may_not_be_are_refused_by_every_way_in(api: Api) -> None:
    await api.make_endpoint(await api.make_app(), uid="a")
    for url, reason in _BAD_URLS:
        for reply in (
            await api.post(BASE, {"url": url}),
            await api.put(f"{BASE}/a", {"url": url}),
            await api.put(f"{BASE}/new", {"url": url}),
            await api.patch(f"{BASE}/a", {"url": url}),
        ):
            assert reply.status == 422
            (fault,) = reply.json["detail"]
            assert fault["loc"] == ["body", "url"]
            assert reason in fault["msg"]
        (endpoint,) = api.store.directory.endpoints.values()
        assert endpoint.url == URL


async def test_a_network_that_the_operator_allows_may_be_named(tmp_path: Path) -> None:
    async with running(tmp_path, allow=("127.0.0.0/8",)) as api:
        await api.make_app()
        assert (await api.post(BASE, {"url": "http://127.0.0.1:9000/hook"})).status == 201
        assert (await api.post(BASE, {"url": "http://10.0.0.1/hook"})).status == 422


async def test_an_endpoint_belongs_to_its_app(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), uid="a")
    await api.make_app("other")
    for name in ("a", ids.encode("ep", endpoint.id)):
        for path in (name, f"{name}/secret", f"{name}/headers"):
            assert (await api.get(f"/api/v1/app/other/endpoint/{path}")).status == 404
        assert (await api.delete(f"/api/v1/app/other/endpoint/{name}")).status == 404


async def test_a_declared_endpoint_is_read_only(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), uid="a")
    await api.store.put_endpoint(msgspec.structs.replace(endpoint, declared=True))
    for reply in (
        await api.put(f"{BASE}/a", {"url": URL}),
        await api.patch(f"{BASE}/a", {"disabled": True}),
        await api.delete(f"{BASE}/a"),
        await api.put(f"{BASE}/a/headers", {"headers": {}}),
        await api.patch(f"{BASE}/a/headers", {"headers": {}}),
        await api.post(f"{BASE}/a/secret/rotate", {}),
    ):
        assert (reply.status, reply.json["code"]) == (409, "conflict")
    assert (await api.get(f"{BASE}/a/secret")).status == 200


_BAD_ENDPOINTS: Final[list[Any]] = [
    {"channels": ["a"] * 11},
    {"channels": []},
    {"channels": ["/orders/{id}"]},
    {"eventTypes": []},
    {"eventTypes": ["a b"]},
    {"disabled": "yes"},
    {"version": 0},
    {"secret": "short"},
    {"secret": "whsec_" + "=" * 40},
    {"secret": "whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    {"headers": {"Host": "a"}},
    {"headers": {"content-length": "1"}},
    {"headers": {"Webhook-Id": "1"}},
    {"headers": {"X-A": "1\r\nX-B: 2"}},
    {"headers": {"X A": "1"}},
    {"headers": {"X-A": "1", "x-a": "2"}},
    {"headers": {f"X-{number}": "1" for number in range(MOST + 1)}},
]


async def test_what_an_endpoint_may_not_be(api: Api) -> None:
    await api.make_app()
    for document in _BAD_ENDPOINTS:
        reply = await api.post(BASE, {"url": URL, **document})
        assert reply.status == 422
        assert reply.json["detail"][0]["loc"][:2] == ["body", next(iter(document))]
        assert not api.store.directory.endpoints


async def test_headers_are_patched_whatever_their_case(api: Api) -> None:
    await api.make_endpoint(await api.make_app(), uid="a", headers={"X-A": "1", "X-B": "2", "X-C": "3"})
    assert (await api.patch(f"{BASE}/a/headers", {"headers": {"x-a": "9", "X-b": None, "X-D": "4"}})).status == 204
    assert (await api.get(f"{BASE}/a/headers")).json["headers"] == {"X-C": "3", "x-a": "9", "X-D": "4"}
    many = {"headers": {f"X-{number}": "1" for number in range(MOST - 2)}}
    assert (await api.patch(f"{BASE}/a/headers", many)).status == 422


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "x_auth_token", "Cookie", "X-Webhook-Secret"])
async def test_values_that_look_like_credentials_are_never_shown(api: Api, name: str) -> None:
    await api.make_endpoint(await api.make_app(), uid="a", headers={name: "hush", "X-Plain": "1"})
    reply = await api.get(f"{BASE}/a/headers")
    assert reply.json == {"headers": {"X-Plain": "1"}, "sensitive": [name]}
    assert b"hush" not in (await api.get(f"{BASE}/a")).body


def test_a_name_is_judged_by_its_words() -> None:
    assert not sensitive("X-Monkey")
    assert not sensitive("X-Author")


async def test_a_secret_is_made_where_none_is_given_and_shown_only_by_its_own_path(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), uid="a")
    secret = (await api.get(f"{BASE}/a/secret")).json["key"]
    assert secret.startswith("whsec_")
    assert endpoint.secrets == (Secret(secret),)
    for path in (BASE, f"{BASE}/a", f"{BASE}/a/headers"):
        assert secret.encode() not in (await api.get(path)).body


async def test_a_secret_may_come_without_its_prefix(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), secret=SECRET.removeprefix("whsec_"))
    assert endpoint.secrets == (Secret(SECRET),)


async def test_a_rotation_keeps_the_old_secret_for_a_day(api: Api) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), uid="a", secret=SECRET)
    rotated = await api.post(f"{BASE}/a/secret/rotate", {})
    new, old = api.store.directory.endpoints[endpoint.key].secrets
    assert old == Secret(SECRET, api.clock.now() + 86_400)
    assert (await api.get(f"{BASE}/a/secret")).json == rotated.json == {"key": new.value}
    assert new.value != SECRET


@pytest.mark.parametrize("document", [{"gracePeriodSeconds": -1}, {"gracePeriodSeconds": 604_801}, {"key": "x"}])
async def test_a_rotation_that_may_not_be(api: Api, document: object) -> None:
    endpoint = await api.make_endpoint(await api.make_app(), uid="a", secret=SECRET)
    assert (await api.post(f"{BASE}/a/secret/rotate", document)).status == 422
    assert api.store.directory.endpoints[endpoint.key].secrets == (Secret(SECRET),)


def test_rotating_again_never_puts_an_end_off() -> None:
    first = rotate_to("b", (Secret("a"),), now=100.0, grace=50)
    assert first == (Secret("b"), Secret("a", 150.0))
    second = rotate_to("c", first, now=120.0, grace=50)
    assert second == (Secret("c"), Secret("b", 170.0), Secret("a", 150.0))
    assert rotate_to("d", second, now=150.0, grace=50) == (Secret("d"), Secret("c", 200.0), Secret("b", 170.0))
    assert rotate_to("d", second, now=130.0, grace=0) == (Secret("d"),)
    assert rotate_to("b", first, now=120.0, grace=50) == (Secret("b"), Secret("a", 150.0))


def test_no_more_secrets_than_receivers_look_at() -> None:
    old = (Secret("0"), *(Secret(str(n), 1e9) for n in range(1, MOST_OLD)))
    assert len(rotate_to("new", old, 1.0, 86_400)) == MOST_OLD + 1
    with pytest.raises(GatepostError, match="older secrets are still valid"):
        rotate_to("newer", rotate_to("new", old, 1.0, 86_400), 1.0, 86_400)


def test_an_endpoint_may_sign_with_a_private_key() -> None:
    private, _ = STANDARD_WEBHOOKS.new_key_pair()
    assert checked(private) == private
    with pytest.raises(Unprocessable, match="key"):
        checked("whsk_" + "A" * 40)
