"""A `Downstream` that hands everything on: the base of those that stand between a target and its client."""

from __future__ import annotations

from gatepost.exchange import Downstream, Exchange, Sink, Source, TunnelEnd
from gatepost.http1.messages import Fields


class Through:
    """Override what is to be seen or held back."""

    __slots__ = ("_next",)

    def __init__(self, downstream: Downstream) -> None:
        self._next = downstream

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        self._next.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        self._next.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        self._next.send(data)

    def finish(self) -> None:
        self._next.finish()

    def abort(self) -> None:
        self._next.abort()

    def receive(self, x: Exchange, sink: Sink) -> None:
        self._next.receive(x, sink)

    def pause_body(self) -> None:
        self._next.pause_body()

    def resume_body(self) -> None:
        self._next.resume_body()

    def informational(self, status: int, fields: Fields) -> None:
        self._next.informational(status, fields)

    def peer_certificate(self) -> bytes | None:
        return self._next.peer_certificate()

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        return self._next.tunnel(x, status, fields, source)
