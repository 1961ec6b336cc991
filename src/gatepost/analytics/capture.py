"""`capture` of a route: some of its exchanges are watched as they pass, and kept if they end as asked for.

    stage      is this one drawn?  no → nothing more of it costs anything   yes → a watcher stands in the way
    watcher    notes the beginnings of both bodies, passes everything on
    on_finish  its status is asked for → one entry in a bounded list, for `capture_keeper.py`

It stands behind the policies of the first phase, `compress` among them: it sees bodies as the service wrote them.
What it holds is as it came; only what was redacted (`capture_document.py`) leaves the process.
"""

from __future__ import annotations

import time
from random import random
from typing import Final, NamedTuple

from gatepost.analytics.redaction import Redaction
from gatepost.clock import Clock
from gatepost.config.capture import Capture as Settings
from gatepost.exchange import NO_FIELDS, Downstream, Exchange, Phase, Policy, Sink, Source, Through
from gatepost.http1.messages import Fields

OVERHEAD: Final = 4_096  # bytes that an entry counts beside its bodies: heads, and what Python needs
_NOTE: Final = "capture"


class Part(NamedTuple):
    """The beginning of a body. `fields` are those that stood beside it, where it was seen."""

    fields: Fields
    data: bytes
    size: int  # of the whole body


class Seen(NamedTuple):
    """An exchange that is to be kept, as it was."""

    redaction: Redaction
    time: float  # Unix seconds
    route: str
    request_id: bytes
    client: str
    consumer: str
    method: bytes
    scheme: bytes
    host: bytes
    path: str
    params: dict[str, str]
    query: bytes
    request: Part
    status: int
    response_fields: Fields  # as the client got them
    response: Part
    target: str
    outcome: str
    duration: float  # seconds
    upstream: float | None


class Captures:
    """What is to be kept and not written yet. Owned by the app; called on the loop."""

    def __init__(self, clock: Clock, limit: int) -> None:
        """`limit` in bytes."""
        self._clock = clock
        self._limit = limit
        self._waiting: list[Seen] = []
        self._size = 0
        self.dropped = 0  # exchanges, since the start

    def take(self, seen: Seen) -> None:
        size = OVERHEAD + len(seen.request.data) + len(seen.response.data)
        if self._size + size > self._limit:
            self.dropped += 1
        else:
            self._size += size
            self._waiting.append(seen)

    def handed_over(self) -> list[Seen]:
        """All that waited; room is made by it."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        return waiting

    def wall(self, monotonic: float) -> float:
        return monotonic + self._clock.now() - self._clock.monotonic()


class Capture(Policy):
    """Not one of those that a route lists: `compile.py` puts it there."""

    name = "capture"
    phase = Phase.CLIENT

    def __init__(self, settings: Settings, redaction: Redaction, captures: Captures) -> None:
        self._share = settings.sample
        self._limit = settings.body_bytes
        self._statuses = frozenset(settings.statuses)
        self._redaction = redaction
        self._captures = captures

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        if random() >= self._share:  # noqa: S311 -- nothing is kept safe by it
            return downstream
        watcher = Watcher(downstream, self._limit, x.head.fields)
        x.note(_NOTE, watcher)
        return watcher

    def on_request(self, x: Exchange) -> None:
        """A body that is there whole, before another policy changes it."""
        watcher = x.notes.get(_NOTE) if x.notes is not None else None
        if isinstance(watcher, Watcher) and x.body is not None:
            watcher.request.send(x.body)

    def on_finish(self, x: Exchange) -> None:
        watcher = x.notes.pop(_NOTE, None) if x.notes is not None else None
        if not isinstance(watcher, Watcher):
            return
        status = x.status
        if self._statuses and str(status) not in self._statuses and f"{status // 100}xx" not in self._statuses:
            return
        head, now = x.head, time.monotonic()
        request, response = watcher.request, watcher.response
        self._captures.take(
            Seen(
                self._redaction,
                self._captures.wall(x.started),
                x.route.name,
                x.id,
                x.client,
                x.consumer.id if x.consumer is not None else "",
                head.method,
                x.scheme,
                head.host,
                head.path,
                x.params,
                head.query,
                Part([*watcher.asked, *head.special], request.data(), max(request.size, x.bytes_in)),
                status,
                x.response_fields if status else NO_FIELDS,
                Part(watcher.fields, response.data(), response.size),
                x.target,
                x.outcome,
                now - x.started,
                (x.first_byte or now) - x.sent_upstream if x.sent_upstream else None,
            )
        )


class Beginning:
    """Of a body: its first bytes and its size."""

    __slots__ = ("_left", "_parts", "size")

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._parts: list[bytes] = []
        self.size = 0

    def send(self, data: bytes) -> None:
        self.size += len(data)
        if self._left:
            part = data[: self._left]
            self._left -= len(part)
            self._parts.append(part)

    def data(self) -> bytes:
        return b"".join(self._parts)


class Watcher(Through):
    """Of one exchange: a `Downstream` that passes everything on."""

    __slots__ = ("asked", "fields", "request", "response")

    def __init__(self, downstream: Downstream, limit: int, asked: Fields) -> None:
        """`asked` are the request's fields as they came: policies assign others."""
        super().__init__(downstream)
        self.asked = asked
        self.fields: Fields = NO_FIELDS
        self.request = Beginning(limit)
        self.response = Beginning(limit)

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        self.fields = fields
        self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        self.fields = fields
        self.response.send(body)
        self._downstream.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        self.response.send(data)
        self._downstream.send(data)

    def finish(self) -> None:
        self._downstream.finish()

    def abort(self) -> None:
        self._downstream.abort()

    def receive(self, x: Exchange, sink: Sink) -> None:
        self._downstream.receive(x, _Tee(self.request, sink))


class _Tee:
    __slots__ = ("_beginning", "_sink")

    def __init__(self, beginning: Beginning, sink: Sink) -> None:
        self._beginning = beginning
        self._sink = sink

    def send(self, data: bytes) -> None:
        self._beginning.send(data)
        self._sink.send(data)

    def finish(self) -> None:
        self._sink.finish()

    def abort(self) -> None:
        self._sink.abort()
