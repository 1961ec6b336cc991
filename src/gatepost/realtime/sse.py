"""`Live`: the handler of `/.well-known/mercure`, live streams shaped as Mercure's subscriptions.

    GET /.well-known/mercure?topic=/shop/orders/12345&topic=/shop/orders/12346
    Last-Event-ID: msg_0S8pLQk3xY2

answers with server-sent events: first what was missed, then what happens. One timer serves every stream: it ticks 16
times a heartbeat, and each tick speaks to a sixteenth of the subscribers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Final
from urllib.parse import parse_qsl

from gatepost import ids, log
from gatepost.clock import Clock
from gatepost.config import schema
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Response, problem
from gatepost.http1.messages import Fields
from gatepost.realtime import frames
from gatepost.realtime.auth import Authorizer
from gatepost.realtime.backlog import Backlog
from gatepost.realtime.hub import Channel, Hub
from gatepost.realtime.subscriber import Subscriber
from gatepost.realtime.topics import parse_topic
from gatepost.stores.base import Store

MAX_TOPICS: Final = 16  # of one subscription
TICKS: Final = 16  # of a heartbeat
EARLIEST: Final = "earliest"  # Mercure's word for "everything you still have"

_NOTE: Final = "live"
_METHODS: Final = b"GET, OPTIONS"
_STREAM: Final[Fields] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx in front of us collects events until its buffer is full
]


class Live:
    """A `Handler`. It owns its subscribers; the hub is the app's.

    One stands for one `live` section: where a reload changes it, a new `Live` takes over and the old one is stopped, so
    that streams come back under the new rules.
    """

    def __init__(self, config: schema.Live, hub: Hub, store: Store, clock: Clock) -> None:
        """Raises ValueError where `auth.faults_of` finds something in the configuration."""
        self._config = config
        self._hub = hub
        self._store = store
        self._clock = clock
        self._authorizer = Authorizer(config)
        self._backlog = Backlog(store)
        self._slots: list[dict[Subscriber, None]] = [{} for _ in range(TICKS)]
        self._next_slot = 0
        self._count = 0
        self._expiries: list[tuple[float, int, Subscriber]] = []
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tick_at = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._count

    def handle(self, x: Exchange) -> None:
        method = x.head.method
        if method == b"OPTIONS":
            preflight = [
                *self._cors(x),
                (b"allow", _METHODS),
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", b"authorization, last-event-id, cache-control"),
                (b"access-control-max-age", b"600"),
            ]
            x.downstream.respond(x, 204, preflight, b"")
        elif method != b"GET":
            self._refuse(
                x, Problem(405, "method-not-allowed", "Live streams are read with GET"), [(b"allow", _METHODS)]
            )
        else:
            self._subscribe(x)

    def client_gone(self, x: Exchange) -> None:
        subscriber = x.notes.get(_NOTE) if x.notes is not None else None
        if isinstance(subscriber, Subscriber):
            subscriber.cancel()

    def stop(self) -> None:
        """End every stream on purpose and take no more. They come back over `retry` to twice that, not all at once."""
        self._stopped = True
        for number, slot in enumerate(self._slots):
            farewell = frames.retry(self._config.retry * (1 + number / TICKS))
            for subscriber in list(slot):
                subscriber.end(farewell)

    # beginning

    def _subscribe(self, x: Exchange) -> None:
        query = parse_qsl(x.query.decode("latin-1"), keep_blank_values=True)
        names = {name for name, _ in query}
        topics = [value for name, value in query if name == "topic"]
        if "authorization" in names:
            detail = "A URL is kept in logs and histories. Send the token as `Authorization: Bearer` or in a cookie."
            return self._refuse(x, Problem(400, "token-in-url", "A token does not belong in a URL", detail))
        if not 1 <= len(topics) <= MAX_TOPICS:
            detail = f"Name one to {MAX_TOPICS} topics: ?topic=/shop/orders/12345"
            return self._refuse(
                x, Problem(400, "topic-missing" if not topics else "too-many-topics", "Which topic?", detail)
            )
        try:
            parsed = [parse_topic(topic) for topic in topics]
        except ValueError as error:
            return self._refuse(x, Problem(400, "topic-invalid", "Not a topic", str(error)))
        permitted = self._authorizer.admit(x.head, topics, self._clock.now())
        if isinstance(permitted, Problem):
            challenge = [(b"www-authenticate", b'Bearer realm="gatepost"')] if permitted.status == 401 else []
            return self._refuse(x, permitted, challenge)
        channels: list[Channel] = []
        for topic in parsed:
            app = self._store.directory.app(topic.app)
            if app is None:
                return self._refuse(
                    x, Problem(404, "app-unknown", "There is no such app", f"No app is named {topic.app}.")
                )
            channels.append((app.key, topic.channel))
        if self._stopped or self._count >= self._config.subscribers:
            busy = Problem(503, "live-unavailable", "No more live streams now", "Try again later.")
            return self._refuse(x, busy, [(b"retry-after", b"%d" % max(1, round(self._config.retry)))])
        last = x.head.get(b"last-event-id")
        given = last.decode("latin-1") if last is not None else dict(query).get("lastEventID")
        self._begin(x, list(dict.fromkeys(channels)), permitted, given)
        return None

    def _begin(self, x: Exchange, channels: list[Channel], expires: float, last_event_id: str | None) -> None:
        subscriber = Subscriber(x, self._config.buffer_bytes, expires, self._next_slot, self._leave)
        self._next_slot = (self._next_slot + 1) % TICKS
        self._slots[subscriber.slot][subscriber] = None
        self._count += 1
        until = self._hub.subscribe(subscriber, channels)
        x.note(_NOTE, subscriber)
        fields = _STREAM + self._cors(x)
        after = until
        if last_event_id:
            # What we cannot read came from elsewhere: better everything again than a gap that nobody sees. The
            # answer names where it begins, so that a subscriber can tell (Mercure, "Reconciliation").
            known = ids.decode("msg", last_event_id)
            after = known or 0
            fields.append((b"last-event-id", last_event_id.encode("latin-1") if known else EARLIEST.encode()))
        subscriber.catching_up = after < until
        x.downstream.begin(x, 200, fields, None, subscriber)
        subscriber.write(frames.retry(self._config.retry))
        if subscriber.closed:
            return
        if expires < inf:
            self._made += 1
            heappush(self._expiries, (expires, self._made, subscriber))
        if self._timer is None:
            self._wait(x.loop)
        if subscriber.catching_up:
            self._run(x.loop, self._catch_up(subscriber, channels, after, until))

    async def _catch_up(self, subscriber: Subscriber, channels: list[Channel], after: int, until: int) -> None:
        try:
            await self._backlog.send(subscriber, channels, after, until)
        except Exception as error:  # whatever the store could not do: the browser comes back and asks again
            log.event("live_backlog_failed", level="error", reason=str(error))
            subscriber.cut("store-unavailable")

    def _run(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave(self, subscriber: Subscriber) -> None:
        self._hub.unsubscribe(subscriber)
        del self._slots[subscriber.slot][subscriber]
        self._count -= 1
        if len(self._expiries) > 2 * self._count + 64:  # those who left before their token ended
            self._expiries = [entry for entry in self._expiries if not entry[2].closed]
            heapify(self._expiries)
        if not self._count and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # the timer

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        period = (self._config.heartbeat or TICKS) / TICKS
        self._timer = loop.call_later(period, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wait(loop)
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            heappop(self._expiries)[2].end(outcome="token-expired")
        self._tick_at = (self._tick_at + 1) % TICKS
        if self._config.heartbeat:
            for subscriber in list(self._slots[self._tick_at]):
                if not subscriber.paused:
                    subscriber.write(frames.HEARTBEAT)

    # answers

    def _refuse(self, x: Exchange, p: Problem, fields: Fields | None = None) -> None:
        answer: Response = problem(x.id, p, (fields or []) + self._cors(x))
        x.outcome = answer.outcome
        x.downstream.respond(x, answer.status, answer.fields, answer.body)

    def _cors(self, x: Exchange) -> Fields:
        """What lets a page of another origin read the answer. Credentials go with named origins, never with `*`."""
        allowed = self._config.allow_origins
        if not allowed:
            return []
        fields: Fields = [(b"vary", b"origin")]
        origin = x.head.get(b"origin")
        if origin is not None and origin.decode("latin-1") in allowed:
            fields += [(b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true")]
        elif "*" in allowed:
            fields.append((b"access-control-allow-origin", b"*"))
        else:
            return fields
        return [*fields, (b"access-control-expose-headers", b"last-event-id")]
