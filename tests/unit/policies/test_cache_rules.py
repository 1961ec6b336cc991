"""RFC 9111 as functions of values: what is stored, for how long, what a 304 changes."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from gatepost.config.policies.cache import CachePolicy
from gatepost.http1.messages import Fields
from gatepost.policies.caching import rules
from gatepost.policies.caching.asked import asked
from gatepost.policies.caching.rules import Kept

NOW = 1_800_000_000.0


def http_date(offset: float) -> bytes:
    return formatdate(NOW + offset, usegmt=True).encode()


def keeping(
    *fields: tuple[bytes, bytes], status: int = 200, request: Fields | None = None, identified: bool = False, **use: Any
) -> Kept | str:
    settings = rules.settings(CachePolicy(**use))
    ask = asked(request or [], obeyed=True)
    return rules.keeping(settings, ask, identified=identified, status=status, fields=list(fields), now=NOW)


def lifetime(*fields: tuple[bytes, bytes], **more: Any) -> int | str:
    kept = keeping(*fields, **more)
    return kept.lifetime if isinstance(kept, Kept) else kept


def control(value: bytes) -> tuple[bytes, bytes]:
    return (b"cache-control", value)


def test_s_maxage_before_max_age_before_expires() -> None:
    expires = (b"expires", http_date(30))
    assert lifetime(expires) == 30
    assert lifetime(expires, control(b"max-age=20")) == 20
    assert lifetime(expires, control(b"max-age=20, s-maxage=10")) == 10


def test_expires_counts_from_date() -> None:
    assert lifetime((b"expires", http_date(100)), (b"date", http_date(-50))) == 150
    assert lifetime((b"expires", b"0"), (b"etag", b'"a"')) == 0


def test_a_tenth_of_the_time_since_last_modified_is_guessed() -> None:
    assert lifetime((b"last-modified", http_date(-1000))) == 100
    assert lifetime((b"last-modified", http_date(-1_000_000))) == 3600
    assert lifetime((b"last-modified", http_date(-1_000_000)), heuristic=7200.0) == 7200
    assert lifetime((b"last-modified", http_date(-1000)), status=599) == "no-lifetime"
    assert lifetime((b"last-modified", http_date(-1000)), control(b"public"), status=599) == 100
    assert lifetime((b"last-modified", http_date(-1000)), heuristic=0.0) == 0  # kept, and validated each time


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], "no-lifetime"),
        ([control(b"no-store, max-age=60")], "no-store"),
        ([control(b"private, max-age=60")], "private"),
        ([control(b"max-age=60"), (b"set-cookie", b"a=b")], "set-cookie"),
        ([control(b"max-age=60"), (b"vary", b"*")], "vary"),
        ([control(b"max-age=0")], "not-fresh"),
        ([control(b"max-age='60'")], "not-fresh"),
    ],
)
def test_what_is_not_stored_says_why(fields: Fields, why: str) -> None:
    assert keeping(*fields) == why


@pytest.mark.parametrize("status", [200, 203, 204, 301, 302, 404, 410, 500, 503, 599])
def test_any_status_is_stored_that_says_for_how_long(status: int) -> None:
    assert lifetime(control(b"max-age=60"), status=status) == 60


@pytest.mark.parametrize("status", [101, 206, 304])
def test_parts_and_what_is_no_answer_are_not_stored(status: int) -> None:
    assert keeping(control(b"max-age=60"), status=status) == "status"


def test_must_understand_stands_above_no_store() -> None:
    assert lifetime(control(b"max-age=60, no-store, must-understand")) == 60
    assert lifetime(control(b"max-age=60, must-understand"), status=599) == "must-understand"


@pytest.mark.parametrize("who", [{"identified": True}, {"request": [(b"authorization", b"Bearer x")]}])
def test_answers_to_who_is_known_stay_private(who: dict[str, Any]) -> None:
    assert keeping(control(b"max-age=60"), **who) == "authenticated"
    assert keeping((b"expires", http_date(60)), **who) == "authenticated"
    for marked in (b"max-age=60, public", b"s-maxage=60", b"max-age=60, must-revalidate"):
        assert lifetime(control(marked), **who) == 60
    assert keeping(ttl=30.0, **who) == "authenticated"
    for identified in ("own", "shared"):
        use = rules.settings(CachePolicy(identified=identified))  # type: ignore[arg-type]
        kept = rules.keeping(
            use,
            asked(who.get("request", []), obeyed=True),
            identified="identified" in who,
            status=200,
            fields=[control(b"max-age=60")],
            now=NOW,
        )
        assert isinstance(kept, Kept)


def test_the_client_may_forbid_to_store() -> None:
    assert keeping(control(b"max-age=60"), request=[control(b"no-store")]) == "request-no-store"


def test_no_cache_is_stored_only_to_be_validated() -> None:
    assert keeping(control(b"no-cache, max-age=60")) == "not-fresh"
    kept = keeping(control(b"no-cache, max-age=60"), (b"etag", b'"a"'))
    assert isinstance(kept, Kept)
    assert (kept.lifetime, kept.strict) == (0, True)


def test_fields_that_no_cache_or_private_name_are_left_out() -> None:
    kept = keeping(control(b'no-cache="Set-Cookie", private="x-who, x-what", max-age=60'))
    assert isinstance(kept, Kept)
    assert {b"set-cookie", b"x-who", b"x-what"} <= kept.omitted
    assert kept.lifetime == 60


@pytest.mark.parametrize("word", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=60"])
def test_nothing_stale_where_it_is_forbidden(word: bytes) -> None:
    said = control(b"max-age=60, stale-while-revalidate=30, stale-if-error=30, " + word)
    kept = keeping(said, stale_if_error=100.0)
    assert isinstance(kept, Kept)
    assert (kept.strict, kept.stale_while_revalidate, kept.stale_if_error) == (True, 0, 0)


def test_what_a_response_says_of_staleness_stands_above_the_settings() -> None:
    use = {"stale_while_revalidate": 10.0, "stale_if_error": 20.0}
    kept = keeping(control(b"max-age=60"), **use)
    assert isinstance(kept, Kept)
    assert (kept.stale_while_revalidate, kept.stale_if_error) == (10, 20)
    kept = keeping(control(b"max-age=60, stale-while-revalidate=1, stale-if-error=2"), **use)
    assert isinstance(kept, Kept)
    assert (kept.stale_while_revalidate, kept.stale_if_error) == (1, 2)


def test_a_fixed_ttl_overrides_all_but_what_is_private() -> None:
    assert lifetime(control(b"no-store, no-cache, max-age=0"), ttl=30.0) == 30
    assert lifetime(ttl=30.0) == 30
    assert keeping(control(b"private"), ttl=30.0) == "private"
    assert keeping((b"set-cookie", b"a=b"), ttl=30.0) == "set-cookie"
    assert keeping(status=500, ttl=30.0) == "status"
    assert lifetime((b"set-cookie", b"a=b"), ttl=30.0, set_cookie=True) == 30


def test_a_targeted_field_replaces_cache_control() -> None:
    cdn = (b"cdn-cache-control", b"max-age=60")
    assert lifetime(control(b"no-store"), cdn) == "no-store"
    assert lifetime(control(b"no-store"), cdn, targets=("CDN-Cache-Control",)) == 60
    assert lifetime(control(b"max-age=5"), (b"cdn-cache-control", b""), targets=("CDN-Cache-Control",)) == 5
    none = (b"cdn-cache-control", b"no-store")
    assert lifetime(control(b"max-age=5"), none, targets=("CDN-Cache-Control",)) == "no-store"


def test_age_is_the_larger_of_what_is_told_and_what_is_seen() -> None:
    def initial(*fields: tuple[bytes, bytes], delay: float = 0.0) -> float:
        return rules.initial_age(list(fields), now=NOW, delay=delay)

    assert initial() == 0
    assert initial((b"age", b"30")) == 30
    assert initial((b"age", b"30"), delay=2.0) == 32
    assert initial((b"date", http_date(-40)), (b"age", b"30")) == 40
    assert initial((b"date", http_date(40))) == 0  # a clock that is fast
    assert initial((b"date", b"foo"), (b"age", b"x")) == 0


def test_a_304_replaces_fields_but_none_of_the_content() -> None:
    stored = [(b"etag", b'"a"'), (b"x", b"1"), (b"x", b"2"), (b"content-encoding", b"gzip"), (b"y", b"1")]
    fresh = [(b"x", b"3"), (b"content-encoding", b"br"), (b"content-length", b"9"), (b"date", b"now")]
    assert rules.merged(stored, fresh) == [
        (b"etag", b'"a"'),
        (b"content-encoding", b"gzip"),
        (b"y", b"1"),
        (b"x", b"3"),
        (b"date", b"now"),
    ]


def test_a_304_is_about_what_has_its_validator() -> None:
    assert rules.selects([(b"etag", b'"a"')], [(b"etag", b'W/"a"')])
    assert not rules.selects([(b"etag", b'"a"')], [(b"etag", b'"b"')])
    assert rules.selects([(b"etag", b'"a"')], [])
    assert not rules.selects([(b"last-modified", b"then")], [(b"last-modified", b"now")])


def test_tags_come_from_two_fields() -> None:
    assert rules.tags([(b"surrogate-key", b"a b"), (b"cache-tag", b"c, d")]) == {b"a", b"b", b"c", b"d"}
