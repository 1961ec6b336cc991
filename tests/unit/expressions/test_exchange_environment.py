"""The variables of a real exchange: each with its value, none made that is not asked for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.exchanges import make_exchange

from gatepost.errors import ExpressionError
from gatepost.exchange import Consumer, Exchange
from gatepost.expressions import EXCHANGE_VARIABLES, ExchangeEnvironment, compile_expression, compile_template, runtime
from gatepost.expressions.variables import _GETTERS

BODY = b'{"order_id": 7}'


def exchange() -> Exchange:
    x, _ = make_exchange(
        "POST",
        "/orders/7?a=1&b=x%20y&a=2&empty",
        [(b"x-tenant", b"acme"), (b"accept", b"a/b"), (b"accept", b"c/d"), (b"x-latin", b"J\xf6rg")],
        b'{"sku": 1.50}',
        route="create-order",
        params={"id": "7"},
        client="198.51.100.7",
    )
    x.consumer = Consumer("web-shop", metadata={"tier": "gold"})
    x.status = 201
    x.response_fields = [(b"content-type", b"application/json")]
    return x


def value(text: str, x: Exchange | None = None, response: bytes | None = BODY) -> Any:
    program = compile_expression(text, variables=EXCHANGE_VARIABLES)
    return program.evaluate(ExchangeEnvironment(x or exchange(), response_body=response))


def test_every_variable_has_a_getter_and_a_type() -> None:
    assert _GETTERS.keys() == EXCHANGE_VARIABLES.keys()
    env = ExchangeEnvironment(exchange(), response_body=BODY)
    kinds = {"string": str, "int": int, "bool": bool, "strings": dict, "json": dict}
    for name, kind in EXCHANGE_VARIABLES.items():
        found = compile_expression(name, variables=EXCHANGE_VARIABLES).evaluate(env)
        assert type(found) is kinds[kind], name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request.method", "POST"),
        ("request.path", "/orders/7"),
        ("request.host", "gateway.test"),
        ("request.query", {"a": "1", "b": "x y", "empty": ""}),
        ("request.query.a", "1"),
        ("request.headers['x-tenant']", "acme"),
        ("request.headers.accept", "a/b, c/d"),
        ("request.headers['x-latin']", "Jörg"),
        ("request.headers.host", "gateway.test"),
        ("has(request.headers.nope)", False),
        ("'x-tenant' in request.headers", True),
        ("'é' in request.headers", False),
        ("'\u0101' in request.headers", False),
        ("size(request.headers)", 4),
        ("request.headers.exists(name, name == 'accept')", True),
        ("request.params.id", "7"),
        ("request.body.sku", 1.5),
        ("consumer.id", "web-shop"),
        ("consumer.metadata.tier", "gold"),
        ("client.address", "198.51.100.7"),
        ("route.name", "create-order"),
        ("response.status", 201),
        ("response.headers['content-type']", "application/json"),
        ("response.body.order_id", 7),
    ],
)
def test_values(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_nobody_has_an_empty_id() -> None:
    x = exchange()
    x.consumer = None
    assert value("consumer.id", x) == ""
    assert value("consumer.metadata", x) == {}


def test_a_body_that_was_not_kept_cannot_be_read() -> None:
    x = exchange()
    x.body = None
    with pytest.raises(ExpressionError, match=r"request\.body was not kept"):
        value("request.body.sku", x)
    with pytest.raises(ExpressionError, match=r"response\.body was not kept"):
        value("response.body.sku", x, response=None)
    env = ExchangeEnvironment(x, request_body=b"[1]")
    assert compile_expression("request.body[0]", variables=EXCHANGE_VARIABLES).evaluate(env) == 1


def test_no_body_at_all_is_not_json() -> None:
    with pytest.raises(ExpressionError, match=r"response\.body is not JSON"):
        value("response.body.a", response=b"")


def test_a_body_is_decoded_once_for_all_expressions() -> None:
    env = ExchangeEnvironment(exchange(), response_body=BODY)
    program = compile_expression("response.body", variables=EXCHANGE_VARIABLES)
    assert program.evaluate(env) is program.evaluate(env)


def test_both_bodies_pass_byte_for_byte() -> None:
    template = compile_template("${ {'asked': request.body, 'told': response.body} }", EXCHANGE_VARIABLES)
    env = ExchangeEnvironment(exchange(), response_body=BODY)
    assert template.evaluate_json(env) == b'{"asked":{"sku": 1.50},"told":{"order_id": 7}}'


def test_the_lazy_headers_are_what_the_runtime_sees() -> None:
    text = "request.headers['x-tenant'] + request.headers.accept"
    source = runtime.check(text, EXCHANGE_VARIABLES)
    env = ExchangeEnvironment(exchange())
    assert runtime.Evaluation(source.whole(), [("request.headers", ())], 0).value(env) == value(text)
