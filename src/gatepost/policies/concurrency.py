"""`concurrency`: at most so many requests under way at once, by client, consumer or any other expression.

A place is taken when all limits of the route admit, and given back when the exchange is over, however it ends.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Limit, Response, problem
from gatepost.plans import Opened, widest_concurrency
from gatepost.policies.base import PolicyContext
from gatepost.policies.keys import key_by
from gatepost.policies.over import Over


def build(use: ConcurrencyPolicy, context: PolicyContext) -> Concurrency:
    return Concurrency(use, context)


class InFlight:
    """How many are under way, by key. Keys that have none are not kept."""

    __slots__ = ("__weakref__", "_counts")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def of(self, key: str) -> int:
        return self._counts.get(key, 0)

    def enter(self, key: str) -> None:
        self._counts[key] = self._counts.get(key, 0) + 1

    def leave(self, key: str) -> None:
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]


# What an exchange holds, or (False) would hold.
Place: TypeAlias = tuple[InFlight, str, bool]


class Concurrency(Limit):
    name = "concurrency"

    def __init__(self, config: ConcurrencyPolicy, context: PolicyContext) -> None:
        key = key_by(config.by)
        self._key = key.of
        self.needs_request_body = key.needs_body
        self._limit = config.limit
        self._plan = config.plan
        scope = ("shared",) if config.shared else ("route", context.route)
        # Not by the limit: what is under way at a reload goes on counting when the number changes.
        self._own = context.states.get(("concurrency", *scope, config.name, config.by), InFlight)
        self._by_plan = context.states.get(("concurrency", "plan", config.name), InFlight)
        self._over = Over(context, "rate_limit.exceeded", config.name)
        self._note = f"concurrency:{config.name}"

    def check(self, x: Exchange, now: float) -> Response | None:
        limit, in_flight, key = self._whose(x)
        if in_flight.of(key) >= limit:
            return self._refusal(x, limit)
        x.note(self._note, (in_flight, key, False))
        return None

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        in_flight, key, _ = cast("Place", x.notes[self._note])
        in_flight.enter(key)
        x.notes[self._note] = (in_flight, key, True)

    def check_and_take(self, x: Exchange) -> Response | None:
        limit, in_flight, key = self._whose(x)
        if in_flight.of(key) >= limit:
            return self._refusal(x, limit)
        in_flight.enter(key)
        x.note(self._note, (in_flight, key, True))
        return None

    def on_finish(self, x: Exchange) -> None:
        place = cast("Place | None", x.notes.get(self._note)) if x.notes is not None else None
        if place is not None and place[2]:
            place[0].leave(place[1])

    def _refusal(self, x: Exchange, limit: int) -> Response:
        self._over.tell(x)
        detail = f"At most {limit} may be under way at once. Try again when one has ended."
        refused = Problem(429, "too-many-in-flight", "Too many requests at once", detail)
        return problem(x.id, refused, [(b"retry-after", b"1")])

    def _whose(self, x: Exchange) -> tuple[int, InFlight, str]:
        consumer = x.consumer
        if consumer is None or not self._plan:
            return self._limit, self._own, self._key(x)
        opened = None if consumer.grant is None else consumer.grant.opened(x.route.name, x.head.method)
        if opened is None:
            return self._limit, self._own, f"consumer {consumer.id}"
        return self._of(opened), self._by_plan, consumer.id

    def _of(self, opened: Opened) -> int:
        limit = opened.memo.get(self)
        if limit is None:
            limit = opened.memo[self] = widest_concurrency(opened.plans, self._limit)
        return cast("int", limit)
