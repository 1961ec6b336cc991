from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, RecordingSource, make_exchange
from tests.support.policies import asked, declared, passed, refusal

from gatepost.exchange import Downstream, Exchange
from gatepost.http1.messages import Fields
from gatepost.policies.base import SettingFault

JSON = [(b"content-type", b"application/json")]


def through(settings: dict[str, Any], method: str = "GET") -> tuple[Exchange, RecordingDownstream, Downstream]:
    """An exchange, its client, and the stage in front of it."""
    policy = declared("transform", settings)
    x, client = make_exchange(method, "/orders", policies=(policy,))
    policy.on_request(x)
    return x, client, policy.stage(x, client)


# Requests


def test_the_request_gets_another_body() -> None:
    fields = [*JSON, (b"content-encoding", b"identity"), (b"content-digest", b"sha-256=:x:"), (b"x-a", b"1")]
    policy = declared("transform", {"request": "{'id': request.body.order_id, 'by': request.headers['x-a']}"})
    assert policy.needs_request_body
    assert not policy.identity_encoding, "responses go as they come"
    x = passed(policy, "POST", "/orders", fields, b'{"order_id": 4711}')
    assert x.body == b'{"id":4711,"by":"1"}'
    assert x.head.framing == len(x.body)
    assert sorted(x.head.fields) == [(b"content-type", b"application/json"), (b"x-a", b"1")]


def test_numbers_that_only_pass_keep_their_digits() -> None:
    policy = declared("transform", {"request": "request.body.amount"})
    assert (
        passed(policy, "POST", "/", JSON, b'{"amount": 12.500000000000000000001}').body == b"12.500000000000000000001"
    )


def test_what_has_no_body_passes() -> None:
    assert passed(declared("transform", {"request": "request.body.a"}), "GET").body == b""


@pytest.mark.parametrize(
    ("fields", "body"),
    [(JSON, b"{}"), (JSON, b"not json"), ([*JSON, (b"content-encoding", b"gzip")], b'{"a": 1}')],
)
def test_a_body_that_cannot_be_transformed_is_refused_or_passes_whole(fields: Fields, body: bytes) -> None:
    settings = {"request": "{'b': request.body.a}"}
    _, answer = asked(declared("transform", settings), "POST", "/", fields, body)
    assert refusal(answer) == (422, "body-not-transformed")
    x = passed(declared("transform", {**settings, "on_error": "pass"}), "POST", "/", fields, body)
    assert (x.body, x.head.fields) == (body, fields)


# Responses


def test_the_response_gets_another_body_in_one_piece() -> None:
    x, client, stage = through({"response": "{'id': response.body.data.id, 'was': response.status}"})
    stage.respond(x, 201, [(b"content-type", b"text/json"), (b"etag", b'"1"'), (b"x-a", b"1")], b'{"data": {"id": 7}}')
    assert (client.status, client.body) == (201, b'{"id":7,"was":201}')
    assert client.fields == [(b"x-a", b"1"), (b"content-type", b"application/json")]
    assert client.calls == ["respond"]


def test_a_response_that_streams_is_held_until_it_is_whole() -> None:
    x, client, stage = through({"response": "response.body.id"})
    stage.begin(x, 200, JSON, None, RecordingSource())
    stage.send(b'{"id"')
    stage.send(b": 7}")
    assert client.silent
    stage.finish()
    assert (client.status, client.body, client.finished) == (200, b"7", True)


def test_conditions_and_ranges_would_ask_for_pieces_of_the_old_body() -> None:
    fields = [(b"if-none-match", b'"1"'), (b"range", b"bytes=0-1"), (b"accept", b"*/*")]
    policy = declared("transform", {"response": "1"})
    assert passed(policy, "GET", "/", fields).head.fields == [(b"accept", b"*/*")]
    assert passed(policy, "PUT", "/", [(b"if-match", b'"1"')]).head.fields == [(b"if-match", b'"1"')]
    assert policy.identity_encoding


@pytest.mark.parametrize("status", [404, 204, 304])
def test_what_is_not_to_be_transformed_streams_through(status: int) -> None:
    x, client, stage = through({"response": "response.body.id"})
    source = RecordingSource()
    stage.begin(x, status, [(b"etag", b'"1"')], 4, source)
    stage.send(b"test")
    stage.finish()
    assert client.calls == ["begin", "send", "finish"]
    assert (client.fields, client.length, client.source) == ([(b"etag", b'"1"')], 4, source)


def test_the_condition_may_look_at_the_response() -> None:
    x, client, stage = through({"response": "'new'", "when": "response.headers['x-kind'] == 'old'"})
    stage.respond(x, 500, [(b"x-kind", b"old")], b"{}")
    assert client.body == b'"new"'


def test_head_says_what_get_would() -> None:
    x, client, stage = through({"response": "response.body.id"}, "HEAD")
    stage.begin(x, 200, [(b"etag", b'"1"'), *JSON], 4_711, RecordingSource())
    assert (client.length, client.fields) == (None, JSON)


def test_answers_of_the_gateway_itself_stay_as_they_are() -> None:
    x, client, stage = through({"response": "response.body.id", "when": "true"})
    x.outcome = "rate-limited"
    stage.respond(x, 429, [], b"{}")
    assert (client.status, client.body) == (429, b"{}")


@pytest.mark.parametrize(
    ("fields", "length", "body"),
    [
        (JSON, None, b"not json"),
        (JSON, None, b"{}"),
        (JSON, 101, b"{}"),
        (JSON, None, b'{"id": "' + b"x" * 100 + b'"}'),
        ([*JSON, (b"content-encoding", b"gzip")], None, b'{"id": 7}'),
        ([(b"content-type", b"text/event-stream")], None, b"data: 1"),
    ],
)
def test_a_response_that_cannot_be_transformed_is_502_or_passes_whole(
    fields: Fields, length: int | None, body: bytes
) -> None:
    settings = {"response": "{'id': response.body.id}", "response_bytes": 100}
    x, client, stage = through(settings)
    source = RecordingSource()
    stage.begin(x, 200, fields, length, source)
    for at in range(0, len(body), 10):
        if client.silent:  # its source was told to stop
            stage.send(body[at : at + 10])
    if client.silent:
        stage.finish()
    else:
        assert source.calls == ["cancel"]
    assert (client.status, json.loads(client.body)["type"]) == (502, "urn:gatepost:problem:response-not-transformed")
    assert x.outcome == "response-not-transformed"

    x, client, stage = through({**settings, "on_error": "pass"})
    source = RecordingSource()
    stage.begin(x, 200, fields, length, source)
    for at in range(0, len(body), 10):
        stage.send(body[at : at + 10])
    stage.finish()
    assert (client.status, client.fields, client.body, client.finished) == (200, fields, body, True)
    assert source.calls == []


def test_half_a_response_is_none() -> None:
    x, client, stage = through({"response": "response.body.id"})
    stage.begin(x, 200, JSON, 100, RecordingSource())
    stage.send(b'{"id": 7')
    stage.abort()
    assert (client.status, x.outcome) == (502, "upstream-closed")


def test_faults_name_their_place() -> None:
    for setting, value in (("request", "response.status"), ("response", "nothing"), ("when", "'text'")):
        with pytest.raises(SettingFault) as fault:
            declared("transform", {"response": "1", setting: value})
        assert fault.value.setting == f"transform.{setting}"
