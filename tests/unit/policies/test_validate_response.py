"""`validate_response`: what a service answers must look as described, before the client sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, RecordingSource, make_exchange

from gatepost.config.policies.validate import Parameter
from gatepost.config.policies.validate_response import ResponseRule, ValidateResponsePolicy
from gatepost.exchange import Downstream, Exchange
from gatepost.policies import validate_response
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.stores.access import Access

SCHEMA = '{"type": "object", "required": ["id"]}'
JSON = [(b"content-type", b"application/json")]
RULES = {
    "200": ResponseRule(
        content={"application/json": SCHEMA}, headers={"X-Total": Parameter(schema='{"type": "integer"}')}
    ),
    "2XX": ResponseRule(),
    "404": ResponseRule(content={"application/problem+json": "{}"}),
}


def staged(method: str = "GET", **more: Any) -> tuple[Exchange, Downstream, RecordingDownstream]:
    use = ValidateResponsePolicy(**{"responses": RULES, **more})
    policy = validate_response.build(use, PolicyContext("route", Access(), States()))
    x, client = make_exchange(method, "/orders/7", policies=(policy,))
    policy.on_request(x)
    return x, policy.stage(x, client), client


def test_an_answer_as_described_passes_in_one_piece() -> None:
    x, stage, client = staged()
    stage.begin(x, 200, JSON, 9, RecordingSource())
    assert client.silent  # held until it is whole
    stage.send(b'{"id"')
    stage.send(b":1} ")
    stage.finish()
    assert (client.status, client.body, client.finished) == (200, b'{"id":1} ', True)


@pytest.mark.parametrize(
    ("status", "fields", "body"),
    [
        (200, JSON, b"{}"),
        (200, JSON, b"{"),
        (200, [(b"content-type", b"text/html")], b"<p>"),
        (200, [*JSON, (b"x-total", b"many")], b'{"id":1}'),
        (200, [*JSON, (b"content-encoding", b"gzip")], b"\x1f\x8b"),
        (500, JSON, b"{}"),
        (404, JSON, b"{}"),
    ],
)
def test_any_other_is_a_502_that_does_not_tell_the_client_what(
    status: int, fields: Any, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for whole in (True, False):
        x, stage, client = staged()
        if whole:
            stage.respond(x, status, fields, body)
        else:
            source = RecordingSource()
            stage.begin(x, status, fields, None, source)
            if client.silent:
                stage.send(body)
                stage.finish()
        assert client.status == 502
        assert json.loads(client.body)["type"].endswith("response-invalid")
        assert x.outcome == "response-invalid"


def test_what_cannot_be_held_is_not_let_through() -> None:
    x, stage, client = staged(response_bytes=10)
    source = RecordingSource()
    stage.begin(x, 200, JSON, None, source)
    stage.send(b'{"id":')
    stage.send(b'"0123456789"}')
    assert client.status == 502
    assert source.calls == ["cancel"]
    x, stage, client = staged(response_bytes=10)
    stage.begin(x, 200, JSON, 11, RecordingSource())
    assert client.status == 502


def test_log_lets_it_pass_as_it_came() -> None:
    x, stage, client = staged(on_violation="log")
    stage.begin(x, 200, JSON, 2, RecordingSource())
    stage.send(b"{}")
    stage.finish()
    assert (client.status, client.body) == (200, b"{}")
    x, stage, client = staged(on_violation="log", response_bytes=3)
    stage.begin(x, 200, JSON, None, RecordingSource())
    for piece in (b"12", b"34", b"56"):
        stage.send(piece)
    stage.finish()
    assert (client.status, client.body, client.finished) == (200, b"123456", True)


def test_a_status_without_a_body_rule_streams() -> None:
    x, stage, client = staged()
    stage.begin(x, 202, [], None, RecordingSource())
    stage.send(b"anything")
    assert client.body == b"anything"


def test_head_has_no_body_to_check() -> None:
    x, stage, client = staged("HEAD")
    stage.begin(x, 200, JSON, 5, RecordingSource())
    assert client.status == 200


def test_what_the_gateway_answers_itself_is_not_checked() -> None:
    x, stage, client = staged()
    x.outcome = "rate-limited"
    stage.respond(x, 429, JSON, b"{}")
    assert client.status == 429
    x, stage, client = staged()
    x.notes = None  # a policy answered before the service was asked
    stage.respond(x, 200, JSON, b"{}")
    assert client.status == 200


def test_an_answer_that_breaks_off_is_a_502_of_its_own() -> None:
    x, stage, client = staged()
    stage.begin(x, 200, JSON, 20, RecordingSource())
    stage.send(b'{"id"')
    stage.abort()
    assert json.loads(client.body)["type"].endswith("upstream-closed")


def test_a_service_that_is_wrong_each_time_fills_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("gatepost.log.event", lambda name, **facts: told.append((name, facts)))
    use = ValidateResponsePolicy(responses=RULES)
    policy = validate_response.build(use, PolicyContext("route", Access(), States()))
    for started in (10.0, 10.2, 10.9, 11.5):
        x, client = make_exchange("GET", "/", policies=(policy,))
        x.started = started
        policy.on_request(x)
        policy.stage(x, client).respond(x, 200, JSON, b'{"secret": 1}')
    assert [facts["more"] for _, facts in told] == [0, 2]
    assert told[0][1]["violations"] == '#: "id" is a required property'


def test_the_log_holds_no_value_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("gatepost.log.event", lambda name, **facts: told.append(facts))
    x, stage, _ = staged(
        responses={"200": ResponseRule(content={"application/json": '{"items": {"type": "integer"}}'})}
    )
    stage.respond(x, 200, JSON, b'["4111 1111 1111 1111"]')
    assert told[0]["violations"] == '#/0: value is not of type "integer"'
