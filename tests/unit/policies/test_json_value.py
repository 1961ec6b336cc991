"""JSON as its sender wrote it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policies.json_value import NotJson, json_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":[1,"x",null,true]}', {"a": [1, "x", None, True]}),
        (b'{ "a" : 1 }', {"a": 1}),
        (b"19.990", Decimal("19.990")),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_values_keep_their_digits(text: bytes, value: object) -> None:
    assert json_value(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1,]", "at character"),
        (b"NaN", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf1", "Expecting value"),
        (b'{"role":"user","role":"admin"}', "A name stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "A name stands twice"),
        (b'{"a":1,"\\u0061":2}', "A name stands twice"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "too many digits"),
        (b"1e99999999999999999999", "too many digits"),
    ],
)
def test_what_has_no_one_reading_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(NotJson, match=why):
        json_value(text)


@given(st.binary(max_size=60))
def test_random_bytes_find_only_our_own_error(data: bytes) -> None:
    try:
        json_value(data)
    except NotJson:
        pass
