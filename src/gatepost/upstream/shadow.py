"""Exchanges without a client: copies of others (`mirror.py`), and the questions of health checks (`checks.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gatepost.exchange import NO_FIELDS, Exchange, Sink, Source, TunnelEnd
from gatepost.http1.messages import Fields, RequestHead

_READ: Final = 1_048_576  # bytes of a response that are read and thrown away; then its connection ends


class Unheard:
    """The client's side where there is no client: `done(status)` once, 0 where the response broke off."""

    __slots__ = ("_done", "_left", "_source", "_status")

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done: Callable[[int], None] | None = done
        self._left = _READ
        self._status = 0
        self._source: Source | None = None

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        self._status = status
        self._source = source
        if any(name == b"content-type" and value[:17].lower() == b"text/event-stream" for name, value in fields):
            self._enough()  # it would never end

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        self._end(status)

    def send(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._enough()

    def finish(self) -> None:
        self._end(self._status)

    def abort(self) -> None:
        self._end(0)

    def _enough(self) -> None:
        source, self._source = self._source, None
        if source is not None and self._done is not None:
            source.cancel()
            self._end(self._status)

    def _end(self, status: int) -> None:
        done, self._done = self._done, None
        self._source = None
        if done is not None:
            done(status)

    def receive(self, x: Exchange, sink: Sink) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def informational(self, status: int, fields: Fields) -> None: ...

    def peer_certificate(self) -> bytes | None:
        return None

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        raise AssertionError("nobody asked for an upgrade")


def copy_of(x: Exchange, body: bytes, done: Callable[[int], None]) -> Exchange:
    """The same request again, for nobody. Its answer is not recorded."""
    copy = Exchange()
    for name in Exchange.__slots__:
        if hasattr(x, name):
            setattr(copy, name, getattr(x, name))
    copy.body = body
    copy.downstream = Unheard(done)
    copy.notes = copy.upstream = None
    copy.status = copy.bytes_in = copy.bytes_out = 0
    copy.sent_upstream = copy.first_byte = 0.0
    copy.target = copy.outcome = ""
    copy.held = False
    return copy


def question(loop: asyncio.AbstractEventLoop, done: Callable[[int], None]) -> Exchange:
    """A GET without a body, which the gateway asks for itself."""
    head = RequestHead()
    head.method = b"GET"
    head.framing = 0
    head.upgrade = None
    x = Exchange()
    x.head = head
    x.loop = loop
    x.id = b""
    x.body = b""
    x.trailers = NO_FIELDS
    x.downstream = Unheard(done)
    x.notes = x.upstream = None
    x.status = x.bytes_in = x.bytes_out = 0
    x.sent_upstream = x.first_byte = x.started = 0.0
    x.target = x.outcome = ""
    x.held = False
    return x
