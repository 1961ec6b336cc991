from __future__ import annotations

from typing import Any

import pytest
from tests.support.policies import Told, answered, asked, declared, header, passed, refusal

from gatepost.clock import ManualClock
from gatepost.errors import ConfigError
from gatepost.policies.base import SettingFault
from gatepost.policies.version import NOTE

VERSIONS: dict[str, Any] = {
    "v1": {"deprecated": "2023-06-30T23:59:59Z", "sunset": "2027-12-31", "link": "https://shop.example/v2"},
    "v2": {"service": "orders-v2", "prefix": "/api/v2"},
}


def version(**settings: Any) -> Any:
    return declared("version", {"versions": VERSIONS, **settings})


def named(x: Any) -> object:
    return (x.notes or {}).get(NOTE)


def test_a_header_names_the_version() -> None:
    x = passed(version(header="X-Version"), "GET", "/orders", [(b"x-version", b"v2 ")])
    assert (named(x), x.path, x.head.target) == ("v2", "/api/v2/orders", b"/api/v2/orders")


def test_a_parameter_names_it_and_stays() -> None:
    x = passed(version(query="api-version"), "GET", "/orders?a=1&api%2Dversion=v1&b=2")
    assert (named(x), x.path, x.query) == ("v1", "/orders", b"a=1&api%2Dversion=v1&b=2")


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        ("/", "/v1/orders", "/orders"),
        ("/", "/v1", "/"),
        ("/api", "/api/v1/orders/7", "/api/orders/7"),
        ("/api/", "/api/v1/", "/api/"),
    ],
)
def test_a_segment_names_it_and_is_taken_out(place: str, before: str, after: str) -> None:
    x = passed(version(path=place), "GET", before)
    assert (named(x), x.path) == ("v1", after)


def test_a_segment_that_is_no_version_is_part_of_the_path() -> None:
    x = passed(version(path="/", default="v1"), "GET", "/orders/v2")
    assert (named(x), x.path) == ("v1", "/orders/v2")
    assert refusal(asked(version(path="/"), "GET", "/v9/orders")[1]) == (404, "version-missing")


def test_who_names_none_gets_the_default() -> None:
    assert named(passed(version(header="X-Version", default="v1"))) == "v1"
    assert refusal(asked(version(header="X-Version"))[1]) == (404, "version-missing")


def test_who_names_an_unknown_one_gets_404_or_the_fallback() -> None:
    told = Told()
    policy = declared("version", {"versions": VERSIONS, "header": "X-Version", "default": "v1"}, notices=told)
    x, answer = asked(policy, "GET", "/orders", [(b"x-version", b"v3")])
    assert refusal(answer) == (404, "version-unknown")
    assert answer is not None
    assert b"v1, v2" in answer.body
    facts = {"route": "orders", "version": "v3", "reason": "version-unknown", "consumer": None}
    assert told.events == [("version.refused", "route:orders", facts)]
    assert answered(x) == [(b"content-type", b"text/plain")]
    x = passed(version(header="X-Version", fallback="v2"), "GET", "/orders", [(b"x-version", b"v3")])
    assert named(x) == "v2"


def test_answers_of_an_old_version_say_how_long_it_will_live() -> None:
    x = passed(version(header="X-Version"), "GET", "/orders", [(b"x-version", b"v1")])
    for status in (200, 502):
        fields = answered(x, [], status)
        assert header(fields, "deprecation") == "@1688169599"  # the example of RFC 9745 §2.1
        assert header(fields, "sunset") == "Fri, 31 Dec 2027 00:00:00 GMT"
        assert header(fields, "link") == (
            '<https://shop.example/v2>; rel="deprecation"; type="text/html", '
            '<https://shop.example/v2>; rel="sunset"; type="text/html"'
        )


def test_answers_of_a_living_version_say_nothing() -> None:
    x = passed(version(header="X-Version"), "GET", "/orders", [(b"x-version", b"v2")])
    assert answered(x, []) == []


@pytest.mark.parametrize("when", ["gone", "serve"])
def test_after_its_sunset_a_version_is_served_or_gone(when: str) -> None:
    clock = ManualClock(now=1_830_211_198.0)  # two seconds before 2027-12-31
    settings = {"versions": VERSIONS, "header": "X-Version", "after_sunset": when}
    policy = declared("version", settings, clock=clock)
    asks = ("GET", "/orders", [(b"x-version", b"v1")])
    passed(policy, *asks)
    clock.advance(1.0)
    passed(policy, *asks)
    clock.advance(1.0)
    x, answer = asked(policy, *asks)
    if when == "serve":
        assert answer is None
    else:
        assert refusal(answer) == (410, "version-gone")
        assert header(answered(x, []), "sunset") is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"versions": VERSIONS},
        {"versions": VERSIONS, "header": "X-V", "query": "v"},
        {"versions": {}, "header": "X-V"},
        {"versions": VERSIONS, "header": "X-V", "default": "v9"},
        {"versions": VERSIONS, "path": "/", "fallback": "v1"},
        {"versions": {"v1": {"service": "nowhere"}}, "header": "X-V"},
        {"versions": {"v1": {"sunset": "soon"}}, "header": "X-V"},
        {"versions": {"v1": {"sunset": "2027-01-01", "link": "x> y"}}, "header": "X-V"},
        {"versions": VERSIONS, "header": "Host"},
    ],
)
def test_what_cannot_be_obeyed_is_a_fault(settings: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, SettingFault)):
        declared("version", settings)


def test_a_fault_of_a_date_names_its_place() -> None:
    with pytest.raises(SettingFault) as fault:
        declared("version", {"versions": {"v1": {"deprecated": "soon"}}, "header": "X-V"})
    assert fault.value.setting == "version.versions.v1.deprecated"
