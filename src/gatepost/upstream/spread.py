"""How a route spreads over services: `Split` sends a part of its requests to another one, `Mirror` copies a part."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from gatepost import log
from gatepost.errors import ExpressionError
from gatepost.exchange import Downstream, Exchange, Handler, Sink, Through
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_expression
from gatepost.policies.keys import key_by
from gatepost.upstream.forward import Forward
from gatepost.upstream.guarded import let_go
from gatepost.upstream.shadow import copy_of

_TOLD: Final = 60.0  # seconds between two lines of the log about copies that were not made
_WHOLE: Final = 2**64


class Part(NamedTuple):
    """Who goes to `handler`: those for whom `when` holds, or a `percent` of them."""

    handler: Forward
    when: Callable[[Exchange], bool] | None
    percent: float


class Split(Handler):
    """Conditions first, in their order; then by chance, or by a key that stays with its part."""

    __slots__ = ("_key", "_otherwise", "_shares", "_whens")

    def __init__(self, otherwise: Forward, parts: Sequence[Part], key: Callable[[Exchange], str] | None = None) -> None:
        """`key`: equal ones go the same way, in every process and over restarts, while the percentages stay."""
        self._otherwise = otherwise
        self._key = key
        self._whens = [(part.when, part.handler) for part in parts if part.when is not None]
        self._shares: list[tuple[float, Forward]] = []
        end = 0.0
        for part in parts:
            if part.when is None:
                end += part.percent
                self._shares.append((end, part.handler))

    def handle(self, x: Exchange) -> None:
        self._choose(x).handle(x)

    def _choose(self, x: Exchange) -> Forward:
        for when, handler in self._whens:
            if when(x):
                return handler
        if self._shares:
            place = 100.0 * (random.random() if self._key is None else _place(self._key(x)))  # noqa: S311
            for end, handler in self._shares:
                if place < end:
                    return handler
        return self._otherwise

    def client_gone(self, x: Exchange) -> None:
        let_go(x)  # whichever handler has it


class Mirror(Handler):
    """Before an exchange is handled, a copy of its request goes to another service. What comes of that is for nobody.

    Owns the count of copies under way. A request is copied once its body is whole; a body that is larger than
    `body_bytes`, or does not come whole, is not.
    """

    __slots__ = ("_body_bytes", "_concurrency", "_dropped", "_handler", "_name", "_share", "_to", "_told", "_under_way")

    def __init__(self, handler: Handler, to: Forward, percent: float, body_bytes: int, concurrency: int) -> None:
        self._handler = handler
        self._to = to
        self._name = to.upstream.name
        self._share = percent / 100.0
        self._body_bytes = body_bytes
        self._concurrency = concurrency
        self._under_way = 0
        self._dropped = 0
        self._told = -_TOLD

    def handle(self, x: Exchange) -> None:
        if (self._share >= 1.0 or random.random() < self._share) and x.head.upgrade is None:  # noqa: S311
            body = x.body
            if body is None:
                if x.head.framing <= self._body_bytes:
                    x.downstream = _Tee(self, x.downstream, self._body_bytes)
            elif len(body) <= self._body_bytes:
                self.copy(x, body)
        self._handler.handle(x)

    def client_gone(self, x: Exchange) -> None:
        self._handler.client_gone(x)

    def copy(self, x: Exchange, body: bytes) -> None:
        if self._under_way >= self._concurrency:
            self._drop()
            return
        self._under_way += 1
        copy = copy_of(x, body, self._done)
        copy.forwarding += b"x-gatepost-mirror: 1\r\n"
        self._to.handle(copy)

    def _done(self, status: int) -> None:
        self._under_way -= 1

    def _drop(self) -> None:
        self._dropped += 1
        now = time.monotonic()
        if now >= self._told + _TOLD:
            log.event("mirror_full", level="warning", service=self._name, dropped=self._dropped)
            self._told = now
            self._dropped = 0


class _Tee(Through):
    """The client's side of an exchange whose body is kept, up to a bound, while it goes on its way."""

    __slots__ = ("_limit", "_mirror")

    def __init__(self, mirror: Mirror, downstream: Downstream, limit: int) -> None:
        super().__init__(downstream)
        self._mirror = mirror
        self._limit = limit

    def receive(self, x: Exchange, sink: Sink) -> None:
        self._downstream.receive(x, _Keeping(sink, self._limit, lambda body: self._mirror.copy(x, body)))


class _Keeping:
    """A sink before a sink: `whole(body)` once the body has passed, unless it is more than `limit` bytes."""

    __slots__ = ("_left", "_parts", "_sink", "_whole")

    def __init__(self, sink: Sink, limit: int, whole: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._left = limit
        self._whole = whole
        self._parts: list[bytes] = []

    def send(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        else:
            self._parts.clear()
        self._sink.send(data)

    def finish(self) -> None:
        if self._left >= 0:
            self._whole(b"".join(self._parts))
        self._sink.finish()

    def abort(self) -> None:
        self._sink.abort()


def key_of(expression: str) -> Callable[[Exchange], str]:
    """Raises ValueError where it is none that an exchange can be spread by."""
    key = key_by(expression)
    if key.needs_body:
        raise ValueError("it cannot read request.body: that has not come yet")
    return key.of


def condition(expression: str) -> Callable[[Exchange], bool]:
    """False where its value cannot be told (no such header, say). Raises ValueError."""
    try:
        program = compile_expression(expression, variables=REQUEST_VARIABLES, result="bool")
    except ExpressionError as error:
        raise ValueError(str(error)) from None
    if "request.body" in program.references:
        raise ValueError("it cannot read request.body: that has not come yet")

    def holds(x: Exchange) -> bool:
        try:
            return program.evaluate(ExchangeEnvironment(x)) is True
        except ExpressionError:
            return False

    return holds


def _place(key: str) -> float:
    """From 0 to 1, the same everywhere."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()) / _WHOLE
