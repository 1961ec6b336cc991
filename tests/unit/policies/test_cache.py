"""The `cache` policy between a client and a target, without sockets, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, RecordingSource, make_exchange

from gatepost.clock import ManualClock
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.cache import CachePolicy
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies import check_together
from gatepost.policies.base import PolicyContext
from gatepost.policies.cache import build, storage_of
from gatepost.policies.caching.answers import http_date
from gatepost.policies.states import States
from gatepost.stores.access import Access


class Target:
    """The handler: it remembers who asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []
        self.gone: list[Exchange] = []

    def handle(self, x: Exchange) -> None:
        self.asked.append(x)

    def client_gone(self, x: Exchange) -> None:
        self.gone.append(x)

    def answers(self, body: bytes = b"hello", *, status: int = 200, fields: Fields | None = None) -> Exchange:
        x = self.asked.pop(0)
        x.downstream.respond(x, status, listed(fields or [(b"cache-control", b"max-age=60")]), body)
        finish(x)
        return x


def listed(fields: Fields) -> FieldList:
    out = FieldList()
    out += fields
    return out


def finish(x: Exchange) -> None:
    for step in x.route.on_finish:
        step(x)


class Place:
    """One route with a cache, its target and its clock."""

    def __init__(self, *behind: Policy, states: States | None = None, route: str = "route", **use: Any) -> None:
        self.clock = ManualClock()
        self.states = states or States()
        self.storage = storage_of(self.states)
        self.target = Target()
        context = PolicyContext(route, Access(), self.states, clock=self.clock)
        self.cache = build(CachePolicy(**use), context)
        self.policies = (self.cache, *behind)
        self.route = route

    def exchange(
        self, method: str = "GET", url: str = "/", fields: Fields | None = None, *, consumer: str = ""
    ) -> tuple[Exchange, RecordingDownstream]:
        x, client = make_exchange(method, url, fields, handler=self.target, policies=self.policies, route=self.route)
        x.started = self.clock.monotonic()
        x.consumer = Consumer(consumer) if consumer else None
        downstream: Any = client
        for stage in x.route.stages:
            downstream = stage(x, downstream)
        x.downstream = downstream
        return x, client

    def run(self, x: Exchange) -> Awaitable[Response | None] | None:
        """As the server does it."""
        for step in x.route.on_request:
            answer = step(x)
            if isinstance(answer, Response):
                self.give(x, answer)
                return None
            if answer is not None:
                return answer
        self.target.handle(x)
        return None

    def give(self, x: Exchange, answer: Response | None) -> None:
        if answer is None:
            self.target.handle(x)
            return
        x.outcome = answer.outcome
        x.downstream.respond(x, answer.status, answer.fields, answer.body)
        finish(x)

    def ask(
        self, method: str = "GET", url: str = "/", fields: Fields | None = None, *, consumer: str = ""
    ) -> RecordingDownstream:
        x, client = self.exchange(method, url, fields, consumer=consumer)
        assert self.run(x) is None
        return client

    def stored(self, body: bytes = b"hello", *, status: int = 200, fields: Fields | None = None, **ask: Any) -> None:
        self.ask(**ask)
        self.target.answers(body, status=status, fields=fields)


def told(client: RecordingDownstream) -> bytes:
    return client.header(b"cache-status") or b""


def control(value: bytes) -> tuple[bytes, bytes]:
    return (b"cache-control", value)


def test_it_stands_last_before_the_handler() -> None:
    assert Place().cache.phase is Phase.CACHE


def test_a_fresh_answer_comes_from_memory_and_says_its_age() -> None:
    place = Place()
    place.stored(b"hello", fields=[control(b"max-age=60"), (b"x", b"1")])
    place.clock.advance(10)
    client = place.ask()
    assert (client.status, client.body) == (200, b"hello")
    assert client.header(b"age") == b"10"
    assert client.header(b"x") == b"1"
    assert told(client) == b"Gatepost; hit; ttl=50"
    assert client.calls == ["respond"]
    assert not place.target.asked


def test_the_bytes_of_a_hit_are_its_fields() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60"), (b"x", b"1")])
    x, _ = place.exchange()
    (answer,) = [step(x) for step in x.route.on_request]
    assert isinstance(answer, Response)
    assert isinstance(answer.fields, FieldList)
    lines = answer.fields.lines
    assert lines is None or lines == b"".join(b"%b: %b\r\n" % field for field in answer.fields)
    assert answer.fields.dated


def test_what_is_stale_is_asked_for_again() -> None:
    place = Place()
    place.stored()
    place.clock.advance(61)
    client = place.ask()
    assert client.silent
    place.target.answers(b"new")
    assert client.body == b"new"
    assert told(client) == b"Gatepost; fwd=stale; stored"
    assert place.ask().body == b"new"


def test_why_an_answer_is_not_stored_stands_in_cache_status() -> None:
    place = Place()
    client = place.ask()
    place.target.answers(fields=[control(b"no-store")])
    assert told(client) == b"Gatepost; fwd=uri-miss; detail=no-store"
    assert place.ask().silent


def test_head_is_answered_from_get() -> None:
    place = Place()
    place.stored(b"hello")
    client = place.ask("HEAD")
    assert told(client).startswith(b"Gatepost; hit")
    client = place.ask("HEAD", "/other")
    place.target.answers(b"", fields=[control(b"max-age=60")])
    assert told(client) == b"Gatepost; fwd=uri-miss; detail=method"
    assert place.ask(url="/other").silent


@pytest.mark.parametrize("url", ["/?a=1", "/b"])
def test_another_url_is_another_answer(url: str) -> None:
    place = Place()
    place.stored()
    assert place.ask(url=url).silent


def test_another_host_or_scheme_is_another_answer() -> None:
    place = Place()
    place.stored()
    x, client = place.exchange()
    x.head.host = b"other.test"
    place.run(x)
    assert client.silent
    x, client = place.exchange()
    x.scheme = b"https"
    place.run(x)
    assert client.silent


def test_behind_a_trusted_proxy_its_host_counts_not_the_one_a_client_wrote_into_another_field() -> None:
    def through(place: Place, forwarding: bytes) -> RecordingDownstream:
        x, client = place.exchange()
        x.trusted = True
        x.forwarding = forwarding
        place.run(x)
        return client

    place = Place()
    through(place, b"x-forwarded-for: 1\r\nx-forwarded-host: a.test\r\n")
    place.target.answers()
    assert not through(place, b"x-forwarded-for: 2\r\nx-forwarded-host: a.test\r\n").silent
    assert through(place, b"x-forwarded-for: x-forwarded-host: a.test\r\nx-forwarded-host: b.test\r\n").silent


def test_a_path_that_a_policy_rewrote_counts_with_what_came() -> None:
    place = Place()
    x, _ = place.exchange(url="/a")
    x.path = "/inner"
    place.run(x)
    place.target.answers()
    x, client = place.exchange(url="/b")
    x.path = "/inner"
    place.run(x)
    assert client.silent


def test_what_a_policy_makes_of_one_target_by_other_means_is_told_apart() -> None:
    place = Place()
    for path, query in (("/gold", b""), ("/free", b""), ("/free", b"tier=1")):
        x, client = place.exchange(url="/a")
        x.path, x.query = path, query
        place.run(x)
        assert client.silent
        place.target.answers()


def test_variants_are_told_apart_by_what_vary_names() -> None:
    place = Place()
    vary = [control(b"max-age=60"), (b"vary", b"accept-language")]
    x_de: Fields = [(b"accept-language", b"de")]
    place.ask(fields=x_de)
    place.target.answers(b"hallo", fields=vary)
    client = place.ask(fields=[(b"accept-language", b"en")])
    assert client.silent
    place.target.answers(b"hello", fields=vary)
    assert told(client) == b"Gatepost; fwd=vary-miss; stored"
    assert place.ask(fields=x_de).body == b"hallo"
    assert place.ask(fields=[(b"accept-language", b"EN")]).body == b"hello"


# Validation


def test_a_304_makes_the_stored_answer_fresh_again() -> None:
    place = Place()
    place.stored(b"hello", fields=[control(b"max-age=60"), (b"etag", b'"a"'), (b"x", b"1")])
    place.clock.advance(100)
    client = place.ask()
    (asked,) = place.target.asked
    assert asked.head.get(b"if-none-match") == b'"a"'
    place.target.answers(b"", status=304, fields=[control(b"max-age=30"), (b"x", b"2")])
    assert (client.status, client.body, client.header(b"x")) == (200, b"hello", b"2")
    assert told(client) == b"Gatepost; fwd=stale; fwd-status=304"
    place.clock.advance(20)
    client = place.ask()
    assert told(client) == b"Gatepost; hit; ttl=10"
    assert client.header(b"x") == b"2"


def test_a_304_that_comes_in_pieces_answers_once() -> None:
    place = Place()
    place.stored(b"hello", fields=[control(b"max-age=60"), (b"etag", b'"a"')])
    place.clock.advance(100)
    client = place.ask()
    x = place.target.asked.pop()
    x.downstream.begin(x, 304, listed([(b"etag", b'"a"')]), None, RecordingSource())
    x.downstream.finish()
    assert client.calls == ["respond"]
    assert client.body == b"hello"


def test_the_clients_own_condition_is_judged_by_what_is_stored() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60"), (b"etag", b'"a"'), (b"content-type", b"text/plain")])
    for tags, status in ((b'"a"', 304), (b'W/"a", "b"', 304), (b"*", 304), (b'"b"', 200)):
        client = place.ask(fields=[(b"if-none-match", tags)])
        assert client.status == status, tags
    client = place.ask(fields=[(b"if-none-match", b'"a"')])
    assert client.header(b"etag") == b'"a"'
    assert client.header(b"content-type") is None
    place.clock.advance(100)
    client = place.ask(fields=[(b"if-none-match", b'"a"')])
    place.target.answers(b"", status=304, fields=[control(b"max-age=60")])
    assert client.status == 304


def test_a_date_of_the_client_counts_where_there_is_no_tag() -> None:
    place = Place()
    now = place.clock.now()
    modified = (b"last-modified", http_date(now - 100))
    place.stored(fields=[control(b"max-age=60"), modified])
    assert place.ask(fields=[(b"if-modified-since", http_date(now - 100))]).status == 304
    assert place.ask(fields=[(b"if-modified-since", http_date(now - 101))]).status == 200
    assert place.ask(fields=[(b"if-modified-since", b"yesterday")]).status == 200


def test_a_new_answer_replaces_the_old_and_one_that_may_not_be_stored_removes_it() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60"), (b"etag", b'"a"')])
    place.clock.advance(100)
    place.ask()
    place.target.answers(b"secret", fields=[control(b"no-store")])
    assert len(place.storage) == 0


def test_a_304_about_something_else_changes_nothing() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60"), (b"etag", b'"a"')])
    place.clock.advance(100)
    client = place.ask()
    place.target.answers(b"", status=304, fields=[control(b"max-age=60"), (b"etag", b'"b"')])
    assert client.body == b"hello"
    assert place.ask().silent


# What a request asks


@pytest.mark.parametrize("word", [b"no-cache", b"max-age=0", b"min-fresh=100"])
def test_a_client_may_ask_past_a_fresh_answer(word: bytes) -> None:
    place = Place()
    place.stored()
    place.clock.advance(1)
    client = place.ask(fields=[control(word)])
    assert client.silent
    place.target.answers(b"new")
    assert told(client) == b"Gatepost; fwd=request; stored"


def test_with_a_fixed_ttl_clients_do_not_decide() -> None:
    place = Place(ttl=30.0)
    place.stored(fields=[control(b"no-cache")])
    assert place.ask(fields=[control(b"no-cache")]).body == b"hello"
    place.clock.advance(31)
    assert place.ask().silent


def test_a_client_may_take_what_is_stale() -> None:
    place = Place()
    place.stored()
    place.clock.advance(70)
    assert place.ask(fields=[control(b"max-stale=9")]).silent
    place.target.asked.clear()
    place.storage.flights.clear()
    assert told(place.ask(fields=[control(b"max-stale=10")])) == b"Gatepost; hit; ttl=-10"
    assert place.ask(fields=[control(b"max-stale")]).status == 200


def test_only_if_cached_is_refused_where_there_is_nothing() -> None:
    client = Place().ask(fields=[control(b"only-if-cached")])
    assert client.status == 504
    assert json.loads(client.body)["type"] == "urn:gatepost:problem:not-in-cache"


def test_a_condition_that_only_the_origin_can_judge_goes_to_it() -> None:
    place = Place()
    place.stored()
    assert place.ask(fields=[(b"if-match", b'"a"')]).silent


# Ranges


@pytest.mark.parametrize(
    ("asked", "status", "body", "span"),
    [
        (b"bytes=0-1", 206, b"he", b"bytes 0-1/5"),
        (b"bytes=3-", 206, b"lo", b"bytes 3-4/5"),
        (b"bytes=-2", 206, b"lo", b"bytes 3-4/5"),
        (b"bytes=-9", 206, b"hello", b"bytes 0-4/5"),
        (b"bytes=0-99", 206, b"hello", b"bytes 0-4/5"),
        (b"bytes=0-1,3-4", 200, b"hello", None),
        (b"bytes=-", 200, b"hello", None),
        (b"bytes=3-1", 200, b"hello", None),
        (b"lines=0-1", 200, b"hello", None),
    ],
)
def test_a_part_of_what_is_stored(asked: bytes, status: int, body: bytes, span: bytes | None) -> None:
    place = Place()
    place.stored(b"hello")
    client = place.ask(fields=[(b"range", asked)])
    assert (client.status, client.body, client.header(b"content-range")) == (status, body, span)


@pytest.mark.parametrize("asked", [b"bytes=5-", b"bytes=9-10", b"bytes=-0"])
def test_a_part_that_is_not_there_is_416(asked: bytes) -> None:
    place = Place()
    place.stored(b"hello")
    client = place.ask(fields=[(b"range", asked)])
    assert client.status == 416
    assert client.header(b"content-range") == b"bytes */5"
    assert json.loads(client.body)["type"] == "urn:gatepost:problem:range-not-satisfiable"


def test_if_range_wants_the_same_strong_tag() -> None:
    place = Place()
    place.stored(b"hello", fields=[control(b"max-age=60"), (b"etag", b'"a"')])
    part: tuple[bytes, bytes] = (b"range", b"bytes=0-1")
    assert place.ask(fields=[part, (b"if-range", b'"a"')]).status == 206
    assert place.ask(fields=[part, (b"if-range", b'"b"')]).status == 200
    assert place.ask(fields=[part, (b"if-range", b'W/"a"')]).status == 200


def test_a_part_that_is_not_stored_is_asked_for_as_it_is() -> None:
    place = Place()
    client = place.ask(fields=[(b"range", b"bytes=0-1")])
    (asked,) = place.target.asked
    assert asked.head.get(b"range") == b"bytes=0-1"
    place.target.answers(b"he", status=206)
    assert told(client) == b"Gatepost; fwd=uri-miss; detail=status"
    assert len(place.storage) == 0


# Who is known


def test_one_consumers_answer_never_reaches_another() -> None:
    place = Place()
    place.ask(consumer="ann")
    place.target.answers(b"ann's")
    assert len(place.storage) == 0
    client = place.ask(consumer="bob")
    assert client.silent


def test_with_own_each_caller_has_answers_of_its_own() -> None:
    place = Place(identified="own")
    place.ask(consumer="ann")
    place.target.answers(b"ann's")
    assert place.ask(consumer="bob").silent
    place.target.asked.clear()
    assert place.ask(consumer="ann").body == b"ann's"
    assert place.ask().silent
    # Several people may come as one consumer: what the service tells them apart by does so here.
    assert place.ask(consumer="ann", fields=[(b"authorization", b"Bearer x")]).silent


def test_with_shared_they_are_for_everyone() -> None:
    place = Place(identified="shared")
    place.ask(consumer="ann")
    place.target.answers(b"everyone's")
    assert place.ask(consumer="bob").body == b"everyone's"


def test_a_key_tells_apart_what_the_url_does_not() -> None:
    place = Place(key="request.headers['x-tenant']")
    place.ask(fields=[(b"x-tenant", b"a")])
    place.target.answers(b"a's")
    assert place.ask(fields=[(b"x-tenant", b"b")]).silent
    assert place.ask(fields=[(b"x-tenant", b"a")]).body == b"a's"


def test_a_key_that_is_no_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^key: "):
        Place(key="request.nothing")


# Changes


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH"])
def test_a_change_lets_go_of_the_path_whatever_the_query(method: str) -> None:
    place = Place()
    place.stored(url="/orders?page=1")
    place.stored(url="/orders")
    place.stored(url="/other")
    client = place.ask(method, "/orders")
    assert len(place.storage) == 3
    place.target.answers(b"", status=201)
    assert client.status == 201
    assert len(place.storage) == 1


def test_a_change_that_failed_changes_nothing() -> None:
    place = Place()
    place.stored()
    place.ask("POST")
    place.target.answers(b"", status=409)
    assert place.ask().body == b"hello"


def test_a_change_is_seen_by_every_route_and_names_others_of_its_origin() -> None:
    states = States()
    reads, writes = Place(states=states, route="reads"), Place(states=states, route="writes")
    for url in ("/orders", "/orders/7", "/far"):
        reads.stored(url=url)
    writes.ask("POST", "/orders")
    location: Fields = [(b"location", b"/orders/7"), (b"content-location", b"http://elsewhere.test/far")]
    writes.target.answers(b"", status=201, fields=location)
    assert len(reads.storage) == 1
    assert reads.ask(url="/far").body == b"hello"


def test_a_change_lets_go_of_nothing_of_another_origin() -> None:
    place = Place()
    x, _ = place.exchange(url="/far")
    x.head.host = b"elsewhere.test"
    place.run(x)
    place.target.answers()
    place.ask("POST", "/orders")
    place.target.answers(b"", status=201, fields=[(b"location", b"http://elsewhere.test/far")])
    assert len(place.storage) == 1


def test_an_answer_that_was_on_its_way_when_something_changed_is_not_stored() -> None:
    place = Place()
    place.ask()
    place.ask("POST")
    read, write = place.target.asked
    place.target.asked[:] = [write]
    place.target.answers(b"", status=204)
    place.target.asked[:] = [read]
    place.target.answers(b"old")
    assert len(place.storage) == 0


# Bodies


def test_a_body_goes_through_as_it_comes_and_is_stored_once_it_is_whole() -> None:
    place = Place()
    client = place.ask()
    x = place.target.asked.pop()
    source = RecordingSource()
    x.downstream.begin(x, 200, listed([control(b"max-age=60")]), None, source)
    x.downstream.send(b"hel")
    assert client.body == b"hel"
    assert client.source is source
    assert len(place.storage) == 0
    x.downstream.send(b"lo")
    x.downstream.finish()
    finish(x)
    assert client.finished
    assert place.ask().body == b"hello"


@pytest.mark.parametrize("end", ["abort", "short"])
def test_half_a_body_is_never_stored(end: str) -> None:
    place = Place()
    client = place.ask()
    x = place.target.asked.pop()
    x.downstream.begin(x, 200, listed([control(b"max-age=60")]), 5 if end == "short" else None, RecordingSource())
    x.downstream.send(b"hel")
    x.downstream.finish() if end == "short" else x.downstream.abort()
    assert client.ended
    assert len(place.storage) == 0
    assert place.storage.filling == 0
    assert not place.storage.fills


@pytest.mark.parametrize("length", [None, 11])
def test_what_is_too_large_is_not_stored(length: int | None) -> None:
    place = Place(max_object=10)
    client = place.ask()
    x = place.target.asked.pop()
    x.downstream.begin(x, 200, listed([control(b"max-age=60")]), length, RecordingSource())
    x.downstream.send(b"x" * 6)
    x.downstream.send(b"x" * 5)
    x.downstream.finish()
    assert client.body == b"x" * 11
    assert len(place.storage) == 0
    assert place.storage.filling == 0


def test_what_the_gateway_answers_itself_is_not_stored() -> None:
    place = Place(ttl=30.0)
    place.ask()
    x = place.target.asked.pop()
    x.outcome = "no-route"
    x.downstream.respond(x, 404, [], b"")
    assert len(place.storage) == 0


# Failures


@pytest.mark.parametrize("failure", ["503", "502 of ours"])
def test_a_stale_answer_stands_in_for_an_error(failure: str) -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60, stale-if-error=30")])
    place.clock.advance(80)
    x, client = place.exchange()
    place.run(x)
    if failure == "503":
        source = RecordingSource()
        x.downstream.begin(x, 503, listed([]), 100, source)
        assert source.calls == ["cancel"]
    else:
        x.outcome = "upstream-closed"
        x.downstream.respond(x, 502, [], b"{}")
    assert client.body == b"hello"
    assert told(client).startswith(b"Gatepost; fwd=stale; fwd-status=50")
    assert x.outcome == ""
    place.clock.advance(20)
    place.target.asked.clear()
    client = place.ask()
    place.target.answers(b"down", status=503, fields=[control(b"no-store")])
    assert client.status == 503


def test_nothing_stale_where_it_must_be_validated_whatever_the_client_says() -> None:
    place = Place(stale_if_error=100.0)
    place.stored(fields=[control(b"max-age=60, must-revalidate")])
    place.clock.advance(61)
    client = place.ask(fields=[control(b"max-stale, stale-if-error=100")])
    assert client.silent
    place.target.answers(b"down", status=503, fields=[control(b"no-store")])
    assert client.status == 503


# Renewed in the background


def test_while_it_is_renewed_the_stale_answer_is_given() -> None:
    place = Place()
    place.stored(b"old", fields=[control(b"max-age=60, stale-while-revalidate=30"), (b"etag", b'"a"')])
    place.clock.advance(70)
    assert place.ask().body == b"old"
    assert place.ask().body == b"old"
    (renewal,) = place.target.asked  # one, for both
    assert renewal.head.get(b"if-none-match") == b'"a"'
    place.target.asked.clear()
    renewal.downstream.respond(renewal, 200, listed([control(b"max-age=60")]), b"new")
    assert told(place.ask()) == b"Gatepost; hit; ttl=60"
    assert place.ask().body == b"new"
    place.clock.advance(200)
    assert place.ask().silent


def test_a_renewal_that_is_not_stored_is_not_read() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60, stale-while-revalidate=30")])
    place.clock.advance(70)
    place.ask()
    renewal = place.target.asked.pop()
    source = RecordingSource()
    renewal.downstream.begin(renewal, 200, listed([control(b"no-store")]), None, source)
    assert source.calls == ["cancel"]
    assert not place.storage.flights


def test_a_renewal_of_head_asks_with_get() -> None:
    place = Place()
    place.stored(fields=[control(b"max-age=60, stale-while-revalidate=30")])
    place.clock.advance(70)
    x, _ = place.exchange("HEAD")
    place.run(x)
    (renewal,) = place.target.asked
    assert (renewal.head.method, x.head.method) == (b"GET", b"HEAD")


class Behind(Policy):
    name = "behind"
    phase = Phase.EMIT


def test_where_a_policy_stands_behind_it_the_client_waits() -> None:
    place = Place(Behind())
    place.stored(fields=[control(b"max-age=60, stale-while-revalidate=30")])
    place.clock.advance(70)
    assert place.ask().silent


# Many at once


async def waiting(place: Place, number: int, **ask: Any) -> list[tuple[RecordingDownstream, asyncio.Task[None]]]:
    """Clients that come while somebody asks already."""

    async def one(x: Exchange, answer: Awaitable[Response | None]) -> None:
        place.give(x, await answer)

    out = []
    for _ in range(number):
        x, client = place.exchange(**ask)
        answer = place.run(x)
        assert answer is not None
        out.append((client, asyncio.ensure_future(one(x, answer))))
    await asyncio.sleep(0)
    return out


async def test_many_clients_cost_one_call() -> None:
    place = Place()
    first = place.ask()
    others = await waiting(place, 50)
    assert len(place.target.asked) == 1
    place.target.answers(b"hello")
    await asyncio.gather(*(task for _, task in others))
    assert first.body == b"hello"
    assert {client.body for client, _ in others} == {b"hello"}
    assert {told(client) for client, _ in others} == {b"Gatepost; fwd=uri-miss; collapsed"}
    assert not place.target.asked


async def test_if_it_is_not_stored_each_goes_on_by_itself_and_nobody_waits_the_next_time() -> None:
    place = Place()
    place.ask()
    others = await waiting(place, 3)
    x = place.target.asked.pop()
    x.downstream.begin(x, 200, listed([control(b"private")]), None, RecordingSource())
    async with asyncio.timeout(2):  # far less than `collapse`
        await asyncio.gather(*(task for _, task in others))
    assert len(place.target.asked) == 3  # at its head already
    place.target.asked.clear()
    for _ in range(3):
        assert place.ask().silent
    assert len(place.target.asked) == 3
    place.clock.advance(11)
    place.ask()
    await_one = await waiting(place, 1)
    for _, task in await_one:
        task.cancel()


async def test_a_leader_that_leaves_does_not_fail_the_others() -> None:
    place = Place()
    x, _ = place.exchange()
    place.run(x)
    others = await waiting(place, 3)
    finish(x)  # its client is gone
    place.target.asked.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(place.target.asked) == 1  # one of them leads now
    place.target.answers(b"hello")
    await asyncio.gather(*(task for _, task in others))
    assert {client.body for client, _ in others} == {b"hello"}


async def test_a_waiter_that_leaves_is_nobodys_loss() -> None:
    place = Place()
    place.ask()
    (gone, leaving), (stays, task) = await waiting(place, 2)
    leaving.cancel()
    await asyncio.sleep(0)
    place.target.answers(b"hello")
    await task
    assert gone.silent
    assert stays.body == b"hello"


async def test_when_the_target_fails_nobody_waits_for_the_next_failure() -> None:
    place = Place()
    place.ask()
    others = await waiting(place, 3)
    x = place.target.asked.pop()
    x.outcome = "upstream-timeout"
    x.downstream.respond(x, 504, [], b"{}")
    async with asyncio.timeout(2):  # far less than `collapse`
        await asyncio.gather(*(task for _, task in others))
    assert len(place.target.asked) == 3


async def test_nobody_waits_longer_than_collapse_says() -> None:
    place = Place(collapse=0.01)
    place.ask()
    ((client, task),) = await waiting(place, 1)
    await task
    assert client.silent
    assert len(place.target.asked) == 2


async def test_without_collapse_nobody_waits() -> None:
    place = Place(collapse=0.0)
    place.ask()
    place.ask()
    assert len(place.target.asked) == 2


async def test_who_has_to_validate_each_time_does_not_queue() -> None:
    place = Place()
    place.ask()
    others = await waiting(place, 2)
    x = place.target.asked.pop()
    x.downstream.begin(x, 200, listed([control(b"no-cache"), (b"etag", b'"a"')]), None, RecordingSource())
    async with asyncio.timeout(2):  # far less than `collapse`
        await asyncio.gather(*(task for _, task in others))
    assert len(place.target.asked) == 2


def test_over_a_reload_the_same_definition_goes_on_and_another_begins_anew() -> None:
    states = States()
    before = Place(states=states)
    before.stored()
    after, other = Place(states=states), Place(states=states, ttl=30.0)
    for place in (after, other):
        place.clock.advance(before.clock.monotonic() - place.clock.monotonic())
    assert after.ask().body == b"hello"
    assert other.ask().silent


def test_routes_with_the_same_url_keep_their_answers_apart() -> None:
    states = States()
    one, two = Place(states=states, route="one"), Place(states=states, route="two")
    one.stored()
    assert two.ask().silent


def test_each_exchange_without_stages_ends_well() -> None:
    place = Place()
    x, _ = place.exchange()
    x.notes = None  # refused before it met its stages
    finish(x)


def test_a_get_with_a_body_and_an_upgrade_are_nothing_to_a_cache() -> None:
    place = Place()
    place.stored()
    x, client = place.exchange()
    x.head.framing = 3
    place.run(x)
    assert client.silent
    x, client = place.exchange()
    x.head.upgrade = b"websocket"
    place.run(x)
    assert client.silent


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ttl"):
        CachePolicy(ttl=0.5)
    with pytest.raises(ValueError, match="max_object"):
        CachePolicy(max_object=0)


def test_a_route_has_one_cache() -> None:
    with pytest.raises(ValueError, match="one cache only"):
        check_together([PolicyUse(cache=CachePolicy()), PolicyUse(cache=CachePolicy(ttl=30.0))])
