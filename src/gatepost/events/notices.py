"""The gateway's own events as messages of the app `gatepost`: webhooks, live pages and alerts need nothing special.

A flood about one subject is folded: the first is a message at once, then there is one message a window, with the count
(`_Fold`). What is folded is decided before sending, but the window only begins when the store has taken the message:
a message that could not be kept is tried again, and suppresses nothing meanwhile.

`tell` is a plain call that counts; messages are made on the loop, a few a turn.
"""

from __future__ import annotations

import re
import socket
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from gatepost import log
from gatepost.clock import Clock
from gatepost.config.schema import Notices as Settings
from gatepost.events.ingest import Ingest
from gatepost.events.rules import InvalidMessage
from gatepost.model import App
from gatepost.notices import OWN_APP, Facts
from gatepost.stores.base import Outcome, Refused, Store

OTHERS: Final = "*"  # the subject of what came when an event type had `subjects` of them already
CHANNEL: Final = "/events"  # every notice is on it, and on the one of its type: live pages follow `/gatepost/events`
TURN: Final = 64  # messages made in one turn of the loop: about 1 ms
RETRY: Final = 1.0  # seconds until a message is tried again that the store could not take
MOST_REPORTS: Final = 10_000  # that wait to be made; what comes beyond is counted
MOST_FACTS: Final = 16
LONGEST: Final = 256  # characters of a fact, or of a subject
REMOVED: Final = "(removed)"

# A second line of defence, behind those who tell: names and shapes of credentials, and what may hold one.
_SECRET_NAMES: Final = frozenset(
    {"apikey", "authorization", "body", "cookie", "credential", "key", "password", "secret", "signature", "token"}
)
_HARMLESS: Final = frozenset({"bytes", "count", "expires", "id", "name"})  # `key_id` is no key
_SECRETS: Final = re.compile(
    r"(?:gp|wh(?:sec|sk))_[A-Za-z0-9_\-+/=]{16,}"  # keys and secrets of our own make
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.\-]+"  # a JWT
    r"|\b(?:Basic|Bearer)\s+\S+"
    r"|(?<=://)[^/\s@]+@"  # a URL's user and password
    r"|-----BEGIN[^\n]*",
    re.IGNORECASE,
)


class Timers(Protocol):
    """The part of an event loop that is needed here."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object: ...


class GatewayNotices:
    """Implements `notices.Notices`. Mutable, owned by the app; called on the loop."""

    def __init__(self, ingest: Ingest, timers: Timers, settings: Settings, *, node: str | None = None) -> None:
        self._ingest = ingest
        self._clock: Clock = ingest.clock
        self._timers = timers
        self._window = settings.window
        self._most = settings.subjects
        self._node = socket.gethostname() if node is None else node
        self._folds: dict[tuple[str, str], _Fold] = {}
        self._subjects: Counter[str] = Counter()  # of each event type, how many folds there are
        self._ready: deque[_Message] = deque()
        self._resting: deque[tuple[float, _Fold]] = (
            deque()
        )  # (monotonic seconds, …), in order: windows are equally long
        self._making = False  # a turn is to come
        self._waking = False
        self._closed = False

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        if self._closed:
            return
        fold = self._folds.get((event_type, subject))
        if fold is None:
            fold = self._new_fold(event_type, subject)
        fold.count += 1
        fold.last = now = self._clock.now()
        if fold.count == 1:
            fold.first = now
        fold.facts = facts if fold.subject != OTHERS else {}
        if not fold.busy:
            self._send(fold)

    def tell_once(self, event_type: str, subject: str, facts: Facts, key: str) -> None:
        """Tell what is to be told once for ever, over restarts and nodes, and is rare: it is not folded. The store
        drops a second one with this `key` (letters, digits, `-`, `_`, `.`), the message's `eventId`."""
        if self._closed:
            return
        now = self._clock.now()
        self._queue(_Message(event_type, self._payload(event_type, subject, 1, now, now, facts), key, None))

    def report(self, event_type: str, data: dict[str, Any]) -> None:
        if self._closed:
            return
        if len(self._ready) >= MOST_REPORTS:
            self.tell(event_type, OTHERS, {})  # a count of them, once a window
            return
        self._queue(_Message(event_type, msgspec.json.encode({"type": event_type, "data": data}), None, None))

    def close(self) -> None:
        """Hand in what is counted and not told yet. Nothing is told afterwards: the store closes next."""
        self._closed = True
        for fold in list(self._folds.values()):
            if fold.count:
                self._send(fold)
        while self._ready:
            self._make(self._ready.popleft())

    # Folding.

    def _new_fold(self, event_type: str, subject: str) -> _Fold:
        if subject != OTHERS and self._subjects[event_type] >= self._most:
            subject = OTHERS
            known = self._folds.get((event_type, OTHERS))
            if known is not None:
                return known
        fold = self._folds[event_type, subject] = _Fold(event_type, subject)
        self._subjects[event_type] += subject != OTHERS
        return fold

    def _send(self, fold: _Fold) -> None:
        payload = self._payload(fold.event_type, fold.subject, fold.count, fold.first, fold.last, fold.facts)
        fold.busy = True
        fold.count = 0
        self._queue(_Message(fold.event_type, payload, None, fold))

    def _rest(self, fold: _Fold) -> None:
        """Its message is on disk: the window begins."""
        self._resting.append((self._clock.monotonic() + self._window, fold))
        if not self._waking:
            self._wake_in(self._window)

    def _wake_in(self, seconds: float) -> None:
        self._waking = True
        self._timers.call_later(seconds, self._wake)

    def _wake(self) -> None:
        """Windows that are over: send what they counted, forget those that counted nothing."""
        self._waking = False
        now = self._clock.monotonic()
        while self._resting and self._resting[0][0] <= now:
            fold = self._resting.popleft()[1]
            if fold.count:
                self._send(fold)
            else:
                del self._folds[fold.event_type, fold.subject]
                self._subjects[fold.event_type] -= fold.subject != OTHERS
        if self._resting and not self._closed:
            self._wake_in(self._resting[0][0] - now)

    # Messages.

    def _queue(self, message: _Message) -> None:
        self._ready.append(message)
        self._make_in(0)

    def _make_in(self, seconds: float) -> None:
        if not self._making and not self._closed:
            self._making = True
            self._timers.call_later(seconds, self._turn)

    def _turn(self) -> None:
        self._making = False
        if not self._ingest.store.writable:
            self._make_in(RETRY)
            return
        for _ in range(min(TURN, len(self._ready))):
            self._make(self._ready.popleft())
        if self._ready:
            self._make_in(0)

    def _make(self, message: _Message) -> None:
        app = self._ingest.store.directory.app(OWN_APP)
        if app is None:
            self._again(message)  # it is made at the start, and nobody can delete it through the API
            return
        try:
            self._ingest.publish(
                app,
                message.event_type,
                message.payload,
                channels=(CHANNEL, f"/{message.event_type}"),
                event_id=message.key,
                done=lambda outcome: self._done(message, outcome),
            )
        except InvalidMessage as error:
            log.event("notice_invalid", level="error", type=message.event_type, reason=error)
            if message.fold is not None:
                self._rest(message.fold)

    def _done(self, message: _Message, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            self._again(message)
        elif message.fold is not None:
            self._rest(message.fold)

    def _again(self, message: _Message) -> None:
        self._ready.append(message)
        self._make_in(RETRY)

    def _payload(self, event_type: str, subject: str, count: int, first: float, last: float, facts: Facts) -> bytes:
        return msgspec.json.encode(
            {
                "type": event_type,
                "subject": _clean(subject),
                "count": count,
                "first": _moment(first),
                "last": _moment(last),
                "node": self._node,
                "facts": {_clean(name): _safe(name, value) for name, value in list(facts.items())[:MOST_FACTS]},
            }
        )


class _Fold:
    """What is counted of one event type about one subject, and not told yet."""

    __slots__ = ("busy", "count", "event_type", "facts", "first", "last", "subject")

    def __init__(self, event_type: str, subject: str) -> None:
        self.event_type = event_type
        self.subject = subject
        self.count = 0
        self.first = self.last = 0.0
        self.facts: Facts = {}
        self.busy = False  # a message is on its way, or its window not over


class _Message(msgspec.Struct):
    event_type: str
    payload: bytes
    key: str | None
    fold: _Fold | None


async def own_app(store: Store, clock: Clock) -> App:
    """The app `gatepost`, made where it is missing."""
    app = store.directory.app(OWN_APP)
    if app is None:
        now = clock.now()
        app = await store.put_app(App(key=0, id=0, name="Gatepost", uid=OWN_APP, created=now, updated=now))
    return app


def _safe(name: str, value: Any) -> Any:
    words = re.split(r"[^a-z]+", name.lower())
    if words[-1] not in _HARMLESS and not _SECRET_NAMES.isdisjoint((*words, "".join(words))):
        return REMOVED
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    text = _SECRETS.sub(REMOVED, text)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
