"""`compress`: which answers are encoded, how, and what of them is told."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from tests.support.exchanges import RecordingDownstream, RecordingSource, make_exchange

from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.compress import CompressPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies import cache
from gatepost.policies.base import PolicyContext
from gatepost.policies.codings import chosen, maker
from gatepost.policies.compress import SLICE, Compress, Types, build
from gatepost.policies.states import States
from gatepost.stores.access import Access

CONTEXT = PolicyContext("route", Access(), States())
JSON: Fields = [(b"content-type", b"application/json")]
BODY = b'{"hello": "world"}' * 200


def gunzip(data: bytes) -> bytes:
    return zlib.decompress(data, 31)


DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gunzip,
    "br": lambda data: bytes(brotli.decompress(data)),
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def policy(**use: Any) -> Compress:
    return build(CompressPolicy(**use), CONTEXT)


def through(
    policy: Policy, accept: bytes | None = b"gzip", method: str = "GET"
) -> tuple[Exchange, RecordingDownstream, Any]:
    fields = [] if accept is None else [(b"accept-encoding", accept)]
    x, client = make_exchange(method, "/", fields, policies=(policy,))
    return x, client, policy.stage(x, client)


def answered(
    body: bytes = BODY,
    fields: Fields = JSON,
    *,
    status: int = 200,
    accept: bytes | None = b"gzip",
    method: str = "GET",
    **use: Any,
) -> RecordingDownstream:
    x, client, stage = through(policy(**use), accept, method)
    stage.respond(x, status, fields, body)
    return client


def test_its_stage_is_the_last_before_the_client() -> None:
    assert policy().phase is min(Phase)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_body_is_encoded(coding: str) -> None:
    client = answered(accept=coding.encode(), codings=(coding,))
    assert DECODE[coding](client.body) == BODY
    assert len(client.body) < len(BODY)
    assert client.header(b"content-encoding") == coding.encode()
    assert client.header(b"vary") == b"Accept-Encoding"


@pytest.mark.parametrize(
    ("accept", "expected", "may_stay"),
    [
        (b"gzip", b"gzip", True),
        (b"x-gzip", b"gzip", True),
        (b"GZIP ; q=0.5", b"gzip", True),
        (b"gzip, br", b"br", True),  # of equals the first of ours
        (b"gzip;q=1, br;q=0.9", b"gzip", True),
        (b"*", b"br", True),
        (b"br;q=0, *", b"gzip", True),
        (b"gzip;q=0", None, True),
        (b"identity", None, True),
        (b"", None, True),
        (b"gzip;q=0.5, identity", None, True),
        (b"identity;q=0", None, False),
        (b"identity;q=0, gzip", b"gzip", False),
        (b"*;q=0", None, False),
        (b"gzip;q=x", None, True),
        (b"deflate", None, True),
    ],
)
def test_which_coding_a_client_takes(accept: bytes, expected: bytes | None, may_stay: bool) -> None:
    assert chosen([accept], (b"br", b"gzip")) == (expected, may_stay)


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ([(b"content-type", b"image/png")], {}),
        ([], {}),
        ([*JSON, (b"content-encoding", b"br")], {}),
        ([*JSON, (b"content-range", b"bytes 0-1/2")], {"status": 206}),
        ([*JSON, (b"cache-control", b"public, No-Transform")], {}),
        (JSON, {"status": 204, "body": b""}),
        (JSON, {"status": 304, "body": b""}),
    ],
)
def test_what_is_left_as_it_is(fields: Fields, more: dict[str, Any]) -> None:
    client = answered(fields=fields, **more)
    assert client.fields == fields
    assert client.body == more.get("body", BODY)


@pytest.mark.parametrize(("body", "accept"), [(b"small", b"gzip"), (BODY, None), (BODY, b"identity")])
def test_what_could_have_been_encoded_says_that_it_varies(body: bytes, accept: bytes | None) -> None:
    client = answered(body, accept=accept)
    assert client.body == body
    assert client.header(b"content-encoding") is None
    assert client.header(b"vary") == b"Accept-Encoding"


def test_a_small_body_is_encoded_for_who_cannot_read_it_otherwise() -> None:
    assert gunzip(answered(b"small", accept=b"gzip, identity;q=0").body) == b"small"


def test_a_vary_that_says_so_already_stays() -> None:
    client = answered(fields=[*JSON, (b"vary", b"Origin, Accept-Encoding")])
    assert [value for name, value in client.fields if name == b"vary"] == [b"Origin, Accept-Encoding"]


@pytest.mark.parametrize(("tag", "weak"), [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"')])
def test_a_tag_of_other_bytes_is_a_weak_one(tag: bytes, weak: bytes) -> None:
    assert answered(fields=[*JSON, (b"etag", tag)]).header(b"etag") == weak


def test_what_counts_the_bytes_goes() -> None:
    counted: Fields = [(b"accept-ranges", b"bytes"), (b"content-digest", b"x"), (b"content-md5", b"x")]
    client = answered(fields=[*JSON, *counted])
    assert {name for name, _ in client.fields} == {b"content-type", b"content-encoding", b"vary"}


def test_the_list_of_an_answer_is_not_changed() -> None:
    shared = FieldList()
    shared += JSON
    answered(fields=shared)
    assert shared == JSON


def test_a_head_tells_of_the_encoded_form_without_making_it() -> None:
    client = answered(method="HEAD")
    assert client.header(b"content-encoding") == b"gzip"
    assert (client.length, client.body, client.finished) == (None, b"", True)


# Streams


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_each_piece_of_a_stream_can_be_read_when_it_comes(coding: str) -> None:
    x, client, stage = through(policy(codings=(coding,)), coding.encode())
    source = RecordingSource()
    stage.begin(x, 200, JSON, None, source)
    assert client.source is source
    decoder: Any = {
        "gzip": lambda: zlib.decompressobj(31).decompress,
        "br": lambda: brotli.Decompressor().process,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
    }[coding]()
    for piece in (b"first", b"second"):
        before = len(client.body)
        stage.send(piece)
        assert decoder(client.body[before:]) == piece
    stage.finish()
    assert client.finished


def test_a_body_of_known_length_goes_out_without_one() -> None:
    x, client, stage = through(policy())
    stage.begin(x, 200, JSON, len(BODY), RecordingSource())
    stage.send(BODY[:100])
    stage.send(BODY[100:])
    stage.finish()
    assert client.length is None
    assert gunzip(client.body) == BODY


def test_a_body_that_breaks_off_stays_broken_off() -> None:
    x, client, stage = through(policy())
    stage.begin(x, 200, JSON, len(BODY), RecordingSource())
    stage.send(BODY[:100])
    stage.abort()
    assert client.aborted
    with pytest.raises(zlib.error):
        gunzip(client.body)


async def test_a_large_body_is_encoded_in_slices_and_others_have_the_loop_between() -> None:
    body = bytes(range(256)) * (SLICE // 64)  # four slices
    x, client, stage = through(policy())
    stage.respond(x, 200, JSON, body)
    turns = 0
    while not client.finished:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 3
    assert gunzip(client.body) == body


async def test_a_slow_reader_stops_the_slices() -> None:
    body = bytes(range(256)) * (SLICE // 64)
    x, client, stage = through(policy())
    stage.respond(x, 200, JSON, body)
    stage.pause()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not client.finished
    stage.resume()
    for _ in range(10):
        await asyncio.sleep(0)
    assert gunzip(client.body) == body


async def test_a_client_that_left_stops_the_slices() -> None:
    x, client, stage = through(policy())
    stage.respond(x, 200, JSON, bytes(range(256)) * (SLICE // 64))
    stage.cancel()
    size = len(client.body)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(client.body) == size
    assert not client.finished


# With the cache


def test_a_stored_answer_is_encoded_once_and_counted() -> None:
    states = States()
    context = PolicyContext("route", Access(), states)
    caching = cache.build(CachePolicy(), context)
    compress = policy()
    storage = cache.storage_of(states)

    class Target:
        def handle(self, x: Exchange) -> None:
            fields = FieldList()
            fields += [*JSON, (b"cache-control", b"max-age=60")]
            x.downstream.respond(x, 200, fields, BODY)

        def client_gone(self, x: Exchange) -> None: ...

    def ask(accept: bytes | None) -> RecordingDownstream:
        fields = [] if accept is None else [(b"accept-encoding", accept)]
        x, client = make_exchange("GET", "/", fields, handler=Target(), policies=(caching, compress))
        x.started = context.clock.monotonic()
        downstream: Any = client
        for stage in x.route.stages:
            downstream = stage(x, downstream)
        x.downstream = downstream
        (answer,) = [step(x) for step in x.route.on_request]
        if isinstance(answer, Response):
            x.downstream.respond(x, answer.status, answer.fields, answer.body)
        else:
            x.route.handler.handle(x)
        return client

    ask(b"gzip")
    before = storage.size
    first, second = ask(b"gzip"), ask(b"gzip")
    assert gunzip(first.body) == BODY
    assert first.body == second.body
    assert storage.size == before + len(first.body)
    assert ask(None).body == BODY


# Settings


def test_types_are_exact_or_have_a_star() -> None:
    types = Types(("application/json", "text/*", "application/*+json"))
    for good in (b"application/json", b"Application/JSON; charset=utf-8", b"text/x", b"application/problem+json"):
        assert types.match(good), good
    for bad in (b"application/json5", b"application/xml", b"image/svg+json", b"", b"texty/x"):
        assert not types.match(bad), bad


@pytest.mark.parametrize("types", [("json",), ("*/*",), ("text/",), ("a/b*",)])
def test_what_is_no_type_is_refused(types: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="is no media type"):
        CompressPolicy(types=types)


def test_a_coding_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    with pytest.raises(ValueError, match=r"pip install 'gatepost\[compress\]'"):
        policy(codings=("gzip", "br"))
    assert maker("gzip")


def test_what_the_gateway_answers_itself_stays_for_the_templates_behind_it() -> None:
    x, client, stage = through(policy(min_size=0))
    answer = problem(x.id, Problem(404, "no-route", "Nothing is routed here"))
    x.outcome = answer.outcome
    stage.respond(x, answer.status, answer.fields, answer.body)
    assert client.body == answer.body
    assert client.header(b"content-encoding") is None

    x, client, stage = through(policy(min_size=0))
    stage.respond(x, answer.status, answer.fields, answer.body)  # a service's own, however much it looks like ours
    assert gunzip(client.body) == answer.body
