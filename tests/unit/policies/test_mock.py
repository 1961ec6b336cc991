"""`mock`: the gateway answers by itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.exchanges import make_exchange

from gatepost.config.policies.mock import Answer, MockPolicy
from gatepost.exchange import Response
from gatepost.policies import mock
from gatepost.policies.base import PolicyContext
from gatepost.policies.mock import Mock
from gatepost.policies.states import States
from gatepost.stores.access import Access


def built(use: MockPolicy) -> Mock:
    return mock.build(use, PolicyContext("route", Access(), States()))


def answer(policy: Mock, target: str = "/orders/7", body: bytes = b"", **fields: str) -> Response:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    response = policy.on_request(make_exchange("GET", target, sent, body)[0])
    assert isinstance(response, Response)
    return response


def field(response: Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.fields if key == name), None)


def test_a_text_is_plain() -> None:
    response = answer(built(MockPolicy(status=418, body="short and stout", headers={"X-Pot": "tea"})))
    assert (response.status, response.body) == (418, b"short and stout")
    assert field(response, b"content-type") == b"text/plain; charset=utf-8"
    assert field(response, b"x-pot") == b"tea"


def test_an_empty_answer_has_no_type() -> None:
    assert answer(built(MockPolicy(status=204))).fields == []


def test_json_is_written_as_values_and_its_texts_may_be_expressions() -> None:
    document = {
        "path": "${request.path}",
        "whole": "${request.query['n'] == '1'}",
        "plain": "$${x}",
        "in": ["a ${request.method} b", {}, [], None, 1.5],
    }
    response = answer(built(MockPolicy(json=document)), "/orders/7?n=1")
    assert json.loads(response.body) == {
        "path": "/orders/7",
        "whole": True,
        "plain": "${x}",
        "in": ["a GET b", {}, [], None, 1.5],
    }


def test_what_a_request_says_cannot_break_out_of_the_json() -> None:
    response = answer(built(MockPolicy(json={"you": "${request.headers['x-you']}"})), x_you='","admin":"')
    assert json.loads(response.body) == {"you": '","admin":"'}


def test_a_body_that_is_read_is_asked_for() -> None:
    policy = built(MockPolicy(json={"echo": "${request.body.name}"}))
    assert policy.needs_request_body
    assert not built(MockPolicy(json={"echo": "${request.path}"})).needs_request_body
    assert answer(policy, body=b'{"name": "x"}').body == b'{"echo":"x"}'


def test_an_expression_without_a_value_is_a_500_that_says_which() -> None:
    response = answer(built(MockPolicy(body="${request.headers['x-none']}")))
    assert response.status == 500
    assert json.loads(response.body)["type"].endswith("mock-failed")


def test_no_line_ends_get_into_a_header() -> None:
    policy = built(MockPolicy(headers={"X-Echo": "${request.query['v']}"}))
    assert field(answer(policy, "/?v=fine"), b"x-echo") == b"fine"
    assert answer(policy, "/?v=a%0d%0aset-cookie:x").status == 500


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Connection"])
def test_framing_is_the_gateways(name: str) -> None:
    with pytest.raises(ValueError, match="own"):
        built(MockPolicy(headers={name: "1"}))


@pytest.mark.parametrize("use", [{"body": "${"}, {"json": ["${nothing}"]}, {"headers": {"x": "${1 +}"}}])
def test_what_is_no_expression_is_a_fault_of_the_configuration(use: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(use))):
        built(MockPolicy(**use))


SEVERAL = MockPolicy(
    answers=(
        Answer(json={"n": 1}, name="some"),
        Answer(json={"n": 0}, name="none"),
        Answer(body="<n>1</n>", headers={"Content-Type": "application/xml"}),
        Answer(status=404, json={"title": "no"}),
    )
)


@pytest.mark.parametrize(
    ("prefer", "body", "applied"),
    [
        ("", b'{"n":1}', None),
        ("code=404", b'{"title":"no"}', b"code=404"),
        ("example=none", b'{"n":0}', b"example=none"),
        ("code=200, example=none", b'{"n":0}', b"code=200, example=none"),
        ('example="none"', b'{"n":0}', b"example=none"),
        ("code=500", b'{"n":1}', None),  # RFC 7240 §2: what cannot be followed is ignored
        ("respond-async, wait=5", b'{"n":1}', None),
    ],
)
def test_a_client_may_prefer_an_answer(prefer: str, body: bytes, applied: bytes | None) -> None:
    response = answer(built(SEVERAL), **({"prefer": prefer} if prefer else {}))
    assert response.body == body
    assert field(response, b"preference-applied") == applied


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("*/*", b'{"n":1}'),
        ("application/xml", b"<n>1</n>"),
        ("application/xml;q=0.5, application/json", b'{"n":1}'),
        ("application/json;q=0.1, application/*;q=0.9", b"<n>1</n>"),
        ("application/json;q=0, */*", b"<n>1</n>"),
    ],
)
def test_accept_chooses_the_type(accept: str, body: bytes) -> None:
    assert answer(built(SEVERAL), accept=accept).body == body


def test_a_type_that_nobody_takes_is_406() -> None:
    response = answer(built(SEVERAL), accept="text/html")
    assert response.status == 406
    assert "application/json, application/xml" in json.loads(response.body)["detail"]


def test_answers_do_not_share_their_fields() -> None:
    policy = built(MockPolicy(json={}))
    answer(policy).fields.append((b"x", b"y"))
    assert field(answer(policy), b"x") is None


async def test_a_delay_is_waited_for_and_bounded() -> None:
    with pytest.raises(ValueError, match="60s"):
        MockPolicy(delay=61.0)
    waited = built(MockPolicy(body="late", delay=0.001)).on_request(make_exchange("GET", "/")[0])
    assert not isinstance(waited, Response)
    response = await asyncio.wait_for(waited, 10)
    assert response.body == b"late"
