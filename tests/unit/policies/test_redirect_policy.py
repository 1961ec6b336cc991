from __future__ import annotations

import pytest
from tests.support.policies import asked, declared, header, passed, refusal

from gatepost.errors import ConfigError
from gatepost.policies.base import SettingFault


def location(settings: object, target: str = "/orders", **options: object) -> str | None:
    _, answer = asked(declared("redirect", settings), "GET", target, **options)
    assert answer is not None
    assert answer.body == b""
    return header(answer.fields, "location")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_status_says_what_becomes_of_the_method(status: int) -> None:
    _, answer = asked(declared("redirect", {"to": "/new", "status": status}))
    assert answer is not None
    assert (answer.status, answer.fields, answer.outcome) == (status, [(b"location", b"/new")], "")


def test_other_statuses_are_no_redirects() -> None:
    with pytest.raises(ConfigError, match="must be one of 301, 302, 303, 307, 308"):
        declared("redirect", {"to": "/new", "status": 300})


def test_where_it_leads() -> None:
    assert location({"to": "https://new.example${request.path}"}, "/a%20b/c") == "https://new.example/a%20b/c"
    assert location({"to": "https://new.example:8443"}) == "https://new.example:8443/"
    assert location({"to": "/o/${request.params.id}"}, params={"id": "a/b"}) == "/o/a%2Fb"
    assert location({"to": "/s?q=${request.params.id}"}, params={"id": "a&b=c"}) == "/s?q=a%26b%3Dc"


def test_the_query_goes_along_unless_it_shall_not() -> None:
    assert location({"to": "/new"}, "/old?a=1&b=%20") == "/new?a=1&b=%20"
    assert location({"to": "/new?c=2"}, "/old?a=1") == "/new?c=2&a=1"
    assert location({"to": "/new", "keep_query": False}, "/old?a=1") == "/new"


def test_the_same_host_over_tls() -> None:
    x, _ = asked(declared("redirect", {"to": "https://${request.host}${request.path}"}), "GET", "/a?b=1")
    x.head.host = b"shop.example:8080"
    policy = declared("redirect", {"to": "https://${request.host}${request.path}", "status": 308})
    answer = policy.on_request(x)
    assert header(answer.fields, "location") == "https://shop.example/a?b=1"  # type: ignore[union-attr]
    x.head.host = b""
    assert refusal(policy.on_request(x)) == (400, "not-redirected")  # type: ignore[arg-type]


def test_only_paths_like_the_pattern() -> None:
    settings = {"pattern": "/old/{rest...}", "to": "https://shop.example/orders/${match.rest}"}
    assert location(settings, "/old/a/b?c=1") == "https://shop.example/orders/a/b?c=1"
    passed(declared("redirect", settings), "GET", "/other")


@pytest.mark.parametrize(
    "to",
    [
        "${request.query.next}",
        "https://${request.query.host}/a",
        "https://shop.example${request.query.next}",
        "https://shop.example.${request.params.id}/",
        "https://${request.host}.evil.example/",
        "https://user@shop.example/",
        "//evil.example/",
        "javascript:alert(1)",
        "ftp://shop.example/",
        "/a b",
        "/a\\b",
        "/é",
        "\r\nX: y",
    ],
)
def test_a_target_that_a_request_may_choose_is_a_fault(to: str) -> None:
    with pytest.raises((SettingFault, ConfigError)):
        declared("redirect", {"to": to})


@pytest.mark.parametrize("value", ["/evil.example", "//evil.example", "\\evil.example", "a\r\nSet-Cookie: x"])
def test_no_value_becomes_a_host_or_a_field(value: str) -> None:
    made = location({"to": "/${request.params.id}"}, params={"id": value})
    assert made is not None
    assert made[:1] == "/"
    assert made[1:2] not in ("/", "\\")
    assert "\r" not in made


def test_a_value_that_is_missing_is_refused() -> None:
    assert refusal(asked(declared("redirect", {"to": "/${request.query.page}"}))[1]) == (400, "not-redirected")


def test_an_unsound_path_becomes_no_host() -> None:
    """No request has one after normalisation; a policy of one's own might have made it."""
    policy = declared("redirect", {"pattern": "/old/{rest...}", "to": "/${match.rest}"})
    x, _ = asked(policy, "GET", "/old/a")
    x.path = "/old//evil.example"
    answer = policy.on_request(x)
    assert refusal(answer) == (400, "not-redirected")  # type: ignore[arg-type]
