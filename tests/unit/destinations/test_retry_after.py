"""What receivers say in Retry-After (RFC 9110 §10.2.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.destinations.retry_after import LONGEST, retry_after

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b" 120 ", 120.0),
        (b"999999999999999999999", LONGEST),
        (b"Wed, 21 Oct 2015 07:30:00 GMT", 120.0),
        (b"Wednesday, 21-Oct-15 07:30:00 GMT", 120.0),
        (b"Wed Oct 21 07:30:00 2015", 120.0),
        (b"Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        (b"Wed, 21 Oct 2099 07:00:00 GMT", LONGEST),
        (b"1.5", None),
        (b"-5", None),
        (b"", None),
        (b"tomorrow", None),
        ("١٢".encode(), None),
    ],
)
def test_seconds_and_dates(value: bytes, seconds: float | None) -> None:
    assert retry_after([(b"server", b"x"), (b"retry-after", value)], NOW) == seconds


def test_none_said() -> None:
    assert retry_after([(b"server", b"x")], NOW) is None


@given(st.binary(max_size=60))
def test_nothing_breaks_it(value: bytes) -> None:
    wait = retry_after([(b"retry-after", value)], NOW)
    assert wait is None or 0.0 <= wait <= LONGEST
