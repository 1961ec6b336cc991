"""`transform`: another JSON body, made by an expression. The policy; `transform_stage.py` holds the response.

What a new body makes untrue goes with the old one: its length, encoding, digests, validators and ranges. So a route
with a `response` expression answers no conditional GET and no Range, and asks the service for an uncompressed body.

An expression that fails has a defined end: 422 for a request, 502 for a response, or with `on_error: pass` the body as
it came. Nothing is ever half transformed.
"""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.transform import TransformPolicy
from gatepost.errors import ExpressionError, Problem
from gatepost.exchange import Downstream, Exchange, Phase, Policy, Response, problem
from gatepost.expressions import (
    EXCHANGE_VARIABLES,
    REQUEST_VARIABLES,
    ExchangeEnvironment,
    Program,
    compile_expression,
)
from gatepost.http1.messages import Field, Fields
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.transform_stage import ResponseTransform, Stage


def build(use: TransformPolicy, context: PolicyContext) -> Transform:
    return (Transform if use.response is None else TransformBoth)(use)


class Transform(Policy):
    """The request's body alone: no stage stands in the response's way."""

    name = "transform"
    phase = Phase.TRANSFORM

    def __init__(self, config: TransformPolicy) -> None:
        self._request: Program | None = None
        self._passes = config.on_error == "pass"
        if config.request is not None:
            try:
                self._request = compile_expression(config.request, variables=REQUEST_VARIABLES)
            except ExpressionError as error:
                raise SettingFault("request", str(error)) from None
        self.needs_request_body = self._request is not None

    def on_request(self, x: Exchange) -> Response | None:
        program = self._request
        if program is None or not x.body:
            return None  # no body: nothing to transform
        encoding = x.head.get(b"content-encoding")
        try:
            if encoding is not None and encoding.lower() != b"identity":
                raise ExpressionError(f"a body with Content-Encoding {encoding.decode('latin-1')[:40]} cannot be read")
            body = program.evaluate_json(ExchangeEnvironment(x))
        except ExpressionError as error:
            if self._passes:
                return None
            why = Problem(422, "body-not-transformed", "The request's body cannot be transformed", str(error))
            return problem(x.id, why)
        x.body = body
        head = x.head
        head.framing = len(body)
        head.fields = transformed(head.fields)
        return None


class TransformBoth(Transform):
    """The response's body, and the request's where that is asked for."""

    identity_encoding = True

    def __init__(self, config: TransformPolicy) -> None:
        super().__init__(config)
        assert config.response is not None
        try:
            body = compile_expression(config.response, variables=EXCHANGE_VARIABLES)
        except ExpressionError as error:
            raise SettingFault("response", str(error)) from None
        try:
            when = compile_expression(config.when, variables=_WHEN_VARIABLES, result="bool")
        except ExpressionError as error:
            raise SettingFault("when", str(error)) from None
        if "request.body" in body.references | when.references:
            self.needs_request_body = True
        self._response = ResponseTransform(
            when, body, fields=transformed, limit=config.response_bytes, passes=self._passes
        )

    def on_request(self, x: Exchange) -> Response | None:
        if x.head.method in _SAFE:
            for name in _CONDITIONS:
                x.head.take(name)
        return super().on_request(x)

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        return Stage(self._response, downstream)


def transformed(fields: Fields) -> Fields:
    """The fields of a response whose body is another one now."""
    return [*(field for field in fields if field[0] not in OF_A_BODY), JSON]


JSON: Final[Field] = (b"content-type", b"application/json")
# RFC 9110 §8, RFC 9530: what describes the bytes of one body.
OF_A_BODY: Final = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-encoding",
        b"content-language",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"etag",
        b"repr-digest",
    }
)
_SAFE: Final = frozenset({b"GET", b"HEAD"})
_CONDITIONS: Final = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"}
)
_WHEN_VARIABLES: Final = {name: kind for name, kind in EXCHANGE_VARIABLES.items() if name != "response.body"}
