"""The stage of `emit`: it stands between the handler and the client of one exchange, and holds the response.

begin ──► passing   no rule applies: everything goes straight through from here on
  ├─────► reading   a rule reads the body: it is gathered until it is whole, or turns out unreadable
  └──┬──► holding   the messages are made; each that must be on disk is waited for, `emit_timeout` at most
     └──► passing   the response goes out as it came
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.errors import ExpressionError
from gatepost.events.emission import Outcome, Rule, is_json
from gatepost.events.made import Made
from gatepost.exchange import Downstream, Exchange, Source, Through, TunnelEnd
from gatepost.expressions import ExchangeEnvironment
from gatepost.http1.messages import Fields
from gatepost.net.deadlines import NEVER

if TYPE_CHECKING:
    from gatepost.events.emit import Emitter

# What a stage is doing.
_PASSING, _READING, _HOLDING = range(3)


class Stage(Through):
    """Between the handler and the client of one exchange. While it holds the response, `x.held` is True."""

    __slots__ = (
        "_aborted",
        "_complete",
        "_emitter",
        "_fields",
        "_length",
        "_made",
        "_parts",
        "_paused",
        "_rules",
        "_size",
        "_source",
        "_state",
        "_status",
        "_undecided",
        "_x",
        "deadline",
    )

    _x: Exchange
    _status: int
    _fields: Fields
    _length: int | None
    _source: Source
    _parts: list[bytes]
    _size: int
    _rules: list[Rule]
    _made: list[tuple[Rule, Made]]

    def __init__(self, emitter: Emitter, downstream: Downstream) -> None:
        self._emitter = emitter
        super().__init__(downstream)
        self._state = _PASSING
        self._complete = self._aborted = self._paused = False
        self._undecided = 0
        self.deadline = NEVER

    # ResponseSink: the handler's side

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        rules = self._applying(x, status, fields)
        if not rules:
            x.held = False
            self._downstream.begin(x, status, fields, length, source)
            return
        self._take(x, status, fields, length, source, rules)
        if any(rule.reads_body for rule in rules):
            unreadable = _unreadable(fields, length, self._emitter.response_limit)
            if not unreadable:
                self._state = _READING
                if length is None:
                    # Nobody knows how long this goes on; a client that waits for it is not to wait without end.
                    self._expire_in(self._emitter.timeout)
                return
            self._without_body(unreadable)
        else:
            self._emit(b"")

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        rules = self._applying(x, status, fields)
        if not rules:
            x.held = False
            self._downstream.respond(x, status, fields, body)
            return
        self._take(x, status, fields, len(body), _NO_SOURCE, rules)
        self._parts.append(body)
        self._complete = True
        if any(rule.reads_body for rule in rules):
            unreadable = _unreadable(fields, len(body), self._emitter.response_limit)
            if unreadable:
                self._without_body(unreadable)
                return
        self._emit(body)

    def send(self, data: bytes) -> None:
        if self._state == _PASSING:
            self._downstream.send(data)
            return
        self._parts.append(data)
        if self._state == _READING:
            self._size += len(data)
            if self._size > self._emitter.response_limit:
                self._without_body(Outcome.TOO_LARGE)

    def finish(self) -> None:
        if self._state == _PASSING:
            self._downstream.finish()
            return
        self._complete = True
        if self._state == _READING:
            body = b"".join(self._parts)
            self._parts = [body]
            self._emit(body)

    def abort(self) -> None:
        if self._state == _PASSING:
            self._downstream.abort()
            return
        self._aborted = True
        if self._state == _READING:
            self._without_body(Outcome.TRUNCATED)

    # Downstream: everything else goes straight through

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        x.held = False  # what is said in a tunnel is no response
        return self._downstream.tunnel(x, status, fields, source)

    # Making messages

    def _applying(self, x: Exchange, status: int, fields: Fields) -> list[Rule]:
        """The rules that apply, or may once the body is there. None for answers that no target made."""
        if not x.held or x.outcome:
            return []
        x.status = status
        x.response_fields = fields
        emitter = self._emitter
        env = ExchangeEnvironment(x)
        return [rule for rule in emitter.rules if rule.when_reads_body or emitter.applies(rule, x, env)]

    def _take(
        self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source, rules: list[Rule]
    ) -> None:
        self._x = x
        self._status = status
        self._fields = fields
        self._length = length
        self._source = source
        self._rules = rules
        self._parts = []
        self._size = 0
        self._made = []

    def _without_body(self, outcome: str) -> None:
        """The body cannot be read: the rules that need it have this outcome, the others go on."""
        for rule in self._rules:
            if rule.reads_body:
                self._emitter.note(self._x, outcome, rule)
        self._rules = [rule for rule in self._rules if not rule.reads_body]
        self._emit(b"")

    def _emit(self, body: bytes) -> None:
        """Make the messages; then wait for those that must be on disk first."""
        self._state = _HOLDING
        x = self._x
        emitter = self._emitter
        env = ExchangeEnvironment(x, response_body=body)
        for rule in self._rules:
            if rule.when_reads_body and not emitter.applies(rule, x, env, body):
                continue
            try:
                draft = rule.draft(env)
            except ExpressionError as error:
                not_json = rule.reads_body and not is_json(body)
                emitter.note(x, Outcome.NOT_JSON if not_json else Outcome.EXPRESSION_FAILED, rule, str(error))
                continue
            made = emitter.publish(rule, x, draft)
            if made is None:
                continue
            self._made.append((rule, made))
            if rule.durable and not made.outcome:
                made.waiter = self._decided
                self._undecided += 1
        if not self._undecided:
            self._release()
            return
        if not self._complete and not self._aborted:
            self._paused = True
            self._source.pause()
        self._expire_in(emitter.patience)

    def _decided(self) -> None:
        """A message that was waited for is where it is safe, or lost."""
        self._undecided -= 1
        if not self._undecided and self._state == _HOLDING and self._x.held:
            self._release()

    def _expire_in(self, seconds: float) -> None:
        if self.deadline is NEVER:
            self._emitter.deadlines.join(self)
        self.deadline = self._emitter.ingest.clock.monotonic() + seconds

    def expire(self, now: float) -> None:
        emitter = self._emitter
        if not self._x.held:
            emitter.deadlines.leave(self)
        elif self._state == _READING:
            self._without_body(Outcome.STREAMED)
        else:
            waiting = [made for _, made in self._made if made.waiter is not None]
            if all(made.journaling for made in waiting):
                self._release()
                return
            self.deadline += emitter.timeout - emitter.patience
            for made in waiting:
                made.to_journal()

    def _release(self) -> None:
        """The response passes."""
        x = self._x
        x.held = False
        if self.deadline is not NEVER:
            self._emitter.deadlines.leave(self)
        for rule, made in self._made:
            made.waiter = None
            self._emitter.note(x, made.outcome or Outcome.UNCONFIRMED, rule)
        downstream = self._downstream
        if self._complete and x.head.method != b"HEAD" and self._status not in (204, 304):
            downstream.respond(x, self._status, self._fields, b"".join(self._parts))
            return
        ended = self._complete or self._aborted
        # A source whose body has ended may serve another exchange by now: nobody is to tell it anything.
        if self._paused and not ended:
            self._source.resume()
        downstream.begin(x, self._status, self._fields, self._length, _NO_SOURCE if ended else self._source)
        for part in self._parts:
            if part:
                downstream.send(part)
        self._parts = []
        self._state = _PASSING
        if self._complete:
            downstream.finish()
        elif self._aborted:
            downstream.abort()


class _NoSource:
    """The source of a body that has come to its end."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None: ...


_NO_SOURCE: Final = _NoSource()


def _unreadable(fields: Fields, length: int | None, limit: int) -> str:
    """Why a body of which this is the head cannot be read; "" where it can be tried."""
    for name, value in fields:
        if name == b"content-encoding" and value.lower() != b"identity":
            return Outcome.COMPRESSED
        if name == b"content-type" and value[:17].lower() == b"text/event-stream":
            return Outcome.STREAMED
    return Outcome.TOO_LARGE if length is not None and length > limit else ""
