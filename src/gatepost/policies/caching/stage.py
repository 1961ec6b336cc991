"""The response of an exchange on its way to the client.

    idle ─── whatever comes goes through: it was answered from memory, or is nothing to the cache
    armed ─┬► keeping   it goes through, and its body is kept as it passes; stored once it ended whole
           ├► idle      it goes through and is not kept
           └► over      something stored was sent in its place: the target said 304, or failed
    changing ─ what the request changed is let go of once the target says so (RFC 9111 §4.4)

`NOBODY` is the client of a revalidation in the background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.exchange import Downstream, Exchange, Sink, Source, Through, TunnelEnd
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies.caching.answers import NAME, field
from gatepost.policies.caching.asked import Asked
from gatepost.policies.caching.flight import Flight, Outcome
from gatepost.policies.caching.rules import ERRORS, Kept, selects
from gatepost.policies.caching.storage import Entry, Fill, Key

if TYPE_CHECKING:
    from gatepost.policies.cache import Cache

_IDLE, _ARMED, _KEEPING, _OVER, _CHANGING = range(5)


class Stage(Through):
    """Of one exchange. Made for each, so that what most of them need of it is little: it is idle until it is armed."""

    __slots__ = (
        "_ask",
        "_cache",
        "_fields",
        "_fill",
        "_flight",
        "_kept",
        "_key",
        "_length",
        "_stale",
        "_state",
        "_status",
        "_validating",
        "_why",
        "_x",
    )

    _x: Exchange
    _key: Key
    _ask: Asked
    _fill: Fill
    _flight: Flight | None
    _stale: Entry | None
    _validating: bool
    _why: bytes
    _status: int
    _fields: Fields
    _length: int | None
    _kept: Kept

    def __init__(self, cache: Cache, downstream: Downstream) -> None:
        self._cache = cache
        super().__init__(downstream)
        self._state = _IDLE

    def arm(
        self,
        key: Key,
        ask: Asked,
        fill: Fill,
        *,
        why: bytes,
        flight: Flight | None = None,
        stale: Entry | None = None,
        validating: bool = False,
    ) -> None:
        """The request is forwarded for want of a stored response, or to see whether `stale` still holds. `why`: as
        Cache-Status says it. `validating`: the request asks for news of `stale`."""
        self._key = key
        self._ask = ask
        self._fill = fill
        self._flight = flight
        self._validating = validating
        self._why = why
        self._stale = stale
        self._state = _ARMED

    def expect_change(self) -> None:
        """The request may change what is stored."""
        self._state = _CHANGING

    # The handler's side.

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        if self._state == _ARMED:
            if self._instead(x, status, fields, length):
                if status != 304:
                    source.cancel()  # the body of an error that nobody sees
                return
            fields = self._look(x, status, fields, length)
            if self._state == _IDLE and self._downstream is NOBODY:
                self._state = _OVER
                source.cancel()
                return
        elif self._state == _CHANGING:
            self._changed(x, status, fields)
        self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        if self._state == _ARMED:
            if self._instead(x, status, fields, None):
                return
            told = self._look(x, status, fields, len(body))
            if self._state == _KEEPING:
                self._fill.add(body)
                self._store()
            fields = told
        elif self._state == _CHANGING:
            self._changed(x, status, fields)
        self._downstream.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        state = self._state
        if state == _KEEPING:
            self._keep(data)
        elif state == _OVER:
            return
        self._downstream.send(data)

    def finish(self) -> None:
        state = self._state
        if state == _KEEPING:
            if self._length is None or self._length == self._fill.size:
                self._store()
            else:
                self._end(Outcome.ALONE)
        elif state == _OVER:
            return
        self._downstream.finish()

    def abort(self) -> None:
        if self._state == _OVER:
            return
        self._end(Outcome.ALONE)  # RFC 9111 §3.3: half a response is not stored
        self._downstream.abort()

    def close(self) -> None:
        """The exchange is over, however it ended."""
        self._end(Outcome.AGAIN)

    # What the response means for what is stored.

    def _instead(self, x: Exchange, status: int, fields: Fields, length: int | None) -> bool:
        """Whether something stored was sent in place of this response."""
        stale = self._stale
        if stale is None:
            return False
        cache = self._cache
        if status == 304 and self._validating and not x.outcome:
            entry = stale
            if selects(stale.fields, fields):
                entry = cache.freshen(x, stale, fields, self._ask, self._fill) or stale
            self._end(Outcome.STORED if cache.is_fresh(entry) else Outcome.ALONE)
        elif x.head.method == b"HEAD":
            if status == 200 and not x.outcome:
                if selects(stale.fields, fields) and length in (None, len(stale.body)):
                    cache.freshen(x, stale, fields, self._ask, self._fill)  # RFC 9111 §4.3.5
                else:
                    cache.storage.remove(stale)
            return False
        elif status in ERRORS and cache.may_serve_for_error(x, stale, self._ask):
            self._end(Outcome.ALONE)
            x.outcome = ""  # the failure is the target's; this answer is a good one
            entry = stale
        else:
            return False
        self._state = _OVER
        answer = cache.told(x, entry, self._ask, b"; fwd=%b; fwd-status=%d" % (self._why, status))
        x.outcome = answer.outcome
        self._downstream.respond(x, answer.status, answer.fields, answer.body)
        return True

    def _look(self, x: Exchange, status: int, fields: Fields, length: int | None) -> Fields:
        """Decide whether the response is kept. Returns its fields with what Cache-Status tells."""
        cache = self._cache
        kept: Kept | str
        if x.head.method != b"GET":
            kept = "method"
        elif x.outcome:
            kept = "failed"
        else:
            kept = cache.keeping(x, status, fields, self._ask)
            if length is not None and length > cache.max_object:
                kept = "too-large"
        if isinstance(kept, str):
            status_told = b"; fwd=%b; detail=%b" % (self._why, kept.encode())
            if self._stale is not None and status < 500 and x.head.method == b"GET":
                cache.storage.remove(self._stale)  # something else stands there now
            if not x.outcome and self._flight is not None:
                cache.pass_on(self._key)
            self._end(Outcome.ALONE)
        else:
            status_told = b"; fwd=%b; stored" % self._why
            self._state = _KEEPING
            self._x, self._status, self._fields, self._length, self._kept = x, status, fields, length, kept
            if not kept.lifetime:
                # Each request has to ask for itself: nobody needs to wait for this one.
                cache.pass_on(self._key)
                self._land(Outcome.ALONE)
        added, line = field(NAME + status_told)
        return fields.plus(added, line) if type(fields) is FieldList else [*fields, *added]

    def _keep(self, data: bytes) -> None:
        fill = self._fill
        storage = self._cache.storage
        fill.add(data)
        # Responses on their way may take a quarter of what stored ones may.
        if fill.size > self._cache.max_object or storage.filling > storage.memory >> 2:
            self._cache.pass_on(self._key)
            self._end(Outcome.ALONE)

    def _store(self) -> None:
        fill = self._fill
        body = b"".join(fill.parts)
        stored = self._cache.store(self._x, self._key, self._status, self._fields, self._kept, body, fill)
        self._end(Outcome.STORED if stored is not None and self._cache.is_fresh(stored) else Outcome.ALONE)

    def _end(self, outcome: Outcome) -> None:
        """Nothing more is kept, and nobody waits any longer."""
        if self._state not in (_ARMED, _KEEPING):
            return
        self._state = _IDLE
        self._fill.close()
        self._land(outcome)

    def _land(self, outcome: Outcome) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            self._cache.landed(self._key, flight, outcome)

    def _changed(self, x: Exchange, status: int, fields: Fields) -> None:
        if status < 400 and not x.outcome:
            self._cache.invalidate(x, fields)


class _Nobody:
    """The client of a response that is only stored."""

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None: ...
    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None: ...
    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
    def receive(self, x: Exchange, sink: Sink) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def informational(self, status: int, fields: Fields) -> None: ...
    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        raise AssertionError("a revalidation asked for an upgrade")

    def peer_certificate(self) -> bytes | None:
        return None


NOBODY: Final[Downstream] = _Nobody()
