"""`quota`: at most so many requests in a day, a month or a rolling period, over restarts too.

Answers say what is left (`limit_fields.py`); a refusal is a 429 with `Retry-After`. Notices tell when a share of the
quota is used up (`quota.threshold`, once a period) and when somebody is refused (`quota.exceeded`). How it is counted
stands in `periods.py`, how it is kept in `quota_counts.py`.
"""

from __future__ import annotations

from math import ceil
from typing import TypeAlias, cast

from gatepost.config.policies.quota import QuotaPolicy
from gatepost.errors import Problem
from gatepost.exchange import Added, Exchange, Limit, Response, problem
from gatepost.model import Allotment
from gatepost.notices import Facts
from gatepost.plans import Opened, widest_quota
from gatepost.policies.base import PolicyContext
from gatepost.policies.keys import key_by
from gatepost.policies.limit_fields import LimitFields
from gatepost.policies.over import Over
from gatepost.policies.quota_counts import QuotaCounts
from gatepost.stores.access import period_of


def build(use: QuotaPolicy, context: PolicyContext) -> Quota:
    return Quota(use, context)


class Numbers:
    """A quota with the numbers that hold for somebody."""

    __slots__ = ("_fields", "_name", "_since", "_until", "counts", "limit", "marks", "sentence")

    def __init__(self, config: QuotaPolicy, quota: Allotment, counts: QuotaCounts) -> None:
        limit, period = quota.limit, quota.period
        self.limit = limit
        self.counts = counts
        # Counts grow one by one, so none of these is passed over.
        self.marks = {max(1, ceil(limit * percent / 100)): percent for percent in sorted(config.thresholds)}
        of = f"{period:g} s" if isinstance(period, float) else f"a {period} (UTC)"
        self.sentence = f"The quota is {limit} requests in {of}."
        self._name = config.name
        self._since = self._until = 0.0

    def fields(self, now: float) -> LimitFields:
        """What is told, with the length of the present period."""
        if not self._since <= now < self._until:  # a look at the calendar for each would cost 0.3 µs
            period = self.counts.period
            self._since, self._until = now, period.ends(period.start(now))
            self._fields = LimitFields(self._name, self.limit, period.seconds(now))
        return self._fields


# What belongs to one exchange: whose it is, and how much is used, once it was counted or refused.
Note: TypeAlias = tuple[Numbers, str, "int | None"]


class Quota(Limit):
    name = "quota"

    def __init__(self, config: QuotaPolicy, context: PolicyContext) -> None:
        key = key_by(config.by)
        self._key = key.of
        self.needs_request_body = key.needs_body
        self._config = config
        self._book = context.quotas
        self._clock = context.clock
        self._over = Over(context, "quota.exceeded", config.name)
        self._note = f"quota:{config.name}"
        self._otherwise = Allotment(config.limit, period_of(config.period))
        # The limit is no part of it: one that is raised goes on where it was.
        where = "shared" if config.shared else f"route {context.route}"
        self._own = self._numbers(f"{where} quota {config.name} by {config.by}", self._otherwise)

    def check(self, x: Exchange, now: float) -> Response | None:
        wall = self._clock.now()
        numbers, key = self._whose(x)
        used = numbers.counts.used(key, wall)
        if used >= numbers.limit:
            return self._refusal(x, numbers, key, wall)
        x.note(self._note, (numbers, key, None))
        return None

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        numbers, key, _ = cast("Note", x.notes[self._note])
        wall = self._clock.now()
        self._count(x, numbers, key, numbers.counts.take(key, numbers.limit, wall), wall)

    def check_and_take(self, x: Exchange) -> Response | None:
        wall = self._clock.now()
        numbers, key = self._whose(x)
        used = numbers.counts.take(key, numbers.limit, wall)
        if used < 0:
            return self._refusal(x, numbers, key, wall)
        self._count(x, numbers, key, used, wall)
        return None

    def adds(self, x: Exchange) -> Added:
        wall = self._clock.now()
        note = cast("Note | None", x.notes.get(self._note)) if x.notes is not None else None
        if note is None:
            return self._own.fields(wall).of(None)
        numbers, key, used = note
        usage = None if used is None else (max(0, numbers.limit - used), numbers.counts.renews(key, wall))
        return numbers.fields(wall).of(usage)

    def _count(self, x: Exchange, numbers: Numbers, key: str, used: int, now: float) -> None:
        if x.notes is None:
            x.notes = {}
        x.notes[self._note] = (numbers, key, used)
        if used in numbers.marks and numbers.counts.first(key, numbers.marks[used], now):
            facts: Facts = {"percent": numbers.marks[used], "used": used, "quota": numbers.limit}
            self._over.tell(x, "quota.threshold", facts)

    def _refusal(self, x: Exchange, numbers: Numbers, key: str, now: float) -> Response:
        x.note(self._note, (numbers, key, numbers.limit))
        self._over.tell(x, more={"quota": numbers.limit})
        seconds = max(1, ceil(numbers.counts.renews(key, now)))
        detail = f"{numbers.sentence} Try again in {seconds} s."
        return problem(
            x.id, Problem(429, "quota-exceeded", "The quota is used up", detail), [(b"retry-after", b"%d" % seconds)]
        )

    def _whose(self, x: Exchange) -> tuple[Numbers, str]:
        consumer = x.consumer
        if consumer is None or not self._config.plan:
            return self._own, self._key(x)
        opened = None if consumer.grant is None else consumer.grant.opened(x.route.name, x.head.method)
        numbers = self._own if opened is None else self._of(opened)
        return numbers, f"consumer {consumer.id}"

    def _of(self, opened: Opened) -> Numbers:
        numbers = opened.memo.get(self)
        if numbers is None:
            quota = widest_quota(opened.plans, self._config.name, self._otherwise)
            # A plan's numbers are a consumer's, whatever the route.
            numbers = opened.memo[self] = self._numbers(f"plan quota {self._config.name}", quota)
        return cast("Numbers", numbers)

    def _numbers(self, scope: str, quota: Allotment) -> Numbers:
        return Numbers(self._config, quota, self._book.counts(scope, quota.period))
