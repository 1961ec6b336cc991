"""`queue`: requests wait for their turn, a bounded time, instead of being refused.

At most `limit` are under way; those behind wait in the order in which they came. One that waited in vain, or finds the
queue full, gets a 503 with `Retry-After`. Whoever leaves gives its place back, waiting or served.

It stands in front of the route's limits: they are asked before (who is over one does not wait) and counted after (who
waited in vain is not charged).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from math import ceil
from typing import Any, NamedTuple, cast

from gatepost.config.policies.queue import QueuePolicy
from gatepost.errors import Problem
from gatepost.exchange import Answer, Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext
from gatepost.policies.keys import key_by


def build(use: QueuePolicy, context: PolicyContext) -> Queue:
    return Queue(use, context)


class Line:
    """One queue: how many are under way, and who waits."""

    __slots__ = ("in_flight", "waiting")

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def leave(self) -> None:
        """Give a place to the next one that still wants it."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    def withdraw(self, turn: asyncio.Future[None]) -> None:
        if turn in self.waiting:
            self.waiting.remove(turn)

    @property
    def empty(self) -> bool:
        return not self.in_flight


class Lines:
    """The queues of one policy, by key; they outlive a reload. One that is empty is not kept."""

    __slots__ = ("__weakref__", "_lines")

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def of(self, key: str) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line()
        return line

    def leave(self, key: str) -> None:
        line = self._lines[key]
        line.leave()
        if line.empty and key:  # the one queue of a route without `by` stays: making it costs 1 µs
            del self._lines[key]


class Turn(NamedTuple):
    """What an exchange holds: a place, from the start or since its turn came."""

    key: str
    turn: asyncio.Future[None] | None


class Wait:
    """What an exchange waits for. The coroutine is made when the wait begins: a client may leave before that, and
    Python complains about coroutines that nobody awaits."""

    __slots__ = ("_arguments", "_begin")

    def __init__(
        self,
        begin: Callable[[Exchange, Line, asyncio.Future[None]], Coroutine[Any, Any, Response | None]],
        *arguments: Any,
    ) -> None:
        self._begin = begin
        self._arguments = arguments

    def __await__(self) -> Generator[Any, Any, Response | None]:
        return self._begin(*self._arguments).__await__()


class Queue(Policy):
    name = "queue"
    phase = Phase.LIMIT

    def __init__(self, config: QueuePolicy, context: PolicyContext) -> None:
        self._limit = config.limit
        self._length = config.length
        self._timeout = config.timeout
        self._key = None
        if config.by is not None:
            key = key_by(config.by)
            self._key = key.of
            self.needs_request_body = key.needs_body
        self._lines = context.states.get(("queue", context.route, config.by), Lines)
        self._retry = (b"retry-after", b"%d" % max(1, ceil(config.timeout)))
        self._full = Problem(
            503, "queue-full", "Too many requests are waiting", f"{config.length} wait already. Try again later."
        )
        self._late = Problem(
            503, "queue-timeout", "The request waited in vain", f"Its turn did not come within {config.timeout:g} s."
        )

    def on_request(self, x: Exchange) -> Answer:
        key = "" if self._key is None else self._key(x)
        line = self._lines.of(key)
        if line.in_flight < self._limit:
            line.in_flight += 1
            x.note(self.name, Turn(key, None))
            return None
        if len(line.waiting) >= self._length:
            return problem(x.id, self._full, [self._retry])
        turn: asyncio.Future[None] = x.loop.create_future()
        line.waiting.append(turn)
        x.note(self.name, Turn(key, turn))
        return Wait(self._wait, x, line, turn)

    async def _wait(self, x: Exchange, line: Line, turn: asyncio.Future[None]) -> Response | None:
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except TimeoutError:
            line.withdraw(turn)
            return problem(x.id, self._late, [self._retry])
        return None

    def on_finish(self, x: Exchange) -> None:
        """However it ends, and wherever it was: a client may leave before its wait has begun, or in the very moment in
        which its turn comes."""
        held = cast("Turn | None", x.notes.get(self.name)) if x.notes is not None else None
        if held is None:
            return
        turn = held.turn
        if turn is None or (turn.done() and not turn.cancelled()):
            self._lines.leave(held.key)
        else:
            self._lines.of(held.key).withdraw(turn)
            turn.cancel()
