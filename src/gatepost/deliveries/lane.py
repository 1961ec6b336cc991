"""A lane: the deliveries of one endpoint, as far as memory knows them. Pure: no clock, no store, no sockets.

The store is the truth. A lane holds the keys of deliveries that are due now, at most so many; it never holds those that
are due later (the agenda knows when to look). It *spills* when there is no room for one more key: from then on what is
new stays on disk, until the lane has drained and is filled by a read.

    accepted ──add──► ready ──take──► in flight ──finished──► to be committed ──released──► gone
                        ▲
    disk ──read_done────┘

A read runs beside all this, on a snapshot that may be older than what memory knows by now. So whatever was held when
the read began is left out of it, and whatever was released while it ran is ignored in its answer: nothing is sent
twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from gatepost.deliveries.order import Order
from gatepost.deliveries.pace import Pace
from gatepost.model import Batching, Delivery

FIRST_WINDOW: Final = 4  # requests under way to an endpoint of which nothing is known yet
WATERMARK: Final = 64  # ready keys at or below which a lane is filled again


class Lane:
    """One endpoint's deliveries in memory. Owned by the delivery engine.

    The *window* is how many may be in flight. It begins small, grows by one with each success up to the endpoint's
    concurrency and is halved by each failure. At one, after a failure, the lane is *sick*: its head is tried, one at a
    time, as an ordinary attempt. So an endpoint that hangs ties up one connection, not sixteen.
    """

    __slots__ = (
        "_ended",
        "_missed",
        "_window_limit",
        "backlog",
        "batch_of",
        "batching",
        "endpoint",
        "gathering",
        "held",
        "in_flight",
        "manual",
        "order",
        "overdue",
        "pace",
        "paced",
        "paused",
        "queued",
        "read_planned",
        "reading",
        "ready",
        "reserved",
        "rest_until",
        "resting",
        "sick",
        "since",
        "spilled",
        "strain",
        "window",
    )

    def __init__(self, endpoint: int, concurrency: int) -> None:
        self.endpoint = endpoint  # key
        self.ready: deque[tuple[int, int]] = deque()  # (message, tries made so far)
        self.held: set[int] = set()  # messages that are ready, in flight or to be committed
        self.manual: set[int] = set()  # those of them that a person asked to be sent again
        self.in_flight = 0
        self.window = min(FIRST_WINDOW, concurrency)
        self.sick = False
        self.spilled = False  # there are due deliveries on disk that memory does not have
        self.overdue = False  # a time on the agenda passed: there may be some
        self.paused = False  # the endpoint is disabled
        self.reading = False
        self.read_planned = False  # stands in line to be read
        self.queued = False  # stands in `Turns`
        self.order: Order | None = None  # what goes one after another, where there is such
        self.since: dict[int, float] = {}  # of messages that were asked for again, when
        self.pace: Pace | None = None  # the endpoint's own
        self.paced = False  # it has a pace, or its app does
        self.reserved = False  # a place at that pace is this lane's
        self.resting = False  # until its place comes, or because the receiver is overloaded
        self.rest_until = 0.0  # monotonic seconds
        self.batching: Batching | None = None  # the endpoint gets several messages in one request
        self.batch_of: dict[int, int] = {}  # of messages that have one, the batch's number; 0: goes alone
        self.gathering: float | None = None  # monotonic seconds until which it waits for more to go together
        self.backlog = False  # that it spilled was told
        self.strain = 0  # signs of overload in a row
        self._window_limit = concurrency
        self._missed = False
        self._ended: set[int] = set()

    # what comes in

    def add(self, message: int, room: int) -> bool:
        """A message was accepted. False if it is held already or stays on disk, because the lane has spilled or
        `room` keys are held."""
        if message in self.held:
            return False
        if self.paused or (self.spilled and not self.reading) or len(self.held) >= room:
            self.spilled = True
            self._missed = self.reading
            return False
        # While a read runs, the new go to memory: the read's snapshot may be older than they are.
        self.held.add(message)
        self.ready.append((message, 0))
        return True

    def add_manual(self, message: int, tries: int, since: float = 0.0) -> bool:
        """A person wants it sent now: it goes before the others, room or not. False if it is held already."""
        if message in self.held or self.paused:
            return False
        self.held.add(message)
        self.manual.add(message)
        self.since[message] = since
        self.batch_of[message] = 0
        self.ready.appendleft((message, tries))
        return True

    # what goes out

    @property
    def sendable(self) -> bool:
        return self.in_flight < self.window and bool(self.ready) and not self.resting

    def take(self) -> tuple[int, int]:
        """The next (message, tries), now in flight. Only while `sendable`."""
        self.in_flight += 1
        return self.ready.popleft()

    def take_along(self, first: int) -> list[tuple[int, int]]:
        """Of what is ready, whatever goes in one request with `first`, which was taken."""
        number = self.batch_of.get(first)
        if self.batching is None or number == 0 or first in self.manual or (self.order and first in self.order):
            return []
        most = self.batching.messages - 1 if number is None else len(self.ready)
        along: list[tuple[int, int]] = []
        rest: deque[tuple[int, int]] = deque()
        for message, tries in self.ready:
            same = self.batch_of.get(message) == number and message not in self.manual
            if same and len(along) < most and not (self.order and message in self.order):
                along.append((message, tries))
            else:
                rest.append((message, tries))
        self.ready = rest
        return along

    @property
    def enough(self) -> bool:
        """There is something that need not wait for more: a whole batch, or what has its batch already."""
        ready, batching = self.ready, self.batching
        if batching is None or len(ready) >= batching.messages:
            return True
        head = ready[0][0]
        return head in self.batch_of or head in self.manual or (self.order is not None and head in self.order)

    def finished(self, *, ok: bool) -> None:
        """A try that was in flight ended; what came of it is not on disk yet."""
        self.in_flight -= 1
        if ok:
            self.sick = False
            if self.window < self._window_limit:
                self.window += 1
        else:
            self.window = max(1, self.window // 2)
            self.sick = self.window == 1

    def narrow(self) -> None:
        """The receiver is overloaded: one at a time from now on."""
        self.window = 1

    def limit(self, concurrency: int) -> None:
        """How many may be under way at most, from now on."""
        self._window_limit = concurrency
        self.window = min(self.window, concurrency)

    def abandoned(self) -> None:
        """A try that was in flight was given up: it says nothing of the endpoint."""
        self.in_flight -= 1

    def released(self, message: int) -> None:
        """What came of it is on disk: memory may forget it."""
        self._let_go(message)
        if self.reading:
            self._ended.add(message)

    # what is read from disk

    def wants_read(self, room: int) -> bool:
        """There may be more on disk, and most of the `room` is free: what waits for its commit takes room as well."""
        return (
            (self.spilled or self.overdue)
            and not self.reading
            and not self.paused
            and len(self.ready) <= min(room // 4, WATERMARK)
            and len(self.held) <= room // 2
        )

    def read_begins(self) -> frozenset[int]:
        """The messages that the read is to leave out."""
        self.reading = True
        self.overdue = False
        self._missed = False
        return frozenset(self.held)

    def read_done(self, due: Iterable[Delivery], *, whole: bool) -> int:
        """Take in what a read found due now; `whole` if that is all there is. Returns how many keys were new."""
        added = 0
        if not self.paused:
            for delivery in due:
                message = delivery.message
                if message not in self.held and message not in self._ended:
                    self._take_in(delivery)
                    added += 1
            self.spilled = self._missed or not whole
        self._read_over()
        return added

    def heads_found(self, heads: Iterable[Delivery]) -> int:
        """Take in what goes in order and may be sent now. Returns how many keys were new."""
        added = 0
        for head in heads:
            if head.message not in self.held:
                self._take_in(head)
                added += 1
        return added

    def drop(self, message: int) -> bool:
        """Forget one that is ready. False where it is not."""
        for place, (ready, _) in enumerate(self.ready):
            if ready == message:
                del self.ready[place]
                self.released(message)
                return True
        return False

    def read_failed(self) -> None:
        self.overdue = True
        self._read_over()

    def _read_over(self) -> None:
        self.reading = False
        self._missed = False
        self._ended = set()

    # its states

    def pause(self) -> None:
        """The endpoint is disabled: what is ready goes back to disk, where it waits; what is in flight goes on."""
        self.paused = True
        self._give_back(message for message, _ in self.ready)
        self.ready.clear()
        self.spilled = True

    def resume(self) -> None:
        self.paused = False
        self.overdue = True
        if self.order is not None:
            self.order.news = True

    @property
    def idle(self) -> bool:
        """Nothing would be lost if memory forgot this lane. A sick one is kept: that it is sick is worth knowing."""
        if self.held or self.spilled or self.overdue or self.reading or self.paused or self.sick or self.resting:
            return False
        return self.order is None or self.order.idle

    def _take_in(self, delivery: Delivery) -> None:
        message = delivery.message
        self.held.add(message)
        self.ready.append((message, delivery.tries))
        if delivery.manual:
            self.manual.add(message)
        if delivery.since is not None:
            self.since[message] = delivery.since
        if delivery.batch is not None:
            self.batch_of[message] = delivery.batch

    def _let_go(self, message: int) -> None:
        self.held.discard(message)
        self.manual.discard(message)
        if self.since:
            self.since.pop(message, None)
        if self.batch_of:
            self.batch_of.pop(message, None)
        if self.order is not None:
            self.order.released(message)

    def _give_back(self, messages: Iterable[int]) -> None:
        for message in messages:
            self._let_go(message)


def whole_batches(due: Sequence[Delivery]) -> Sequence[Delivery]:
    """Of a read that ended before the last row: without the batch that it may have cut in two."""
    last = due[-1].batch if due else None
    if not last:
        return due
    end = len(due)
    while end and due[end - 1].batch == last:
        end -= 1
    return due[:end] if end else due


def split_due(deliveries: Sequence[Delivery], now: float, limit: int) -> tuple[Sequence[Delivery], bool, float | None]:
    """What a read of the `limit` earliest pending deliveries says: those due at `now`, whether these are all that
    are, and when the next one is due (None if the read does not tell)."""
    for index, delivery in enumerate(deliveries):
        if delivery.due is not None and delivery.due > now:
            return deliveries[:index], True, delivery.due
    return deliveries, len(deliveries) < limit, None
