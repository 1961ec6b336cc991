"""CORS as the Fetch standard has it: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.policies import answered, asked, declared, header, passed, refusal

from gatepost.errors import ConfigError
from gatepost.exchange import Phase, Response
from gatepost.http1.messages import Fields

SHOP = b"https://shop.example"


def preflight(
    settings: dict[str, Any], origin: bytes = SHOP, method: bytes = b"PUT", *more: tuple[bytes, bytes]
) -> tuple[Response, Fields]:
    """The answer, and its fields as the client gets them."""
    fields = [(b"origin", origin), (b"access-control-request-method", method), *more]
    x, answer = asked(declared("cors", settings), "OPTIONS", "/orders", fields)
    assert answer is not None
    return answer, answered(x, answer.fields, answer.status)


def read_by(settings: dict[str, Any], origin: bytes | None, upstream: Fields | None = None) -> Fields:
    fields = [] if origin is None else [(b"origin", origin)]
    return answered(passed(declared("cors", settings), "GET", "/orders", fields), upstream)


def test_a_preflight_is_answered_before_anyone_asks_for_a_credential() -> None:
    assert declared("cors", {"origins": ["*"]}).phase < Phase.IDENTIFY
    answer, fields = preflight({"origins": ["https://shop.example"]})
    assert (answer.status, answer.body) == (204, b"")
    assert header(fields, "access-control-allow-origin") == "https://shop.example"
    assert header(fields, "access-control-allow-methods") == "GET, HEAD, POST, PUT, PATCH, DELETE"
    assert header(fields, "access-control-allow-headers") == "Authorization, Content-Type"
    assert header(fields, "access-control-max-age") == "600"
    assert header(fields, "vary") == "origin"
    assert header(fields, "access-control-allow-credentials") is None
    assert header(fields, "access-control-allow-private-network") is None


@pytest.mark.parametrize(
    ("origin", "method", "headers", "why"),
    [
        (b"https://evil.example", b"PUT", b"", "origin"),
        (b"null", b"PUT", b"", "origin"),
        (b"http://shop.example", b"PUT", b"", "origin"),
        (b"https://shop.example:444", b"PUT", b"", "origin"),
        (b"https://shop.example.evil.example", b"PUT", b"", "origin"),
        (SHOP, b"PURGE", b"", "method"),
        (SHOP, b"put", b"", "method"),
        (SHOP, b"PUT", b"authorization, x-secret", "header"),
    ],
)
def test_a_preflight_of_a_page_that_may_not_says_why(origin: bytes, method: bytes, headers: bytes, why: str) -> None:
    more = [(b"access-control-request-headers", headers)] if headers else []
    answer, fields = preflight({"origins": ["https://shop.example"]}, origin, method, *more)
    assert refusal(answer) == (403, "cors-refused")
    assert why in answer.body.decode()
    if why == "origin":
        assert header(fields, "access-control-allow-origin") is None
    assert header(fields, "vary") == "origin"


def test_headers_that_every_page_may_send_need_no_leave() -> None:
    asks = (b"access-control-request-headers", b"accept,content-type , AUTHORIZATION")
    assert preflight({"origins": ["https://shop.example"]}, SHOP, b"PUT", asks)[0].status == 204


def test_a_star_for_headers_gives_leave_for_whichever_is_asked() -> None:
    asks = (b"access-control-request-headers", b"x-a,x-b")
    _, fields = preflight(
        {"origins": ["https://shop.example"], "headers": ["*"], "credentials": True}, SHOP, b"PUT", asks
    )
    assert header(fields, "access-control-allow-headers") == "x-a,x-b", (
        "a * would mean itself where credentials go along"
    )
    _, fields = preflight({"origins": ["*"], "headers": ["*"]})
    assert header(fields, "access-control-allow-headers") is None


def test_methods_that_cannot_be_forbidden_are_not() -> None:
    assert preflight({"origins": ["*"], "methods": ["PUT"]}, SHOP, b"POST")[0].status == 204


def test_a_private_network_opens_only_on_demand() -> None:
    asks = (b"access-control-request-private-network", b"true")
    _, fields = preflight({"origins": ["*"]}, SHOP, b"PUT", asks)
    assert header(fields, "access-control-allow-private-network") is None
    _, fields = preflight({"origins": ["*"], "private_network": True}, SHOP, b"PUT", asks)
    assert header(fields, "access-control-allow-private-network") == "true"


def test_an_options_request_that_is_no_preflight_goes_on() -> None:
    policy = declared("cors", {"origins": ["*"]})
    passed(policy, "OPTIONS")
    passed(policy, "OPTIONS", "/orders", [(b"origin", SHOP)])
    passed(policy, "OPTIONS", "/orders", [(b"access-control-request-method", b"PUT")])


def test_answers_say_who_may_read_them() -> None:
    settings = {"origins": ["https://shop.example"], "credentials": True, "expose": ["ETag", "X-Total"]}
    fields = read_by(settings, SHOP)
    assert header(fields, "access-control-allow-origin") == "https://shop.example"
    assert header(fields, "access-control-allow-credentials") == "true"
    assert header(fields, "access-control-expose-headers") == "ETag, X-Total"
    assert header(fields, "vary") == "origin"


@pytest.mark.parametrize("origin", [b"https://evil.example", None])
def test_others_read_nothing_and_caches_know_it(origin: bytes | None) -> None:
    fields = read_by({"origins": ["https://shop.example"], "credentials": True}, origin)
    assert fields == [(b"content-type", b"text/plain"), (b"vary", b"origin")]


def test_every_origin_is_one_answer_for_all() -> None:
    for origin in (SHOP, None):
        fields = read_by({"origins": ["*"]}, origin)
        assert header(fields, "access-control-allow-origin") == "*"
        assert header(fields, "vary") is None


def test_what_the_service_says_about_origins_is_taken_out() -> None:
    upstream = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"accept"),
    ]
    fields = read_by({"origins": ["https://shop.example"]}, b"https://evil.example", upstream)
    assert fields == [(b"vary", b"accept"), (b"vary", b"origin")]
    assert len(upstream) == 3


def test_answers_of_the_gateway_itself_may_be_read_too() -> None:
    policy = declared("cors", {"origins": ["https://shop.example"]})
    x = passed(policy, "GET", "/orders", [(b"origin", SHOP)])
    fields = answered(x, [(b"content-type", b"application/problem+json")], 502)
    assert header(fields, "access-control-allow-origin") == "https://shop.example"


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("https://*.shop.example", b"https://a.shop.example", True),
        ("https://*.shop.example", b"https://a.b.shop.example", True),
        ("https://*.shop.example", b"https://shop.example", False),
        ("https://*.shop.example", b"https://.shop.example", False),
        ("https://*.shop.example", b"https://evilshop.example", False),
        ("https://*.shop.example", b"https://a.shop.example:444", False),
        ("https://*.shop.example", b"http://a.shop.example", False),
        ("https://*.shop.example", b"https://evil.example/.shop.example", False),
        ("https://*.shop.example", b"https://evil.example#.shop.example", False),
        ("https://*.shop.example", b"https://evil@.shop.example", False),
        ("https://*.shop.example", b"https://a.shop.example.evil.example", False),
        ("http://localhost:*", b"http://localhost:3000", True),
        ("http://localhost:*", b"http://localhost", True),
        ("http://localhost:*", b"http://localhost:x", False),
        ("http://localhost:*", b"http://localhost.evil.example:3000", False),
        ("https://*.shop.example:*", b"https://a.shop.example:1", True),
        ("null", b"null", True),
    ],
)
def test_patterns_of_origins(pattern: str, origin: bytes, matches: bool) -> None:
    fields = read_by({"origins": [pattern]}, origin)
    assert (header(fields, "access-control-allow-origin") is not None) == matches


@pytest.mark.parametrize(
    "settings",
    [
        {"origins": []},
        {"origins": ["*"], "credentials": True},
        {"origins": ["null"], "credentials": True},
        {"origins": ["shop.example"]},
        {"origins": ["https://shop.example/"]},
        {"origins": ["https://Shop.example"]},
        {"origins": ["https://*"]},
        {"origins": ["https://shop.*"]},
        {"origins": ["https://a.*.example"]},
        {"origins": ["*"], "headers": ["X-A\r\nX-B: 1"]},
    ],
)
def test_what_would_open_too_much_or_nothing_is_a_fault(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        declared("cors", settings)
