"""The stage of `transform`: it stands between the handler and the client, and holds the response until it is whole.

begin ──► passing   it is not to be transformed: everything goes straight through from here on
  └─────► reading   the body is gathered ──► whole: the new one goes out in one piece
                                         └─► unreadable: 502, or passing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatepost.errors import ExpressionError, Problem
from gatepost.exchange import Downstream, Exchange, Source, Through, problem
from gatepost.expressions import ExchangeEnvironment, Program
from gatepost.http1.messages import Fields

_NO_BODY: Final = frozenset({204, 205, 304})


class ResponseTransform:
    """What is done to the responses of one route. Immutable."""

    __slots__ = ("body", "fields", "limit", "passes", "when")

    def __init__(
        self, when: Program, body: Program, *, fields: Callable[[Fields], Fields], limit: int, passes: bool
    ) -> None:
        """`limit` in bytes; `passes`: what cannot be transformed goes out as it came."""
        self.when = when
        self.body = body
        self.fields = fields
        self.limit = limit
        self.passes = passes

    def applies(self, x: Exchange, status: int, fields: Fields) -> bool:
        """Not to what the gateway answers itself. Raises ExpressionError."""
        if x.outcome or status in _NO_BODY:
            return False
        x.status = status
        x.response_fields = fields
        return self.when.evaluate(ExchangeEnvironment(x)) is True


class Stage(Through):
    """Between the handler and the client of one exchange."""

    __slots__ = ("_fields", "_length", "_parts", "_reading", "_size", "_source", "_status", "_to", "_x")

    _x: Exchange
    _status: int
    _fields: Fields
    _length: int | None
    _source: Source

    def __init__(self, to: ResponseTransform, downstream: Downstream) -> None:
        self._to = to
        super().__init__(downstream)
        self._reading = False
        self._parts: list[bytes] = []
        self._size = 0

    # ResponseSink: the handler's side

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        self._x, self._status, self._fields, self._length, self._source = x, status, fields, length, source
        try:
            if not self._to.applies(x, status, fields):
                self._downstream.begin(x, status, fields, length, source)
                return
            if x.head.method == b"HEAD":  # what GET would say: no length and no validator of the old body
                self._downstream.begin(x, status, self._to.fields(fields), None, source)
                return
            check_readable(fields, length, self._to.limit)
        except ExpressionError as error:
            self._fail(str(error))
            return
        self._reading = True

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        try:
            if not self._to.applies(x, status, fields):
                self._downstream.respond(x, status, fields, body)
                return
            check_readable(fields, len(body), self._to.limit)
            out = self._to.body.evaluate_json(ExchangeEnvironment(x, response_body=body))
        except ExpressionError as error:
            if self._to.passes:
                self._downstream.respond(x, status, fields, body)
            else:
                self._refuse(x, str(error))
            return
        self._downstream.respond(x, status, self._to.fields(fields), out)

    def send(self, data: bytes) -> None:
        if not self._reading:
            self._downstream.send(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._to.limit:
            self._fail(f"the response is larger than {self._to.limit} bytes")

    def finish(self) -> None:
        if not self._reading:
            self._downstream.finish()
            return
        self._reading = False
        body = b"".join(self._parts)
        self.respond(self._x, self._status, self._fields, body)

    def abort(self) -> None:
        if not self._reading:
            self._downstream.abort()
            return
        self._reading = False
        self._answer(
            self._x, Problem(502, "upstream-closed", "The upstream closed the connection", "before its response ended")
        )

    # What cannot be transformed

    def _fail(self, reason: str) -> None:
        """While the response still comes."""
        self._reading = False
        if not self._to.passes:
            self._source.cancel()
            self._refuse(self._x, reason)
            return
        self._downstream.begin(self._x, self._status, self._fields, self._length, self._source)
        parts, self._parts = self._parts, []
        for part in parts:
            self._downstream.send(part)

    def _refuse(self, x: Exchange, reason: str) -> None:
        self._answer(
            x, Problem(502, "response-not-transformed", "The upstream's response cannot be transformed", reason)
        )

    def _answer(self, x: Exchange, p: Problem) -> None:
        answer = problem(x.id, p)
        x.outcome = answer.outcome
        self._downstream.respond(x, answer.status, answer.fields, answer.body)


def check_readable(fields: Fields, length: int | None, limit: int) -> None:
    """Raises ExpressionError for a body that cannot be held, or not be read."""
    if length is not None and length > limit:
        raise ExpressionError(f"the response is larger than {limit} bytes")
    for name, value in fields:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise ExpressionError(f"it has the Content-Encoding {value.decode('latin-1')[:40]}")
        if name == b"content-type" and value[:17].lower() == b"text/event-stream":
            raise ExpressionError("it is a stream of events, which has no end")
