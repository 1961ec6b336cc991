"""Exchanges without a server: `make_exchange` builds one, `RecordingDownstream` writes down what its client gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatepost.exchange import Exchange, Handler, Policy, Route, Sink, Source, TunnelEnd
from gatepost.http1.messages import CHUNKED, Fields, RequestHead


@dataclass
class RecordingDownstream:
    """The client's side. `calls` names what happened, in order; the rest is what arrived."""

    calls: list[str] = field(default_factory=list)
    status: int = 0
    fields: Fields = field(default_factory=list)
    length: int | None = None
    body: bytes = b""
    finished: bool = False
    aborted: bool = False
    gone: bool = False  # the client left: nothing more is written down
    source: Source | None = None  # of a response that streams
    receiver: Sink | None = None  # where the request body flows
    informational_heads: list[int] = field(default_factory=list)
    on_end: Callable[[], None] | None = None
    certificate: bytes | None = None  # DER, of the client

    @property
    def silent(self) -> bool:
        """Nothing of a response came yet."""
        return not self.status

    @property
    def ended(self) -> bool:
        return self.finished or self.aborted

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        assert self.silent, "a second response"
        self.calls.append("begin")
        if not self.gone:
            self.status, self.fields, self.length, self.source = status, list(fields), length, source

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        assert self.silent, "a second response"
        self.calls.append("respond")
        if not self.gone:
            self.status, self.fields, self.body, self.finished = status, list(fields), body, True
        self._ended()

    def send(self, data: bytes) -> None:
        assert not self.ended, "bytes after the end"
        self.calls.append("send")
        if not self.gone:
            self.body += data

    def finish(self) -> None:
        assert not self.ended, "a second end"
        self.calls.append("finish")
        self.finished = not self.gone
        self._ended()

    def abort(self) -> None:
        assert not self.ended, "a second end"
        self.calls.append("abort")
        self.aborted = True
        self._ended()

    def receive(self, x: Exchange, sink: Sink) -> None:
        self.calls.append("receive")
        self.receiver = sink

    def pause_body(self) -> None:
        self.calls.append("pause_body")

    def resume_body(self) -> None:
        self.calls.append("resume_body")

    def informational(self, status: int, fields: Fields) -> None:
        self.informational_heads.append(status)

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        self.calls.append("tunnel")
        self.status = status
        return source

    def peer_certificate(self) -> bytes | None:
        return self.certificate

    def _ended(self) -> None:
        if self.on_end is not None:
            self.on_end()


class RecordingSource:
    """Where a body comes from: writes down what it was told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def cancel(self) -> None:
        self.calls.append("cancel")


class StillLoop(asyncio.AbstractEventLoop):
    """A loop that makes futures and runs nothing."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False


class NoHandler:
    """A handler for routes whose handler is not what is tested."""

    def handle(self, x: Exchange) -> None:
        raise AssertionError("not called")

    def client_gone(self, x: Exchange) -> None: ...


def make_exchange(
    method: str = "GET",
    target: str = "/",
    fields: Fields | None = None,
    body: bytes | None = b"",
    *,
    route: str = "route",
    handler: Handler | None = None,
    policies: tuple[Policy, ...] = (),
    params: dict[str, str] | None = None,
    client: str = "192.0.2.1",
    loop: asyncio.AbstractEventLoop | None = None,
    downstream: RecordingDownstream | None = None,
) -> tuple[Exchange, RecordingDownstream]:
    """An exchange as the server makes it once the head is parsed and the route found. `body` None: still to come.

    `loop` defaults to the running one; where none runs the exchange has none."""
    head = RequestHead()
    head.method = method.encode()
    head.target = target.encode()
    head.host = b"gateway.test"
    head.fields = list(fields or [])
    head.special = [(b"host", b"gateway.test")]
    head.framing = CHUNKED if body is None else len(body)
    head.http10 = False
    head.keep_alive = True
    head.expect_continue = False
    head.upgrade = None
    head.connection = ()

    path, _, query = target.partition("?")
    x = Exchange()
    x.id = b"req-1"
    x.head = head
    if loop is not None:
        x.loop = loop
    else:
        try:
            x.loop = asyncio.get_running_loop()
        except RuntimeError:
            pass  # a test that needs no loop
    x.scheme = b"http"
    x.peer = client
    x.client = client
    x.trusted = False
    x.forwarding = b""
    x.trace = b""
    x.path = path
    x.query = query.encode()
    head.path, head.query = x.path, x.query
    x.params = params or {}
    x.trailers = []
    x.route = Route(route, handler or NoHandler(), policies)
    x.consumer = None
    x.body = body
    out = downstream or RecordingDownstream()
    x.downstream = out
    x.status = 0
    x.response_fields = []
    x.notes = None
    x.started = 0.0
    x.sent_upstream = 0.0
    x.first_byte = 0.0
    x.target = ""
    x.upstream = None
    x.bytes_in = len(body or b"")
    x.bytes_out = 0
    x.outcome = ""
    x.held = False
    return x, out
