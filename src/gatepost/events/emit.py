"""`emit`: a message from an exchange. The policy `Emitter`, and the stage that holds a response for it.

What may go wrong, and what happens then (docs/emit.md tells it to users):

- The store cannot write when a request comes: 503, before anything is forwarded.
- The upstream has answered: its response passes, always. It is held until the message is on disk: in the store, or,
  when the store refuses it or takes longer than half of `emit_timeout`, in the journal; for `emit_timeout` at most.
- The client leaves: the exchange goes on (`x.held`), and its message is made.
- A rule cannot be followed (its expression fails, the body is not JSON …): no message, an outcome in the access
  record, a line in the log, and the response passes.

Only what a target answered makes messages: refusals of policies and the gateway's own 502 and 504 do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost import ids, log
from gatepost.errors import ExpressionError, Problem
from gatepost.events.emission import Draft, Outcome, Rule, is_json
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal, entry_of
from gatepost.events.rules import InvalidMessage, PayloadTooLarge
from gatepost.exchange import Downstream, Exchange, Phase, Policy, Response, Sink, Source, TunnelEnd, problem
from gatepost.expressions import ExchangeEnvironment
from gatepost.http1.messages import Fields
from gatepost.net.deadlines import INTERVAL, NEVER, Deadlines
from gatepost.stores import base

LOG_EVERY: Final = 10.0  # seconds between two lines about the same kind of failure on a route

_STORE_DOWN: Final = Problem(
    503,
    "events-unavailable",
    "The gateway cannot keep events now",
    "nothing was forwarded; send the request again",
)


class Emitter(Policy):
    """Makes the messages of one route. Owned by a snapshot; what belongs to one exchange is in its `_Stage`."""

    name = "emit"
    phase = Phase.EMIT

    def __init__(
        self,
        rules: Sequence[Rule],
        ingest: Ingest,
        journal: Journal,
        deadlines: Deadlines,
        *,
        route: str = "",
        timeout: float = 2.0,
        body_limit: int = 1_048_576,
    ) -> None:
        """`timeout` is `emit_timeout` in seconds; `body_limit` bounds the response bodies that are read."""
        self.rules = tuple(rules)
        self.needs_request_body = any(rule.reads_request_body for rule in self.rules)
        self.identity_encoding = any(rule.reads_body for rule in self.rules)
        self.ingest = ingest
        self.journal = journal
        self.deadlines = deadlines
        self.body_limit = body_limit
        # A sweep comes up to INTERVAL late, and `emit_timeout` is a promise.
        self.timeout = max(0.0, timeout - INTERVAL)
        self.patience = timeout / 2
        self._route = route
        self._keys = ids.RequestIds()
        self._quiet: dict[str, tuple[float, int]] = {}  # by outcome: until when, and how many were not logged

    # Policy

    def on_request(self, x: Exchange) -> Response | None:
        possible = durable = False
        for rule in self.rules:
            if rule.when_needs_response or _may_apply(rule, x):
                possible = True
                durable = durable or rule.durable
        if durable and not self.ingest.store.writable:
            return problem(x.id, _STORE_DOWN, [(b"retry-after", b"1")])
        # From here on the upstream may act: the exchange must go on even if its client leaves.
        x.held = possible
        return None

    def on_finish(self, x: Exchange) -> None:
        x.held = False  # it was ended from outside: a stage that still waits has nothing to release

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        return _Stage(self, downstream)

    # For the stage

    def applies(self, rule: Rule, x: Exchange, env: ExchangeEnvironment, body: bytes = b"") -> bool:
        """Raises nothing: a condition that fails is noted, and its rule does not apply."""
        try:
            return rule.when.evaluate(env) is True
        except ExpressionError as error:
            not_json = rule.when_reads_body and not is_json(body)
            self.note(x, Outcome.NOT_JSON if not_json else Outcome.WHEN_FAILED, rule, str(error))
        return False

    def note(self, x: Exchange, outcome: str, rule: Rule, reason: str = "") -> None:
        """The outcome of one rule goes into the access record; failures into the log as well, in moderation."""
        notes = x.notes
        if notes is None:
            x.notes = {"emit": outcome}
        else:
            before = notes.get("emit")
            notes["emit"] = f"{before},{outcome}" if before else outcome
        if outcome not in _FAILURES:
            return
        now = self.ingest.clock.monotonic()
        until, unlogged = self._quiet.get(outcome, (0.0, 0))
        if now < until:
            self._quiet[outcome] = (until, unlogged + 1)
            return
        self._quiet[outcome] = (now + LOG_EVERY, 0)
        log.event(
            "emit_failed",
            level="error",
            route=self._route,
            rule=rule.place,
            outcome=outcome,
            reason=reason,
            request_id=x.id,
            unlogged=unlogged,
        )

    def publish(self, rule: Rule, x: Exchange, draft: Draft) -> _Made | None:
        """Hand a message in; None where it may not be."""
        app = self.ingest.store.directory.app(draft.app)
        if app is None:
            self.note(x, Outcome.APP_UNKNOWN, rule, f"there is no app {draft.app[:100]!r}")
            return None
        made = _Made(self, app.id, draft, f"auto_emit_{self._keys.next().decode()}")
        try:
            self.ingest.publish(
                app,
                draft.event_type,
                draft.payload,
                channels=draft.channels,
                event_id=draft.event_id,
                idempotency_key=made.key,
                done=made.done,
            )
        except PayloadTooLarge as error:
            self.note(x, Outcome.TOO_LARGE, rule, str(error))
            return None
        except InvalidMessage as error:
            self.note(x, Outcome.INVALID, rule, str(error))
            return None
        return made


_FAILURES: Final = frozenset(
    {
        Outcome.NOT_JSON,
        Outcome.TOO_LARGE,
        Outcome.COMPRESSED,
        Outcome.STREAMED,
        Outcome.TRUNCATED,
        Outcome.EXPRESSION_FAILED,
        Outcome.WHEN_FAILED,
        Outcome.APP_UNKNOWN,
        Outcome.INVALID,
    }
)


def _may_apply(rule: Rule, x: Exchange) -> bool:
    """Whether a condition on the request alone holds. One that fails is noted when the response comes."""
    try:
        return rule.when.evaluate(ExchangeEnvironment(x)) is True
    except ExpressionError:
        return True


class _Made:
    """One message on its way to the disk: into the store, or else into the journal. It outlives its exchange."""

    __slots__ = ("_app", "_draft", "_emitter", "_refused", "_unkept", "journaling", "key", "outcome", "stage")

    def __init__(self, emitter: Emitter, app: int, draft: Draft, key: str) -> None:
        self._emitter = emitter
        self._app = app
        self._draft = draft
        self._refused = False  # by the store
        self._unkept = ""  # why the journal could not keep it
        self.key = key
        self.journaling = False  # it was given to the journal
        self.outcome = ""  # once it is known
        self.stage: _Stage | None = None  # that waits for it

    def done(self, outcome: base.Outcome) -> None:
        """The store's word."""
        if isinstance(outcome, base.Refused):
            self._refused = True
            self.to_journal()
            self._check_lost()
            return
        if self.journaling:
            self._emitter.journal.settle(self.key)
        self._decided(Outcome.DUPLICATE if isinstance(outcome, base.EventIdTaken) else Outcome.EMITTED)

    def to_journal(self) -> None:
        if self.journaling:
            return
        self.journaling = True
        draft = self._draft
        entry = entry_of(self.key, self._app, draft.event_type, draft.payload, draft.channels, draft.event_id)
        self._emitter.journal.append(entry, self._journaled)

    def _journaled(self, reason: str) -> None:
        if reason:
            self._unkept = reason
            self._check_lost()  # unless the store may take it yet
        else:
            self._decided(Outcome.JOURNALED)

    def _check_lost(self) -> None:
        if not self._refused or not self._unkept:
            return
        draft = self._draft
        log.event(
            "emit_lost",
            level="error",
            app=ids.encode("app", self._app),
            event_type=draft.event_type,
            event_id=draft.event_id,
            reason=f"neither the store nor the journal could keep it: {self._unkept}",
        )
        self._decided(Outcome.LOST)

    def _decided(self, outcome: str) -> None:
        if self.outcome:
            return
        self.outcome = outcome
        stage, self.stage = self.stage, None
        if stage is not None:
            stage.decided()


# What a stage is doing.
_PASSING, _READING, _HOLDING = range(3)


class _Stage:
    """Between the handler and the client of one exchange. While it holds the response, `x.held` is True."""

    __slots__ = (
        "_aborted",
        "_complete",
        "_downstream",
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
    _made: list[tuple[Rule, _Made]]

    def __init__(self, emitter: Emitter, downstream: Downstream) -> None:
        self._emitter = emitter
        self._downstream = downstream
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
            unreadable = _unreadable(fields, length, self._emitter.body_limit)
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
            unreadable = _unreadable(fields, len(body), self._emitter.body_limit)
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
            if self._size > self._emitter.body_limit:
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

    def receive(self, x: Exchange, sink: Sink) -> None:
        self._downstream.receive(x, sink)

    def pause_body(self) -> None:
        self._downstream.pause_body()

    def resume_body(self) -> None:
        self._downstream.resume_body()

    def informational(self, status: int, fields: Fields) -> None:
        self._downstream.informational(status, fields)

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
                made.stage = self
                self._undecided += 1
        if not self._undecided:
            self._release()
            return
        if not self._complete and not self._aborted:
            self._paused = True
            self._source.pause()
        self._expire_in(emitter.patience)

    def decided(self) -> None:
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
            waiting = [made for _, made in self._made if made.stage is not None]
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
            made.stage = None
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
