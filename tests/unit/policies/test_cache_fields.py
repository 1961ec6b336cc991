"""Caching fields as values."""

from __future__ import annotations

import pytest
from tests.support.exchanges import make_exchange

from gatepost.policies.caching.asked import PLAIN, asked
from gatepost.policies.caching.fields import MOST, age, date, delta, directives, members, presented, varying

NOW = 1_800_000_000.0  # 2027-01-15


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=60", {b"max-age": b"60"}),
        (b"Max-Age=60, PUBLIC", {b"max-age": b"60", b"public": b""}),
        (b'max-age="60"', {b"max-age": b"60"}),
        (b'no-cache="a, b", max-age=1', {b"no-cache": b"a, b", b"max-age": b"1"}),
        (b'x="max-age=3600", max-age=1', {b"x": b"max-age=3600", b"max-age": b"1"}),
        (b'x="a\\", max-age=9", max-age=1', {b"x": b'a", max-age=9', b"max-age": b"1"}),
        (b"max-age=1, max-age=60", {b"max-age": b"1"}),  # the first counts
        (b"max-age =60", {b"max-age ": b"60"}),  # no space is allowed there: it is another directive
        (b", ,", {}),
    ],
)
def test_directives_are_read_as_a_list(value: bytes, expected: dict[bytes, bytes]) -> None:
    assert directives([value]) == expected


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [(b"60", 60), (b"0060", 60), (b"99999999999", MOST), (b"2147483649", MOST), (b"-1", 0), (b"1.5", 0), (b"", 0)],
)
def test_what_is_no_number_of_seconds_is_none_at_all(argument: bytes, seconds: int) -> None:
    assert delta(argument) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"SUN, 06 NOV 1994 08:49:37 gmt",
    ],
)
def test_a_date_has_three_formats_in_any_case(value: bytes) -> None:
    assert date(value, NOW) == 784_111_777


def test_two_digits_of_a_year_are_at_most_fifty_years_ahead() -> None:
    assert date(b"Monday, 06-Nov-70 00:00:00 GMT", NOW) == date(b"Thu, 06 Nov 2070 00:00:00 GMT", NOW)
    assert date(b"Sunday, 06-Nov-94 00:00:00 GMT", NOW) == date(b"Sun, 06 Nov 1994 00:00:00 GMT", NOW)


@pytest.mark.parametrize(
    "value",
    [
        b"0",
        b"",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nox 1994 08:49:37 GMT",
        b"1800000000",
    ],
)
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert date(value, NOW) is None


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [([], 0), ([b"7"], 7), ([b"7, 0"], 7), ([b"0", b"7"], 0), ([b"abc"], 0), ([b"-7"], 0), ([b"7;x=y"], 0)],
)
def test_of_several_ages_the_first_counts_and_what_is_none_is_ignored(lines: list[bytes], seconds: int) -> None:
    assert age(lines) == seconds


def test_vary_names_fields_in_one_order() -> None:
    assert varying([b"Foo, bar", b"BAR,, baz"]) == (b"bar", b"baz", b"foo")
    assert varying([]) == ()


@pytest.mark.parametrize("value", [b"*", b"foo, *", b"*, foo", b", *", b"X-Request-Id"])
def test_no_other_request_can_match_a_star(value: bytes) -> None:
    assert varying([value]) is None


def same(name: bytes, a: list[bytes], b: list[bytes]) -> bool:
    one, _ = make_exchange(fields=[(name, value) for value in a])
    other, _ = make_exchange(fields=[(name, value) for value in b])
    return presented(one.head, b"", name) == presented(other.head, b"", name)


def test_white_space_and_the_split_into_lines_make_no_difference() -> None:
    assert same(b"foo", [b"1, 2"], [b"1", b"2"])
    assert same(b"foo", [b"1,2"], [b" 1 , 2 "])
    assert not same(b"foo", [b"1, 2"], [b"2, 1"])
    assert not same(b"foo", [b"1"], [])
    assert not same(b"foo", [b""], [])
    assert not same(b"foo", [b'"a,b"'], [b'"a, b"'])


def test_preferences_have_no_order_and_no_case() -> None:
    assert same(b"accept-language", [b"en, de"], [b"De,eN"])
    assert not same(b"accept-language", [b"en, de;q=0.5"], [b"en;q=0.5, de"])
    assert same(b"accept-encoding", [b"gzip, br"], [b"br,gzip"])


def test_what_the_gateway_says_itself_is_what_the_service_varies_by() -> None:
    x, _ = make_exchange(fields=[(b"x-forwarded-for", b"forged")])
    assert presented(x.head, b"x-forwarded-for: 192.0.2.1\r\n", b"x-forwarded-for") == b"x-forwarded-for: 192.0.2.1\r\n"


def test_members_are_split_outside_of_quotes() -> None:
    assert list(members(b'a, "b,c" , d')) == [b"a", b'"b,c"', b"d"]


def test_most_requests_ask_nothing() -> None:
    assert asked([(b"accept", b"*/*"), (b"pragma", b"no-cache")], obeyed=True) is PLAIN


def test_what_is_asked() -> None:
    ask = asked([(b"cache-control", b"max-age=5, min-fresh=2"), (b"cache-control", b"max-stale")], obeyed=True)
    assert (ask.max_age, ask.min_fresh, ask.max_stale) == (5, 2, MOST)
    ask = asked([(b"if-none-match", b'"a"'), (b"if-match", b"*"), (b"range", b"bytes=0-1")], obeyed=True)
    assert ask.conditional
    assert ask.precondition
    assert ask.range == b"bytes=0-1"


def test_where_clients_are_not_obeyed_only_no_store_and_only_if_cached_count() -> None:
    ask = asked([(b"cache-control", b"no-cache, no-store, max-age=0, only-if-cached")], obeyed=False)
    assert (ask.no_cache, ask.no_store, ask.max_age, ask.only_if_cached) == (False, True, None, True)
