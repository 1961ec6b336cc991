from __future__ import annotations

import pytest

from gatepost.destinations.headers import fault, lines


def test_own_fields_are_added_in_lower_case() -> None:
    assert (
        lines({"X-Tenant": " acme ", "Authorization": "Bearer t"}) == b"x-tenant: acme\r\nauthorization: Bearer t\r\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "content-type",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "TE",
        "Expect",
        "User-Agent",
        "Webhook-Id",
        "webhook-signature",
        "webhook-anything",
    ],
)
def test_what_frames_or_signs_the_request_is_ours(name: str) -> None:
    assert "set by Gatepost" in (fault(name, "x") or "")
    assert lines({name: "x"}) == b""


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é", "x" * 257, "a\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert fault(name, "x")
    assert lines({name: "x"}) == b""


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nb", "a\0b", "a\x7fb", "snow ☃", "x" * 4097, "a\n"])
def test_a_value_cannot_begin_another_line(value: str) -> None:
    assert fault("x-a", value)
    assert lines({"x-a": value}) == b""
