from __future__ import annotations

from typing import Any

import pytest
from tests.support.policies import answered, declared, header, passed

from gatepost.errors import ConfigError
from gatepost.http1.messages import FieldList, Fields
from gatepost.http1.writer import field_lines


def said(
    settings: dict[str, Any], upstream: Fields | None = None, scheme: bytes = b"https", status: int = 200
) -> Fields:
    x = passed(declared("security_headers", settings))
    x.scheme = scheme
    return answered(x, upstream if upstream is not None else [], status)


def test_the_defaults() -> None:
    assert dict(said({})) == {
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"strict-origin-when-cross-origin",
        b"content-security-policy": b"frame-ancestors 'none'",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
    }
    assert said({}, status=401) == said({})


def test_each_can_be_another_or_left_out() -> None:
    fields = said(
        {"referrer_policy": "", "permissions_policy": "camera=()", "content_security_policy": "default-src 'self'"}
    )
    assert header(fields, "referrer-policy") is None
    assert header(fields, "permissions-policy") == "camera=()"
    assert header(fields, "content-security-policy") == "default-src 'self'"


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"hsts": "365d"}, "max-age=31536000"),
        ({"hsts": "0"}, "max-age=0"),
        ({"hsts": "730d", "hsts_subdomains": True}, "max-age=63072000; includeSubDomains"),
        (
            {"hsts": "365d", "hsts_subdomains": True, "hsts_preload": True},
            "max-age=31536000; includeSubDomains; preload",
        ),
    ],
)
def test_hsts_is_said_over_https_only(settings: dict[str, Any], value: str) -> None:
    assert header(said(settings), "strict-transport-security") == value
    assert header(said(settings, scheme=b"http"), "strict-transport-security") is None


def test_what_the_service_says_is_kept_or_overridden() -> None:
    upstream = [(b"content-security-policy", b"default-src *"), (b"x-content-type-options", b"nosniff")]
    fields = said({}, upstream)
    assert header(fields, "content-security-policy") == "default-src *"
    assert header(fields, "x-content-type-options") == "nosniff"
    assert header(fields, "referrer-policy") == "strict-origin-when-cross-origin"
    fields = said({"upstream": "override"}, upstream)
    assert header(fields, "content-security-policy") == "frame-ancestors 'none'"
    assert len(upstream) == 2


def test_a_response_that_is_only_passed_on_keeps_its_bytes() -> None:
    upstream = FieldList()
    upstream.append((b"etag", b"1"))
    upstream.lines = b"ETag: 1\r\n"
    fields = said({}, upstream)
    assert field_lines(fields).startswith(b"ETag: 1\r\nx-content-type-options: nosniff\r\n")
    assert list(upstream) == [(b"etag", b"1")]


def test_a_browser_would_not_preload_less() -> None:
    with pytest.raises(ConfigError, match="hsts_preload"):
        said({"hsts": "30d", "hsts_subdomains": True, "hsts_preload": True})
