"""The handler that runs an ASGI 3 application in the process: no socket, no second server.

    exchange ──► scope ──► app(scope, receive, send) ──► begin, send …, finish

One task an exchange. Both bodies stream with backpressure: a chunk of the request is read once the application asks
for one, and `send` waits while the client does not take what was sent. A client that leaves becomes `http.disconnect`
to a reader and OSError to a sender (ASGI 2.4); the application then ends as it likes, its task is not cancelled.

Costs 9 µs an exchange beside what the application takes, of which the task is 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from gatepost import log
from gatepost.errors import GatepostError, Problem
from gatepost.exchange import Exchange, problem
from gatepost.http1.framing import SPECIAL_IN_RESPONSES
from gatepost.http1.messages import Fields

Event: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

WINDOW: Final = 65_536  # bytes of a request body that may wait for the application

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_FAILED: Final = Problem(
    500, "internal-error", "Something went wrong in the application", "The gateway's log says what."
)
_STOPPED: Final = Problem(503, "stopping", "The gateway is stopping", "Send the request again.")
_LINE_ENDS: Final = b"\r\n\0"
_NO_BODY: Final = frozenset({204, 304})


class AsgiHandler:
    """Answers exchanges with an ASGI application. `startup` before the first one, `shutdown` after the last.

    `root_path` is where the application is mounted, without a slash at its end: it stays part of `path`, as ASGI
    wants it.
    """

    def __init__(self, app: App, *, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path
        self._state: dict[str, Any] = {}
        self._lifespan: _Lifespan | None = None
        self._calls: set[_Call] = set()

    # Handler

    def handle(self, x: Exchange) -> None:
        self.call(x, self.root_path)

    def call(self, x: Exchange, root_path: str) -> None:
        """`handle`, mounted somewhere else."""
        call = _Call(x, self.app, self._scope(x, root_path), self._calls.discard)
        x.note("asgi", call)
        self._calls.add(call)
        call.task = x.loop.create_task(call.run())

    def client_gone(self, x: Exchange) -> None:
        call = x.notes and x.notes.get("asgi")
        if isinstance(call, _Call):
            call.leave()

    # life

    async def startup(self) -> None:
        """Run the application's start-up. Raises GatepostError, with its reason, where that fails."""
        self._lifespan = lifespan = _Lifespan(self.app, self._state)
        await lifespan.start()

    async def shutdown(self) -> None:
        """End what is still running, then run the application's shut-down. Raises GatepostError where that fails."""
        tasks = [call.task for call in self._calls]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._lifespan is not None:
            await self._lifespan.stop()

    async def idle(self, patience: float) -> None:
        """Wait until no exchange is under way; `patience` seconds at most."""
        tasks = [call.task for call in self._calls]
        if tasks and patience > 0:
            await asyncio.wait(tasks, timeout=patience)

    def _scope(self, x: Exchange, root_path: str) -> Scope:
        head = x.head
        path = x.path
        fields: Fields = [(b"host", head.host), *head.fields, (b"x-request-id", x.id)]
        if head.framing > 0:
            fields.append((b"content-length", b"%d" % head.framing))
        if x.trace:
            fields += [(name, value) for name, _, value in (line.partition(b": ") for line in x.trace.splitlines())]
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.0" if head.http10 else "1.1",
            "method": head.method.decode("ascii"),
            "scheme": x.scheme.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "query_string": x.query,
            "root_path": root_path,
            "headers": fields,
            "client": (x.client, 0) if x.client else None,
            "server": None,
            "state": self._state.copy(),
        }


class _ClientGone(OSError):
    """What `send` raises once nobody listens."""


class _Call:
    """One exchange in the application: its two callables, and the source of its response.

    `_over` is set once nothing may be said to the exchange any more: it is complete, was given up, or its client left.
    """

    __slots__ = (
        "_app",
        "_begun",
        "_body",
        "_change",
        "_fields",
        "_forget",
        "_gone",
        "_id",
        "_left",
        "_length",
        "_over",
        "_paused",
        "_read",
        "_route",
        "_scope",
        "_status",
        "_x",
        "task",
    )

    task: asyncio.Task[None]
    _fields: Fields

    def __init__(self, x: Exchange, app: App, scope: Scope, forget: Callable[[_Call], None]) -> None:
        self._x = x
        self._id = x.id
        self._route = x.route.name
        self._app = app
        self._scope = scope
        self._forget = forget
        self._gone = False
        self._over = False
        self._change: asyncio.Event | None = None  # made only where somebody waits
        # the request body
        self._read = False  # the application has asked for it
        self._body: _Body | None = None  # where it streams
        # the response
        self._status = 0
        self._length: int | None = None
        self._left = 0  # bytes of `_length` still to come
        self._begun = False
        self._paused = False

    async def run(self) -> None:
        try:
            await self._app(self._scope, self.receive, self.send)
            if not self._over:
                self._fail({"reason": "the application returned before its response was complete"})
        except asyncio.CancelledError:
            self._give_up(_STOPPED)
            raise
        except Exception as error:
            if not (self._gone and _because_client_left(error)):
                self._fail(log.fault(error))
        finally:
            self._forget(self)

    def leave(self) -> None:
        """The client has gone: wake whoever waits for it."""
        self._gone = self._over = True
        self.wake()

    def wake(self) -> None:
        if self._change is not None:
            self._change.set()

    async def _wait(self) -> None:
        """Until something changed. Whoever waits looks again: reader and sender share the event."""
        if self._change is None:
            self._change = asyncio.Event()
        self._change.clear()
        await self._change.wait()

    # what the application calls

    async def receive(self) -> Event:
        x = self._x
        if not self._read and not self._over:
            self._read = True
            if x.body is not None:
                return {"type": "http.request", "body": x.body, "more_body": False}
            self._body = _Body(x, self.wake)
            x.downstream.receive(x, self._body)
        body = self._body
        while not self._over:
            if body is not None and body.readable:
                data, more = body.take()
                return {"type": "http.request", "body": data, "more_body": more}
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        if self._gone:
            raise _ClientGone("the client has gone")
        kind = event["type"]
        if self._over:
            raise RuntimeError(f"{kind} after the response was complete")
        if kind == "http.response.body":
            if not self._status:
                raise RuntimeError("http.response.body before http.response.start")
            self._send_body(event.get("body", b""), more=event.get("more_body", False))
            while self._paused and not self._over:
                await self._wait()
            if self._gone:
                raise _ClientGone("the client has gone")
        elif kind == "http.response.start":
            if self._status:
                raise RuntimeError("http.response.start a second time")
            self._start(event)
        else:
            raise RuntimeError(f"{kind} is not an event of an HTTP response")

    # the response

    def _start(self, event: Event) -> None:
        fields: Fields = []
        for name, value in event.get("headers", ()):
            name = name.lower()
            # An application may put into a field what a client sent. A line end there would begin a field, or a
            # whole response, of that client's making.
            if len(name.translate(None, _LINE_ENDS)) + len(value.translate(None, _LINE_ENDS)) < len(name) + len(value):
                raise RuntimeError(f"the response field {name!r} holds a line end or NUL")
            if name == b"content-length":
                self._length = self._left = int(value)
            elif name not in SPECIAL_IN_RESPONSES:
                fields.append((name, value))
        self._fields = fields
        self._status = event["status"]

    def _send_body(self, data: bytes, *, more: bool) -> None:
        x = self._x
        bodyless = x.head.method == b"HEAD" or self._status in _NO_BODY
        if bodyless:
            data = b""
        elif self._length is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError(f"the body is not the {self._length} bytes that Content-Length says")
        if not self._begun:
            if not more and not (bodyless and self._length):
                self._over = True
                x.downstream.respond(x, self._status, self._fields, data)
                self.wake()
                return
            self._begun = True
            x.downstream.begin(x, self._status, self._fields, self._length, self)
        if data and not self._over:
            x.downstream.send(data)
        if not more and not self._over:
            self._over = True
            x.downstream.finish()
            self.wake()

    def _fail(self, fault: Mapping[str, str]) -> None:
        log.event("asgi_failed", level="error", request_id=self._id, route=self._route, **fault)
        self._give_up(_FAILED)

    def _give_up(self, refusal: Problem) -> None:
        """Say that it failed, or cut the response off where a part of it has gone out."""
        if self._over:
            return
        self._over = True
        x = self._x
        x.outcome = refusal.slug
        if self._begun:
            x.downstream.abort()
        else:
            answer = problem(x.id, refusal)
            x.downstream.respond(x, answer.status, answer.fields, answer.body)
        self.wake()

    # Source: what the client's side tells the response

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.wake()

    def cancel(self) -> None:
        if not self._over:
            self.leave()


class _Body:
    """A request body on its way to the application: a sink that holds no more than `WINDOW` bytes and one chunk."""

    __slots__ = ("_chunks", "_paused", "_size", "_wake", "_whole", "_x", "readable")

    def __init__(self, x: Exchange, wake: Callable[[], None]) -> None:
        self._x = x
        self._wake = wake
        self._chunks: list[bytes] = []
        self._size = 0
        self._whole = False
        self._paused = False
        self.readable = False  # bytes wait, or the end does

    def send(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > WINDOW and not self._paused:
            self._paused = True
            self._x.downstream.pause_body()
        self.readable = True
        self._wake()

    def finish(self) -> None:
        self._whole = self.readable = True
        self._wake()

    def abort(self) -> None:
        """Nothing to do: the handler has heard `client_gone`."""

    def take(self) -> tuple[bytes, bool]:
        """What has come, and whether more will."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self.readable = False
        if self._paused and not self._whole:
            self._paused = False
            self._x.downstream.resume_body()  # may send at once
        return data, not self._whole or self.readable


def _because_client_left(error: BaseException | None) -> bool:
    """Whether `error` came of our own `_ClientGone`, however it was wrapped on its way up."""
    while error is not None:
        if isinstance(error, _ClientGone):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(_because_client_left(each) for each in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


class _Lifespan:
    """The application's lifespan: one task that lives from `start` to `stop`.

    An application that raises at once knows no lifespan (ASGI: "the server must continue"), and is served without.
    """

    def __init__(self, app: App, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answer: asyncio.Future[Event]

    async def start(self) -> None:
        answer = await self._say("startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise GatepostError(f"the application did not start: {answer.get('message') or 'it gave no reason'}")

    async def stop(self) -> None:
        if self._task is None or self._task.done():
            return
        answer = await self._say("shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            raise GatepostError(f"the application did not stop well: {answer.get('message') or 'it gave no reason'}")

    async def _say(self, event: str) -> Event | None:
        """The application's answer to an event; None where it ended without one."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._events.put_nowait({"type": f"lifespan.{event}"})
        if self._task is None:
            self._task = loop.create_task(self._run())
        await asyncio.wait((self._answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        try:
            await self._app({"type": "lifespan", "asgi": _ASGI, "state": self._state}, self._events.get, self._send)
        except Exception as error:
            if not self._answer.done():
                log.event("asgi_lifespan_ended", reason=f"{type(error).__name__}: {error}")

    async def _send(self, event: Event) -> None:
        if not self._answer.done():
            self._answer.set_result(event)
