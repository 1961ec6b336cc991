"""`rate_limit`: at most so many requests in a window, by client, consumer or any other expression.

Every answer says where the caller stands (`limit_fields.py`); a refusal is a 429 with `Retry-After`, and a notice. How
requests are counted stands in `limiters.py`, whose numbers hold where several plans meet in `plans.py`.
"""

from __future__ import annotations

from math import ceil
from typing import Any, cast

from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.errors import Problem
from gatepost.exchange import Added, Exchange, Limit, Response, problem
from gatepost.model import Rate
from gatepost.plans import Opened, widest_rate
from gatepost.policies.base import PolicyContext
from gatepost.policies.keys import Key, key_by
from gatepost.policies.limit_fields import LimitFields
from gatepost.policies.limiters import EXACT_UP_TO, FixedWindow, Gcra, Limiter, SlidingBuckets, SlidingLog, Usage
from gatepost.policies.over import Over


def build(use: RateLimitPolicy, context: PolicyContext) -> RateLimit:
    # What is counted goes on over a reload if the whole definition stays. The key by which it is counted is part of it.
    scope = ("shared",) if use.shared else ("route", context.route)
    limiter = context.states.get((*scope, use), lambda: limiter_for(use))
    over = Over(context, "rate_limit.exceeded", use.name)
    if not use.plan:
        return RateLimit(use, limiter, key_by(use.by), over)
    # A plan's numbers are a consumer's, whatever the route.
    limiters = context.states.get(("plan", use.name, use.algorithm, use.burst), lambda: PlanLimiters(use))
    return PlanRateLimit(use, limiter, key_by(use.by), over, limiters)


def limiter_for(config: RateLimitPolicy, rate: Rate | None = None) -> Limiter[Any]:
    """`rate` instead of the policy's own numbers."""
    limit, window = (config.limit, config.window) if rate is None else (rate.limit, rate.window)
    if config.algorithm == "gcra":
        return Gcra(limit, window, config.burst or limit)
    if config.algorithm == "fixed":
        return FixedWindow(limit, window)
    if limit <= EXACT_UP_TO:
        return SlidingLog(limit, window)
    return SlidingBuckets(limit, window)


class RateLimit(Limit):
    """One limit of one route. `key` says whom an exchange counts for."""

    name = "rate_limit"

    def __init__(self, config: RateLimitPolicy, limiter: Limiter[Any], key: Key, over: Over) -> None:
        self._limiter = limiter
        self._key = key.of
        self._over = over
        self.needs_request_body = key.needs_body
        self._note = f"rate_limit:{config.name}"
        self._sentence = _sentence(config.limit, config.window)
        self._fields = LimitFields(config.name, config.limit, config.window)

    def check(self, x: Exchange, now: float) -> Response | None:
        key = self._key(x)
        wait = self._limiter.check(key, now)
        if not wait:
            x.note(self._note, key)
            return None
        x.note(self._note, (0, wait))
        return refusal(x, self._sentence, wait, self._over)

    def check_and_take(self, x: Exchange) -> Response | None:
        usage = self._limiter.check_and_take(self._key(x), x.started)
        if usage[0] < 0:
            x.note(self._note, (0, usage[1]))
            return refusal(x, self._sentence, usage[1], self._over)
        if x.notes is None:
            x.notes = {self._note: usage}
        else:
            x.notes[self._note] = usage
        return None

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        key = x.notes[self._note]
        assert isinstance(key, str)
        x.notes[self._note] = self._limiter.take(key, now)

    def adds(self, x: Exchange) -> Added:
        usage = x.notes.get(self._note) if x.notes is not None else None
        # Nothing was counted where another policy refused first.
        return self._fields.of(usage if isinstance(usage, tuple) else None)


class Numbers:
    """A limit with the numbers that hold for somebody."""

    __slots__ = ("fields", "limiter", "sentence")

    def __init__(self, name: str, rate: Rate, limiter: Limiter[Any]) -> None:
        self.limiter = limiter
        self.sentence = _sentence(rate.limit, rate.window)
        self.fields = LimitFields(name, rate.limit, rate.window)


class PlanLimiters:
    """The limiters of one limit of plans, by their numbers: they outlive changes of plans and reloads."""

    __slots__ = ("__weakref__", "_config", "_numbers")

    def __init__(self, config: RateLimitPolicy) -> None:
        self._config = config
        self._numbers: dict[Rate, Numbers] = {}

    def of(self, rate: Rate) -> Numbers:
        numbers = self._numbers.get(rate)
        if numbers is None:
            limiter = limiter_for(self._config, rate)
            numbers = self._numbers[rate] = Numbers(self._config.name, rate, limiter)
        return numbers


class PlanRateLimit(RateLimit):
    """The same with the numbers of the caller's plans. Who has none counts by `by`, with the policy's own numbers."""

    def __init__(
        self, config: RateLimitPolicy, limiter: Limiter[Any], key: Key, over: Over, limiters: PlanLimiters
    ) -> None:
        super().__init__(config, limiter, key, over)
        self._name = config.name
        self._otherwise = Rate(config.limit, config.window)
        self._own = Numbers(config.name, self._otherwise, limiter)
        self._limiters = limiters

    def check(self, x: Exchange, now: float) -> Response | None:
        numbers, key = self._whose(x)
        wait = numbers.limiter.check(key, now)
        x.note(self._note, (numbers, key, (0, wait) if wait else None))
        return refusal(x, numbers.sentence, wait, self._over) if wait else None

    def check_and_take(self, x: Exchange) -> Response | None:
        numbers, key = self._whose(x)
        usage = numbers.limiter.check_and_take(key, x.started)
        refused = usage[0] < 0
        x.note(self._note, (numbers, key, (0, usage[1]) if refused else usage))
        return refusal(x, numbers.sentence, usage[1], self._over) if refused else None

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        numbers, key, _ = cast("tuple[Numbers, str, Usage | None]", x.notes[self._note])
        x.notes[self._note] = numbers, key, numbers.limiter.take(key, now)

    def adds(self, x: Exchange) -> Added:
        note = x.notes.get(self._note) if x.notes is not None else None
        if note is None:
            return self._own.fields.of(None)
        numbers, _, usage = cast("tuple[Numbers, str, Usage | None]", note)
        return numbers.fields.of(usage)

    def _whose(self, x: Exchange) -> tuple[Numbers, str]:
        consumer = x.consumer
        if consumer is None:
            return self._own, self._key(x)
        opened = None if consumer.grant is None else consumer.grant.opened(x.route.name, x.head.method)
        numbers = self._own if opened is None else self._of(opened)
        return numbers, f"consumer {consumer.id}"

    def _of(self, opened: Opened) -> Numbers:
        numbers = opened.memo.get(self)
        if numbers is None:
            numbers = opened.memo[self] = self._limiters.of(widest_rate(opened.plans, self._name, self._otherwise))
        return cast("Numbers", numbers)


def refusal(x: Exchange, sentence: str, wait: float, over: Over) -> Response:
    seconds = ceil(wait)
    over.tell(x)
    detail = f"{sentence} Try again in {seconds} s."
    return problem(x.id, Problem(429, "rate-limited", "Too many requests", detail), [(b"retry-after", b"%d" % seconds)])


def _sentence(limit: int, window: float) -> str:
    return f"The limit is {limit} requests in {window:g} s."
