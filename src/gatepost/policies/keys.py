"""Who an exchange counts for: the value of an expression, as a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gatepost.errors import ExpressionError
from gatepost.exchange import Exchange
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_expression

NOBODY: Final = ""  # whose expression has no value (no such header, no consumer) shares one count: none is free


class Key(NamedTuple):
    of: Callable[[Exchange], str]
    needs_body: bool  # the request's body must be there before `of` is called


def key_by(expression: str) -> Key:
    """Raises ValueError where `expression` is none, or its value cannot be a text."""
    if expression == "client.address":  # the default, and the commonest by far: 0.05 µs instead of 0.6
        return Key(_client_address, needs_body=False)
    if expression == "consumer.id":  # the next commonest
        return Key(_consumer_id, needs_body=False)
    try:
        program = compile_expression(expression, variables=REQUEST_VARIABLES, result="string")
    except ExpressionError as error:
        raise ValueError(f"by: {error}") from None
    evaluate = program.evaluate

    def of(x: Exchange) -> str:
        try:
            value: str = evaluate(ExchangeEnvironment(x))
        except ExpressionError:
            return NOBODY
        return value

    return Key(of, needs_body="request.body" in program.references)


def _client_address(x: Exchange) -> str:
    return x.client


def _consumer_id(x: Exchange) -> str:
    return x.consumer.id if x.consumer is not None else NOBODY
