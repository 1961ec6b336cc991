"""One client connection: it reads heads, runs an exchange at a time, and is the sink of its response.

    bytes → head → route → policies → handler          (`data_received` … `_handle`)
    client ← begin, send …, finish ← stages ← handler   (the `Downstream` contract of `exchange.py`)

Pipelined requests wait, as bytes, in a bounded buffer until the answer before them is complete, so answers are in
order without a queue. Request bodies flow only once somebody asked for them (`receive`), and stop while the sink is
paused. Whatever is wrong with a request is answered once, if no byte of a response has gone out; after that
the connection is only ever cut, so that a client never takes half a response for a whole one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

from gatepost import log
from gatepost.errors import INTERNAL, ProtocolError
from gatepost.exchange import (
    NO_FIELDS,
    Answer,
    Collected,
    Downstream,
    Exchange,
    Response,
    Sink,
    Source,
    TunnelEnd,
    problem,
)
from gatepost.http1 import writer
from gatepost.http1.chunked import LAST_CHUNK, ChunkedDecoder
from gatepost.http1.framing import bad_request
from gatepost.http1.messages import CHUNKED, FieldList, Fields, RequestHead
from gatepost.http1.request import END_OF_HEAD, RequestParser, check_unfinished
from gatepost.net.addresses import plain
from gatepost.net.deadlines import NEVER
from gatepost.net.proxy_protocol import parse as parse_proxy_header
from gatepost.server.clients import next_trace_lines, stranger, through_proxy, trace_lines
from gatepost.server.departure import Departure
from gatepost.server.gate import Gate
from gatepost.server.refusals import METHOD_NOT_ALLOWED, NOT_FOUND, TOO_MANY, cut_off, too_large, too_slow
from gatepost.server.routing import Found, MethodNotAllowed
from gatepost.server.tunnel import ClientEnd
from gatepost.server.websocket import WebSocket, is_websocket

Steps: TypeAlias = tuple[Callable[[Exchange], Answer], ...]

LOOK_AHEAD: Final = 65_536  # bytes of pipelined requests, or of a body that nobody has asked for yet
LINGER: Final = 2.0  # seconds in which what a refused client still sends is thrown away, so that it can read why
HALF_CLOSED: Final = 1.0  # seconds that an exchange may go on once the client has closed its sending side
FAREWELL: Final = 2.0  # seconds that the ends of a WebSocket have for their Close when the node stops
RATE_WINDOW: Final = 10.0  # seconds over which a body's rate is averaged
WRITE_BUFFER: Final = 65_536  # bytes unsent above which the source is paused

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with a reset

# How the body of the response is written.
_NONE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)


class Connection(asyncio.Protocol):
    """Mutable, owned by its event loop. Implements `Downstream` for the exchange under way."""

    __slots__ = (
        "_begun",
        "_blank",
        "_body_bytes",
        "_body_left",
        "_body_limit",
        "_body_open",
        "_buffer",
        "_decoder",
        "_departure",
        "_eof",
        "_forwarding",
        "_forwarding_host",
        "_gate",
        "_keep_alive",
        "_left",
        "_lingering",
        "_mode",
        "_named",
        "_parser",
        "_parsing",
        "_peer",
        "_proxied",
        "_rate_from",
        "_reading",
        "_requests",
        "_sink",
        "_source",
        "_transport",
        "_tunnel",
        "_waiting",
        "_websocket",
        "_writing",
        "_x",
        "deadline",
    )

    _transport: asyncio.Transport

    def __init__(self, gate: Gate, named: str | None = None) -> None:
        """`named` is the peer's address where a PROXY header has said it already."""
        self._gate = gate
        self._named = named
        self._parser = RequestParser(gate.head_limits)
        self._buffer = b""
        self._x: Exchange | None = None
        self._sink: Sink | None = None
        self._source: Source | None = None
        self._tunnel: TunnelEnd | None = None
        self._websocket: WebSocket | None = None  # what the tunnel is, if it is one
        self._waiting: asyncio.Task[None] | None = None  # for a policy
        self._decoder: ChunkedDecoder | None = None
        self._departure: Departure | None = None  # watches it while it is not read from
        self._body_open = False  # bytes of the request body are still to come
        self._body_left = 0
        self._begun = False
        self._blank = False  # an empty line came before the request line
        self._parsing = False
        self._eof = False
        self._lingering = False
        self._reading = True
        self._writing = True
        self._keep_alive = True
        self._requests = 0
        self._forwarding = b""
        self._forwarding_host = b""
        self._proxied = gate.proxy_protocol  # a PROXY header must come first
        self.deadline = NEVER

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        gate = self._gate
        peer = transport.get_extra_info("peername")
        self._peer = plain(peer[0].partition("%")[0]) if isinstance(peer, tuple) else ""
        if self._named is not None:
            self._peer = self._named
        if len(gate.connections) >= gate.limits.connections:
            self._transport.write(TOO_MANY)
            self._transport.close()
            self._lingering = True
            return
        gate.connections.add(self)
        gate.deadlines.join(self)
        self.deadline = time.monotonic() + gate.limits.header_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        gate = self._gate
        gate.deadlines.leave(self)
        if self._departure is not None:
            self._departure.stop()
        self.deadline = NEVER
        self._lingering = True
        x = self._x
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.abort()
            self._end(x)
        elif x is not None and (self._body_open or not x.held):
            self._give_up(x, "client-gone")  # of a request that did not come whole, no event can be made
        elif x is not None:
            return  # a held exchange goes on without its client; what it writes is thrown away, its end leaves
        gate.leave(self)

    def eof_received(self) -> bool:
        self._eof = True
        if self._tunnel is not None:
            self._tunnel.finish()
            return True
        if self._lingering or (self._x is None and not self._buffer):
            return False
        if self._x is None or self._body_open:
            self._fail(cut_off())
        else:
            # A client that leaves looks like one that only stopped sending. It gets a moment for an answer that is
            # under way; then the upstream exchange is aborted.
            self.deadline = min(self.deadline, time.monotonic() + HALF_CLOSED)
        return self._gate.scheme == b"http"  # TLS cannot be half-closed

    def pause_writing(self) -> None:
        self._writing = False
        if self._tunnel is not None:
            self._tunnel.pause()
        elif self._source is not None:
            self.deadline = min(self.deadline, time.monotonic() + self._gate.limits.idle_timeout)
            self._source.pause()

    def resume_writing(self) -> None:
        self._writing = True
        if self._tunnel is not None:
            self._tunnel.resume()
        elif self._source is not None:
            self.deadline = NEVER if not self._body_open else time.monotonic() + RATE_WINDOW
            self._source.resume()

    def data_received(self, data: bytes) -> None:
        if self._x is None:
            if self._lingering:
                return
            self._buffer = self._buffer + data if self._buffer else data
            if not self._parsing:
                self._parse()
        elif self._tunnel is not None:
            self._tunnel.send(data)
        elif self._body_open and self._sink is not None and not self._buffer:
            self._body(data)
        else:
            self._buffer += data
            if len(self._buffer) > LOOK_AHEAD:
                self._pause_reading()

    # Heads.

    def _parse(self) -> None:
        """Run exchanges off the buffer until one has to wait, or the next head is not whole."""
        self._parsing = True
        try:
            while self._x is None and self._buffer and not self._lingering:
                if self._proxied and not self._read_proxy_header():
                    break
                data = self._buffer
                if data[:2] == b"\r\n":
                    # RFC 9112 §2.2: an empty line before the request line is ignored. One.
                    if self._blank:
                        raise bad_request("empty lines before the request line")
                    self._blank = True
                    self._buffer = data[2:]
                    continue
                if data == b"\r":
                    break
                end = data.find(END_OF_HEAD)
                if end < 0:
                    check_unfinished(data, self._gate.head_limits)
                    if self._requests:
                        self._await_head()
                    break
                end += 4
                if end == len(data):
                    self._buffer = b""
                else:
                    self._buffer = data[end:]
                    data = data[:end]
                self._blank = False
                self._start(self._parser.parse(data))
            if self._eof and self._x is None and not self._lingering:
                if self._buffer:
                    raise cut_off()
                self._close()
        except ProtocolError as error:
            self._fail(error)
        finally:
            self._parsing = False

    def _await_head(self) -> None:
        """The first bytes of a head have come: the rest has `header_timeout`, counted from now, once."""
        limit = time.monotonic() + self._gate.limits.header_timeout
        self.deadline = min(self.deadline, limit)

    def _read_proxy_header(self) -> bool:
        parsed = parse_proxy_header(self._buffer)
        if parsed is None:
            return False
        used, address = parsed
        self._buffer = self._buffer[used:]
        self._proxied = False
        if address is not None:
            self._peer = plain(address)
        return bool(self._buffer)

    def _start(self, head: RequestHead) -> None:
        gate = self._gate
        snapshot = gate.snapshot
        x = self._open(head)
        self._requests += 1
        host = head.host
        if len(head.special) > 1 and not gate.traced:
            x.trace = trace_lines(head.special, x.trace)
        if snapshot.is_trusted is not None and snapshot.is_trusted(self._peer):
            x.trusted = True
            if gate.traced:
                x.trace = next_trace_lines(head.special, x.trace)
            client, x.scheme, host = through_proxy(self._peer, x.scheme, host, head.special, snapshot.is_trusted)
            x.client = client.address
            x.forwarding = client.forwarding
            x.id = client.request_id or x.id
        else:
            if host != self._forwarding_host or not self._forwarding:
                self._forwarding = stranger(self._peer, gate.scheme, host)
                self._forwarding_host = host
            x.forwarding = self._forwarding
        found = snapshot.router.find(host, x.path, head.method, head)
        if type(found) is Found:
            x.route = route = found.value
            x.params = found.params
            body_limit = route.body_limit
            if body_limit is None:
                body_limit = gate.limits.body_bytes
        else:
            body_limit = gate.limits.body_bytes
        if head.framing:
            self._frame_body(x, head, body_limit)
            if x.route.stream_limit is not None:
                self._body_limit = min(body_limit, x.route.stream_limit)
        else:
            x.body = b""
        if type(found) is not Found:
            if type(found) is MethodNotAllowed:
                self._answer(x, problem(x.id, METHOD_NOT_ALLOWED, [(b"allow", found.allow)]))
            else:
                self._answer(x, problem(x.id, NOT_FOUND))
            return
        if head.upgrade is not None and not route.upgrade:
            head.upgrade = None
        if route.stages:
            downstream: Downstream = self
            for stage in route.stages:
                downstream = stage(x, downstream)
            x.downstream = downstream
        if route.buffer_body and x.body is None:
            limit = min(body_limit, gate.limits.buffered_body_bytes)
            self.receive(x, Collected(limit, lambda body: self._buffered(x, body)))
            return
        self._run(x, route.on_request)

    def _frame_body(self, x: Exchange, head: RequestHead, limit: int) -> None:
        framing = head.framing
        self._body_limit = limit
        self._body_bytes = 0
        if framing == CHUNKED:
            self._decoder = ChunkedDecoder()
        elif framing > limit:
            self._body_open = True
            raise too_large(limit)
        elif len(self._buffer) >= framing:
            x.body = self._buffer[:framing]
            x.bytes_in = framing
            self._buffer = self._buffer[framing:]
            return
        else:
            self._decoder = None
            self._body_left = framing
        self._body_open = True
        self._sink = None
        self._watch_rate()

    # Policies and the handler.

    def _run(self, x: Exchange, steps: Steps) -> None:
        try:
            for step in steps:
                answer = step(x)
                if answer is not None:
                    if isinstance(answer, Response):
                        x.outcome = answer.outcome
                        x.downstream.respond(x, answer.status, answer.fields, answer.body)
                    else:
                        # Only what memory cannot tell costs a task.
                        later = steps[steps.index(step) + 1 :]
                        self._waiting = x.loop.create_task(self._wait(x, cast("Awaitable[Any]", answer), later))
                    return
            x.route.handler.handle(x)
        except Exception as error:
            self._broken(x, error)

    async def _wait(self, x: Exchange, answer: Awaitable[Response | None], later: Steps) -> None:
        try:
            response = await answer
        except Exception as error:
            self._broken(x, error)
            return
        if self._x is not x:
            return
        self._waiting = None
        self._run(x, later if response is None else (lambda _: response,))

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _buffered(self, x: Exchange, body: bytes | None) -> None:
        if self._x is not x:
            return
        if body is None:
            self._fail(too_large(min(self._body_limit, self._gate.limits.buffered_body_bytes)))
        else:
            x.body = body
            self._run(x, x.route.on_request)

    def _policy_failed(self, x: Exchange, error: Exception) -> None:
        """Too late for another answer: the exchange goes on without it."""
        log.event("policy_failed", level="error", request_id=x.id, route=x.route.name, **log.fault(error))

    def _broken(self, x: Exchange, error: Exception) -> None:
        """A fault of ours, or of a policy: the client gets a 500, the log what happened."""
        log.event("exchange_failed", level="error", request_id=x.id, route=x.route.name, **log.fault(error))
        if self._x is not x:
            return
        if self._begun:
            self._give_up(x, "internal-error")
            self._abort()
        else:
            self._answer(x, problem(x.id, INTERNAL))

    def _answer(self, x: Exchange, response: Response) -> None:
        """An answer past the stages: they are for what the handler and the policies say."""
        x.outcome = response.outcome
        self.respond(x, response.status, response.fields, response.body)

    # The request body.

    def receive(self, x: Exchange, sink: Sink) -> None:
        if self._x is not x or not self._body_open:
            return
        self._sink = sink
        if x.head.expect_continue and not self._buffer and self._body_bytes == 0 and not self._begun:
            self._transport.write(writer.CONTINUE)
        if self._buffer:
            data, self._buffer = self._buffer, b""
            try:
                self._body(data)
            except ProtocolError as error:
                self._fail(error)
        self.resume_body()

    def pause_body(self) -> None:
        self._pause_reading()
        self.deadline = NEVER if self._writing else self.deadline

    def resume_body(self) -> None:
        self._resume_reading()
        if self._body_open and self._eof:
            self._fail(cut_off())
        elif self._body_open:
            self._watch_rate()

    def _watch_rate(self) -> None:
        self._rate_from = self._body_bytes
        self.deadline = time.monotonic() + RATE_WINDOW

    def _body(self, data: bytes) -> None:
        """Bytes of the body, and perhaps of the next request behind it."""
        sink = self._sink
        x = self._x
        assert sink is not None
        assert x is not None
        try:
            if self._decoder is not None:
                piece, rest = self._decoder.feed(data)
                done = self._decoder.done
                if done and self._decoder.trailers:
                    x.trailers = [field for field in self._decoder.trailers if field[0] in self._gate.trailers]
            else:
                left = self._body_left
                if len(data) <= left:
                    piece, rest = data, b""
                else:
                    piece, rest = data[:left], data[left:]
                self._body_left = left - len(piece)
                done = self._body_left == 0
            self._body_bytes += len(piece)
            x.bytes_in = self._body_bytes
            if self._body_bytes > self._body_limit:
                raise too_large(self._body_limit)
        except ProtocolError as error:
            self._fail(error)
            return
        if done:
            self._body_open = False
            self._sink = None
            self._decoder = None
            self._buffer = rest
            self.deadline = NEVER
        if piece:
            sink.send(piece)
        if done:
            sink.finish()
            if self._eof and self._x is x:
                self.deadline = time.monotonic() + HALF_CLOSED

    # The response: the `Downstream` contract.

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        if self._x is not x:
            source.cancel()
            return
        if self._lost() and not x.held:
            # It was held until now, and its client has left meanwhile: what follows is for nobody, perhaps for ever.
            self._give_up(x, "client-gone")
            self._gate.leave(self)
            return
        self._source = source
        self._write(self._head(x, status, fields, length))
        if not self._writing:
            source.pause()

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        if self._x is not x:
            return
        if x.outcome and (errors := self._gate.snapshot.errors) is not None:
            fields, body = errors.answer(x, status, fields, body)
        size = len(body)
        data = self._head(x, status, fields, size)
        if self._mode != _NONE:
            x.bytes_out = size
            if size <= WRITE_BUFFER:
                data += body
            else:
                self._write(data)
                data = body
        if not self._transport.is_closing():  # uvloop raises on a closed transport
            self._transport.write(data)
        self._end(x)

    def _head(self, x: Exchange, status: int, fields: Fields, length: int | None) -> bytes:
        """Run `on_response`, decide the framing, and write it down: exactly one framing field."""
        head = x.head
        x.status = status
        x.response_fields = fields
        self._begun = True
        route = x.route
        if route.on_response:
            for step in route.on_response:
                try:
                    step(x)
                except Exception as error:
                    self._policy_failed(x, error)
            status = x.status
            fields = x.response_fields
        gate = self._gate
        if self._body_open or gate.draining or self._requests >= gate.limits.requests_per_connection:
            self._keep_alive = False
        # RFC 9112 §6.3: these have no body, whatever their fields say.
        if status == 204 or status == 304 or status < 200 or head.method == b"HEAD":
            self._mode = _NONE
            framing = b"content-length: %d\r\n" % length if length is not None and status not in (204, 304) else b""
        elif length is not None:
            self._mode = _LENGTH
            self._left = length
            framing = b"content-length: %d\r\n" % length
        elif head.http10:
            self._mode = _UNTIL_CLOSE
            self._keep_alive = False
            framing = b""
        else:
            self._mode = _CHUNKED
            framing = b"transfer-encoding: chunked\r\n"
        if not self._keep_alive:
            framing += b"connection: close\r\n"
        elif head.http10:
            framing += b"connection: keep-alive\r\n"
        dated = fields.dated if type(fields) is FieldList else any(field[0] == b"date" for field in fields)
        if not dated:
            framing += gate.date(x.started)
        if gate.hsts and not any(field[0] == b"strict-transport-security" for field in fields):
            framing += gate.hsts  # RFC 6797 §7.1: one such field at most
        return b"%b%bx-request-id: %b\r\n%b\r\n" % (
            writer.status_line(status),
            writer.field_lines(fields),
            x.id,
            framing,
        )

    def send(self, data: bytes) -> None:
        x = self._x
        if x is None or not data:
            return
        size = len(data)
        mode = self._mode
        if mode == _LENGTH:
            self._left -= size
            if self._left < 0:
                self.abort()  # longer than it said: the rest would be read as the next response
                return
            self._write(data)
        elif mode == _CHUNKED:
            if size <= WRITE_BUFFER:
                self._write(b"%x\r\n%b\r\n" % (size, data))  # one write for three: 10 µs instead of 25
            else:
                self._write(b"%x\r\n" % size, data, b"\r\n")
        elif mode == _UNTIL_CLOSE:
            self._write(data)
        x.bytes_out += size

    def finish(self) -> None:
        x = self._x
        if x is None:
            return
        if self._mode == _LENGTH and self._left:
            self.abort()
            return
        if self._mode == _CHUNKED:
            self._write(LAST_CHUNK)
        self._end(x)

    def abort(self) -> None:
        """The response ends unfinished: no last chunk, or too few bytes, and the connection with it."""
        x = self._x
        if x is None:
            return
        x.outcome = x.outcome or "upstream-truncated"
        self._keep_alive = False
        truncated_by_close = self._mode in (_LENGTH, _CHUNKED)
        source, self._source = self._source, None
        if source is not None:
            source.cancel()
        self._record(x)
        if truncated_by_close and not self._lost():
            self._close()  # what was sent arrives, and visibly ends too soon
        elif self._lost():
            self._gate.leave(self)
        else:
            self._abort()  # an end of the connection would look like an end of the body: reset it

    def informational(self, status: int, fields: Fields) -> None:
        x = self._x
        if x is not None and not self._begun and not x.head.http10:
            self._write(writer.informational(status, fields))

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        if self._x is not x:
            source.abort()
            return ClientEnd(self)
        x.status = status
        x.response_fields = fields
        self._begun = True
        for step in x.route.on_response:
            step(x)
        self._keep_alive = False
        self.deadline = NEVER
        self._write(writer.response_head(x.status, x.response_fields, b"x-request-id: %b\r\n" % x.id))
        client = ClientEnd(self)
        if is_websocket(x.head.upgrade, fields):
            self._websocket = WebSocket(client, source)
            self._tunnel = self._websocket.for_client
            return self._websocket.for_upstream
        self._tunnel = source
        return client

    def peer_certificate(self) -> bytes | None:
        tls = self._transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    # The tunnel, as `ClientEnd` uses it.

    def send_raw(self, data: bytes) -> None:
        if self._x is not None:
            self._x.bytes_out += len(data)
        self._write(data)

    def end_tunnel(self, *, cut: bool) -> None:
        x, self._tunnel = self._x, None
        if x is not None:
            self._record(x)
        if cut:
            self._abort()
        elif self._lost():
            self._lingering = True
        else:
            self._close()

    def pause_tunnel(self) -> None:
        self._pause_reading()

    def resume_tunnel(self, *, first: bool) -> None:
        """The first time, what came before the tunnel stood goes into it; then bytes flow as they come."""
        tunnel = self._tunnel
        if first and tunnel is not None and self._buffer:
            data, self._buffer = self._buffer, b""
            tunnel.send(data)
        self._resume_reading()
        if first and tunnel is not None and self._eof:
            tunnel.finish()

    # Ends.

    def _end(self, x: Exchange | None) -> None:
        """The response is complete."""
        if x is None or self._x is not x:
            return
        self._source = None
        self._record(x)
        gate = self._gate
        if self._transport.is_closing():
            gate.leave(self)
            return
        if self._body_open:
            self._body_open = False
            self._sink = None
            self._linger()
        elif not self._keep_alive or gate.draining or (self._eof and not self._buffer):
            self._close()
        else:
            self.deadline = time.monotonic() + gate.limits.idle_timeout
            if not self._reading:
                self._resume_reading()
            if self._buffer and not self._parsing:
                self._parse()

    def _record(self, x: Exchange) -> None:
        """`on_finish`, the access record; then the connection has no exchange."""
        self._x = None
        route = x.route
        for step in route.on_finish:
            try:
                step(x)
            except Exception as error:
                self._policy_failed(x, error)
        gate = self._gate
        now = time.monotonic()
        if gate.meter is not None:
            gate.meter.record(x, now)
        if gate.recorder is not None and route.access_log:
            gate.recorder.record(x, now)

    def _give_up(self, x: Exchange, outcome: str) -> None:
        """The exchange ends without (the rest of) a response."""
        x.outcome = x.outcome or outcome
        self._keep_alive = False
        sink, self._sink = self._sink, None
        self._source = None
        self._stop_waiting()
        if x.route is not self._gate.nowhere:
            x.route.handler.client_gone(x)
        if sink is not None:
            sink.abort()
        self._record(x)

    def _fail(self, error: ProtocolError) -> None:
        """Something is wrong with the request. Answer if that is still possible, then close."""
        x = self._x
        if self._lost():
            return
        if x is not None and self._begun:
            self._give_up(x, error.problem.slug)
            self._abort()
            return
        if x is None:
            x = self._unparsed()
        else:
            self._stop_waiting()
            sink, self._sink = self._sink, None
            if sink is not None:
                x.route.handler.client_gone(x)
                sink.abort()
        self._keep_alive = False
        self._body_open = True  # whatever still comes is not to be read as a request
        self._answer(x, problem(x.id, error.problem))

    def _unparsed(self) -> Exchange:
        """An exchange for a head that could not be read, so that it leaves a record like any other."""
        head = RequestHead()
        head.method, head.target, head.host = b"", b"", b""
        head.path, head.query = "", b""
        head.fields, head.special = [], []
        head.framing, head.http10, head.keep_alive = 0, False, False
        head.expect_continue, head.upgrade, head.connection = False, None, ()
        return self._open(head)

    def _open(self, head: RequestHead) -> Exchange:
        gate = self._gate
        x = Exchange()
        x.head = head
        x.loop = gate.loop
        x.started = time.monotonic()
        x.sent_upstream = x.first_byte = 0.0
        x.peer = x.client = self._peer
        x.status = x.bytes_in = x.bytes_out = 0
        x.outcome = x.target = ""
        x.path = head.path
        x.query = head.query
        x.forwarding = b""
        x.held = x.trusted = False
        x.consumer = None
        x.notes = None
        x.upstream = None
        x.params = _NO_PARAMS
        x.trailers = NO_FIELDS
        x.route = gate.nowhere
        x.body = None
        x.downstream = self
        x.scheme = gate.scheme
        x.id, x.trace = gate.identities.next()
        self._x = x
        self._begun = False
        self._keep_alive = head.keep_alive and not gate.draining
        self.deadline = NEVER
        return x

    def _linger(self) -> None:
        """Close so that the answer can still be read: a reset would throw it away at the client (RFC 9112 §9.6)."""
        self._lingering = True
        self._buffer = b""
        self._resume_reading()
        if self._eof or not self._transport.can_write_eof():
            self._close()
            return
        self._transport.write_eof()
        self.deadline = time.monotonic() + LINGER

    def _close(self) -> None:
        """End the connection once what was written has left. A client that takes nothing of it has `idle_timeout`."""
        self._lingering = True
        self.deadline = time.monotonic() + self._gate.limits.idle_timeout
        self._transport.close()

    def _abort(self) -> None:
        """Reset the connection. Without SO_LINGER an abort is an ordinary end to the client, and where only the end
        of the connection ends a body (HTTP/1.0), half a response would look whole."""
        self._lingering = True
        if not self._lost():
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def _lost(self) -> bool:
        return self._transport.is_closing()

    def expire(self, now: float) -> None:
        self.deadline = NEVER
        x = self._x
        limits = self._gate.limits
        if self._lingering:
            self._transport.abort()
        elif self._tunnel is not None:
            self._abort()  # a WebSocket's end that did not say goodbye in time
        elif x is None:
            if self._buffer or self._proxied:
                self._fail(too_slow("its header did not end in time"))
            else:
                self._close()
        elif not self._writing:
            self._give_up(x, "client-stalled")
            self._abort()
        elif self._body_open and self._reading:
            if self._body_bytes - self._rate_from < limits.body_min_rate * RATE_WINDOW and self._sink is not None:
                self._fail(too_slow("its body came too slowly"))
            else:
                self._watch_rate()
        elif self._eof and not x.held:
            self._give_up(x, "client-gone")
            self._abort()

    def drain(self) -> None:
        if self._x is None and not self._lingering:
            self._close()
        elif self._websocket is not None:
            self.deadline = time.monotonic() + FAREWELL
            self._websocket.go_away()
        elif self._tunnel is not None:
            self._tunnel.finish()
            self._transport.close()

    def kill(self) -> None:
        x = self._x
        if x is not None and self._tunnel is None:
            self._give_up(x, "stopped")
        self._abort()

    # Small things.

    def _write(self, *pieces: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            return  # uvloop raises on a closed transport
        for piece in pieces:
            if piece:
                transport.write(piece)

    def _pause_reading(self) -> None:
        if self._reading and not self._lost():
            self._reading = False
            self._transport.pause_reading()
            if self._tunnel is None:
                if self._departure is None:
                    self._departure = Departure(self, self._gate.deadlines)
                self._departure.start()

    def _resume_reading(self) -> None:
        if not self._reading and not self._lost():
            self._reading = True
            self._transport.resume_reading()
            if self._departure is not None:
                self._departure.stop()

    # Of a client that is not read from, as `Departure` tells it.

    def descriptor(self) -> int:
        sock = self._transport.get_extra_info("socket")
        return -1 if sock is None or self._lost() else int(sock.fileno())

    def departed(self, *, half: bool) -> None:
        x = self._x
        # Where a body is still to be read, who sends no more may have sent it whole.
        if x is not None and not x.held and self._tunnel is None and not (half and self._body_open):
            self._give_up(x, "client-gone")
            self._abort()


_NO_PARAMS: Final[dict[str, str]] = {}
