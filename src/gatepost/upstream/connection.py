"""One connection to a target: it is the sink of the request's body and the source of the response.

Everything that was read after a complete response, or that comes while no request is out, ends the connection: nobody
can say which request such bytes would answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

from gatepost.errors import Problem, ProtocolError
from gatepost.exchange import Exchange, TunnelEnd
from gatepost.http1.chunked import LAST_CHUNK, ChunkedDecoder
from gatepost.http1.messages import CHUNKED, UNTIL_CLOSE, ResponseHead
from gatepost.http1.request import END_OF_HEAD
from gatepost.http1.response import declared_length
from gatepost.http1.writer import field_lines
from gatepost.net.deadlines import NEVER
from gatepost.upstream.targets import KEPT, OLDEST, Target, Upstream


class Owner(Protocol):
    """The forwarder, as a connection sees it."""

    # Seconds that it waits: for the response to begin, for its next piece, for it all since the exchange was first
    # sent (0: without bound).
    first_byte: float
    idle: float
    total: float

    def failed(self, connection: UpstreamConnection, x: Exchange, problem: Problem, *, retry: bool) -> None:
        """No byte of a response has gone to the client. `retry`: the target has not begun to answer either."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """Mutable; owned by its `Upstream`, and by one exchange at a time."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_cancelled",
        "_chunked_body",
        "_decoder",
        "_endless",
        "_got_bytes",
        "_in_head",
        "_keep_alive",
        "_left",
        "_method",
        "_old_at",
        "_owner",
        "_received",
        "_sending",
        "_total",
        "_tunnel",
        "_x",
        "deadline",
        "idle_since",
        "reused",
        "target",
        "transport",
        "upstream",
    )

    transport: asyncio.Transport
    _owner: Owner

    def __init__(self, upstream: Upstream, target: Target) -> None:
        self.upstream = upstream
        self.target = target
        self.deadline = NEVER
        self.idle_since = 0.0
        self.reused = False
        self._x: Exchange | None = None
        self._buffer = b""
        self._tunnel: TunnelEnd | None = None
        self._decoder: ChunkedDecoder | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._old_at = time.monotonic() + OLDEST
        self.target.open += 1
        self.upstream.connections.add(self)
        self.upstream.deadlines.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.connections.discard(self)
        self.target.open -= 1
        self.upstream.deadlines.leave(self)
        self.deadline = NEVER
        x = self._x
        if x is None:
            idle = self.target.idle
            if self in idle:
                idle.remove(self)
            return
        tunnel = self._tunnel
        if tunnel is not None:
            self._x = None
            tunnel.abort() if exc is not None else tunnel.finish()
        else:
            self._ended(x)

    def eof_received(self) -> bool:
        x = self._x
        if self._tunnel is not None:
            self._x = None
            self._tunnel.finish()
        elif x is not None:
            if self._begun and self._left == UNTIL_CLOSE:
                self._complete(x, reusable=False)
                x.downstream.finish()
            else:
                self._ended(x)
        return False

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause()
        elif self._x is not None and self._sending:
            self._x.downstream.pause_body()

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume()
        elif self._x is not None and self._sending:
            self._x.downstream.resume_body()

    def data_received(self, data: bytes) -> None:
        x = self._x
        if x is None:
            self.drop()
            return
        if self._tunnel is not None:
            self._tunnel.send(data)
            return
        self._got_bytes = True
        try:
            if self._in_head:
                self._head(x, data)
            else:
                self._body(x, data)
        except ProtocolError as error:
            problem = error.problem
            self._fail(x, problem._replace(detail=f"{self.target.name}: {problem.detail or problem.title}"))

    # A request.

    def for_one_exchange(self) -> None:
        """Before `start`: nobody else finds it in the pool afterwards, while its owner still has it."""
        self._old_at = 0.0

    def start(self, x: Exchange, owner: Owner, data: bytes, body: bytes | None) -> None:
        """Send a request. `body` None: it follows through `send` and `finish`."""
        self._x = x
        x.upstream = self
        self._owner = owner
        self._method = x.head.method
        self._in_head = True
        self._begun = self._got_bytes = self._endless = self._cancelled = False
        self._received = 0
        now = time.monotonic()
        if not x.sent_upstream:  # the bounds of the whole hold over every try
            x.sent_upstream = now
        x.target = self.target.name
        self.deadline = now + owner.first_byte
        if owner.total:
            self._total = x.sent_upstream + owner.total
            self.deadline = min(self.deadline, self._total)
        else:
            self._total = NEVER
        transport = self.transport
        if body is None:
            self._sending = True
            self._chunked_body = x.head.framing == CHUNKED
            transport.write(data)
            x.downstream.receive(x, self)
            return
        self._sending = False
        if len(body) <= 65_536:
            transport.write(data + body if body else data)
        else:
            transport.write(data)
            transport.write(body)

    def send(self, data: bytes) -> None:
        if self._x is None or self.transport.is_closing():
            return
        if self._tunnel is not None:
            self._x.bytes_in += len(data)
            self.transport.write(data)
            return
        self.deadline = min(time.monotonic() + self._owner.first_byte, self._total)
        if self._chunked_body:
            self.transport.write(b"%x\r\n" % len(data))
            self.transport.write(data)
            self.transport.write(b"\r\n")
        else:
            self.transport.write(data)

    def finish(self) -> None:
        if self._x is None or self.transport.is_closing():
            return
        if self._tunnel is not None:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()
            return
        self._sending = False
        if self._chunked_body:
            trailers = self._x.trailers
            self.transport.write(b"0\r\n%b\r\n" % field_lines(trailers) if trailers else LAST_CHUNK)

    def abort(self) -> None:
        """The request's body ends unfinished, or the tunnel's other end is gone."""
        self.drop()

    # The response.

    def _head(self, x: Exchange, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        upstream = self.upstream
        limit = upstream.header_bytes
        while True:
            end = data.find(END_OF_HEAD)
            if end < 0 or end > limit:
                if len(data) > limit:
                    raise _invalid(f"its header is larger than {limit} bytes")
                if data and not b"HTTP/1.".startswith(data[:7]):
                    raise _invalid("it does not begin with HTTP/1.")
                self._buffer = data
                return
            self._buffer = b""
            end += 4
            head = upstream.responses.parse(data[:end], self._method)
            data = data[end:]
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(x, head, data)
                return
            self._received += end  # interim responses have no end of their own: they count as one header
            if self._received > limit:
                raise _invalid(f"its interim responses are larger than {limit} bytes")
            if head.status != 100:  # the client had our own 100 when its body was asked for
                x.downstream.informational(head.status, head.fields)
        framing = head.framing
        status = head.status
        most = upstream.response_bytes
        if most and framing > most:
            raise _invalid(f"its body is larger than {most} bytes")
        self._in_head = False
        self._begun = True
        self._received = 0
        self._keep_alive = head.keep_alive
        x.first_byte = time.monotonic()
        if framing >= 0 and framing <= len(data):
            reusable = framing == len(data)
            self._complete(x, reusable=reusable)
            if framing == 0 and (self._method == b"HEAD" or status == 304):
                declared = declared_length(head.special)
                x.downstream.begin(x, status, head.fields, int(declared) if declared else None, self)
                if not self._cancelled:
                    x.downstream.finish()
            else:
                x.downstream.respond(x, status, head.fields, data if reusable else data[:framing])
            return
        if framing == CHUNKED:
            self._decoder = ChunkedDecoder()
        self._left = framing
        self._endless = (head.get(b"content-type") or b"").partition(b";")[0].strip().lower() == b"text/event-stream"
        self.deadline = self._idle_deadline(x.first_byte)
        x.downstream.begin(x, status, head.fields, framing if framing > 0 else None, self)
        if data and self._x is x:
            self._body(x, data)

    def _body(self, x: Exchange, data: bytes) -> None:
        self._received += len(data)
        limit = self.upstream.response_bytes
        if limit and self._received > limit:
            raise _invalid(f"its body is larger than {limit} bytes")
        if self.deadline is not NEVER:
            self.deadline = self._idle_deadline(time.monotonic())
        left = self._left
        if left == CHUNKED:
            assert self._decoder is not None
            piece, rest = self._decoder.feed(data)
            if piece:
                x.downstream.send(piece)
            if self._decoder.done and self._x is x:
                self._decoder = None
                self._complete(x, reusable=not rest)
                x.downstream.finish()
        elif left == UNTIL_CLOSE:
            x.downstream.send(data)
        else:
            size = len(data)
            if size < left:
                self._left = left - size
                x.downstream.send(data)
            else:
                self._complete(x, reusable=size == left)
                x.downstream.send(data if size == left else data[:left])
                if not self._cancelled:  # a stage may have answered in its place, and the client's next exchange begun
                    x.downstream.finish()

    def _idle_deadline(self, now: float) -> float:
        if self._endless:
            return self._total
        return min(now + self._owner.idle, self._total)

    def _complete(self, x: Exchange, *, reusable: bool) -> None:
        """The response is whole. The connection is free before the client's side hears of it: its next request may
        need one."""
        self._x = None
        self.reused = True
        self._begun = False
        if self._sending:
            # A response before the end of the upload: what of it is still under way would be read as a request. And a
            # target that reads no more would keep a close waiting for ever, for what was written to it.
            self._sending = False
            reusable = False
            self.transport.abort()
        now = x.first_byte
        target = self.target
        transport = self.transport
        reusable = reusable and self._keep_alive and now < self._old_at
        if reusable and len(target.idle) < target.pool and not transport.is_closing():
            target.idle.append(self)
            if not transport.is_reading():
                transport.resume_reading()  # paused with its last bytes read: the next answer must be heard
            self.idle_since = now
            self.deadline = now + KEPT
        else:
            self.deadline = NEVER
            if not transport.is_closing():
                transport.close()

    def _switch(self, x: Exchange, head: ResponseHead, data: bytes) -> None:
        if x.head.upgrade is None or head.upgrade is None:
            raise _invalid("it switches to a protocol that was not asked for")
        self._in_head = False
        self._begun = True
        x.first_byte = time.monotonic()
        self.deadline = NEVER
        fields = [(b"connection", b"upgrade"), (b"upgrade", head.upgrade), *head.fields]
        self._tunnel = client = x.downstream.tunnel(x, 101, fields, self)
        client.resume()  # only now: what the client sent ahead comes back into `send` at once
        if data and self._x is x:
            client.send(data)

    # The source's side.

    def pause(self) -> None:
        if self._x is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            self.deadline = self._total

    def resume(self) -> None:
        if self._x is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            if self._tunnel is None:
                self.deadline = self._idle_deadline(time.monotonic())

    def cancel(self) -> None:
        self._cancelled = True
        self.drop()

    # Ends.

    def leave(self, x: Exchange) -> None:
        """The client of `x` left. Once the response is whole, this connection may serve another exchange already, while
        the client is still being sent it (`compress` works in slices, `emit` holds it): that one must not notice."""
        if self._x is x:
            self.drop()

    def drop(self) -> None:
        """Let go of the exchange, if there is one, and of the connection. Nothing is said to anyone."""
        self._x = None
        self._tunnel = None
        self.deadline = NEVER
        self.transport.abort()

    def expire(self, now: float) -> None:
        x = self._x
        if x is None:
            if self in self.target.idle:
                self.target.idle.remove(self)
            self.drop()
            return
        owner = self._owner
        if now >= self._total:
            what, seconds = "the whole response", owner.total
        elif self._begun:
            what, seconds = "the next piece of the response", owner.idle
        else:
            what, seconds = "the response to begin", owner.first_byte
        self._fail(
            x,
            Problem(
                504,
                "upstream-timeout",
                "The upstream took too long",
                f"waited {seconds:g} s for {what} from {self.target.name}",
            ),
        )

    def _ended(self, x: Exchange) -> None:
        """The target closed the connection before the response was whole."""
        retry = self.reused and not self._got_bytes
        self._fail(
            x,
            Problem(
                502,
                "upstream-closed",
                "The upstream closed the connection",
                f"{self.target.name} closed the connection before its response was complete",
            ),
            retry=retry,
        )

    def _fail(self, x: Exchange, problem: Problem, *, retry: bool = False) -> None:
        begun = self._begun
        self.drop()
        if begun:
            x.outcome = problem.slug if problem.slug != "upstream-closed" else "upstream-truncated"
            x.downstream.abort()
        else:
            self._owner.failed(self, x, problem, retry=retry)


def _invalid(detail: str) -> ProtocolError:
    return ProtocolError(Problem(502, "upstream-invalid", "The upstream sent an invalid response", detail))
