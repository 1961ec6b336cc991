"""The handler that forwards: the request as the target sees it, retries, and what each failure is called.

The request is rebuilt, never copied through: end-to-end fields as they came, then what only the gateway may say (who
the client is, the request id, the trace), then exactly one framing field. The path is the service's base path, without
its last slash, followed by the route's path without `strip_prefix`.

`Forward` is what a plain service needs and no more. Services with retries, a breaker or ejection have
`guarded.Guarded`, which fills in the three places marked "see guarded.py"; `guarded.forwarding` chooses when the
snapshot is compiled.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Final

from gatepost import log
from gatepost.config.services import Timeouts
from gatepost.errors import INTERNAL, Problem, UpstreamError
from gatepost.exchange import Exchange, Handler, problem
from gatepost.http1.messages import CHUNKED
from gatepost.http1.targets import strip_prefix
from gatepost.upstream.connect import connect
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.health import Event, Health
from gatepost.upstream.targets import Target, Upstream

# RFC 9110 §9.2.2: these may be sent again when it is not known whether the first one was acted on.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_HAS_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class Forward(Handler):
    """Forwards the exchanges of one route to one service."""

    __slots__ = (
        "_identity",
        "_preserve_host",
        "_raw",
        "_strip",
        "_tasks",
        "connect",
        "first_byte",
        "idle",
        "total",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        *,
        prefix: str | None = None,
        identity_encoding: bool = False,
        timeouts: Timeouts | None = None,
    ) -> None:
        """`timeouts`: the route's own; None: those of the service."""
        self.upstream = upstream
        timeouts = timeouts or upstream.config.timeouts
        self.connect = timeouts.connect
        self.first_byte = timeouts.first_byte
        self.idle = timeouts.idle
        self.total = timeouts.total
        self._preserve_host = upstream.config.host == "preserve"
        self._raw = upstream.config.path == "raw"
        self._strip = prefix.encode() if prefix else b""
        self._identity = identity_encoding
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, x: Exchange) -> None:
        # The commonest case on a path of its own: one target, and a connection kept to it.
        target = self.upstream.sole
        if target is not None:
            connection = target.take(fresh=x.head.method not in IDEMPOTENT)
            if connection is not None:
                connection.start(x, self, self._request(x, target), x.body)
            else:
                self._dial(x, target, ())
        else:
            self.send(x, (), retried=False)

    def client_gone(self, x: Exchange) -> None:
        work, x.upstream = x.upstream, None
        if isinstance(work, UpstreamConnection):
            work.leave(x)
        elif isinstance(work, asyncio.Task):
            work.cancel()

    def send(self, x: Exchange, tried: tuple[Target, ...], *, retried: bool) -> None:
        target = self.upstream.choose(tried, x)
        if target is None:
            self._refused(x, self.all_down())
            return
        connection = None
        if not retried:
            connection = target.take(fresh=x.head.method not in IDEMPOTENT)
        if connection is not None:
            self._start(x, connection, target)
            return
        self._dial(x, target, tried)

    def _start(self, x: Exchange, connection: UpstreamConnection, target: Target) -> None:
        connection.start(x, self, self._request(x, target), x.body)  # see guarded.py

    def _refused(self, x: Exchange, p: Problem) -> None:
        self.answer(x, p)  # nothing was sent; see guarded.py

    def _dial(self, x: Exchange, target: Target, tried: tuple[Target, ...]) -> None:
        task = x.loop.create_task(self._connect(x, target, tried))
        x.upstream = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._dialled(x, done))

    def _dialled(self, x: Exchange, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a fault of ours: the client must not wait for ever for it
            reason = f"{type(error).__name__}: {error}"
            log.event("exchange_failed", level="error", request_id=x.id, route=x.route.name, reason=reason)
            self._refused(x, INTERNAL)

    async def _connect(self, x: Exchange, target: Target, tried: tuple[Target, ...]) -> None:
        upstream = self.upstream
        try:
            connection = await connect(upstream, target, self.connect)
        except UpstreamError as error:
            upstream.failed(target, error.problem.detail)
            x.target = target.name
            self._unconnected(x, target, tried, error.problem)
            return
        if target.health is not Health.UP:
            upstream.turn(target, Event.CONNECTED)
        self._start(x, connection, target)

    def _unconnected(self, x: Exchange, target: Target, tried: tuple[Target, ...], p: Problem) -> None:
        """Nothing was sent: another target may be asked. See guarded.py."""
        if len(self.upstream.targets) > 1:
            self.send(x, (*tried, target), retried=True)
        else:
            self.answer(x, p)

    def failed(self, connection: UpstreamConnection, x: Exchange, problem: Problem, *, retry: bool) -> None:
        # RFC 9112 §9.3.1: a connection that was kept may be closed while the request is on its way.
        if retry and x.body is not None and x.head.method in IDEMPOTENT:
            self.send(x, (), retried=True)
        else:
            self.answer(x, problem)

    def all_down(self) -> Problem:
        names = ", ".join(target.name for target in self.upstream.targets)
        return Problem(
            503,
            "targets-down",
            "No target of the service can be reached",
            f"all targets of {self.upstream.name!r} are down: {names}",
        )

    def answer(self, x: Exchange, p: Problem, retry_after: float = 1.0) -> None:
        x.upstream = None
        fields = [(b"retry-after", b"%d" % ceil(retry_after))] if p.status == 503 else None
        response = problem(x.id, p, fields)
        x.outcome = response.outcome
        x.downstream.respond(x, response.status, response.fields, response.body)

    def _request(self, x: Exchange, target: Target) -> bytes:
        head = x.head
        method = head.method
        path = head.target.partition(b"?")[0] if self._raw and head.target[:1] == b"/" else x.path.encode()
        if self._strip:
            path = strip_prefix(path, self._strip)
        if x.query:  # not the target's own: a policy may have taken a credential out of it
            path += b"?" + x.query
        if target.base:
            path = target.base + path
        host = (head.host if self._preserve_host else b"") or target.host_header
        if x.body is not None:
            if x.body or head.framing or method in _HAS_BODY:
                framing = b"content-length: %d\r\n" % len(x.body)
            elif head.upgrade is not None:
                framing = b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
            else:
                framing = b""
        elif head.framing == CHUNKED:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b"content-length: %d\r\n" % head.framing
        block = head.block  # its bytes as they came, unless a policy changed the fields
        if self._identity:
            _, block = block.without(b"accept-encoding")
            framing += b"accept-encoding: identity\r\n"
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%bx-request-id: %b\r\n%b%b\r\n" % (
            method,
            path,
            host,
            block.lines,
            x.forwarding,
            x.id,
            x.trace,
            framing,
        )
