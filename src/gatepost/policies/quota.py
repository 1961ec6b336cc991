"""`quota`: at most so many requests in a day, a month or a rolling period, over restarts too.

Answers say what is left (`limit_fields.py`); a refusal is a 429 with `Retry-After`. Notices tell when a share of the
quota is used up (`quota.threshold`, once a period) and when somebody is refused (`quota.exceeded`). How it is counted
stands in `periods.py`, how it is kept in `quota_counts.py`.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple, cast

from gatepost.config.policies.quota import QuotaPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Limit, Response, problem
from gatepost.model import Allotment
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

    __slots__ = ("counts", "limit", "marks", "sentence")

    def __init__(self, limit: int, period: str | float, thresholds: tuple[int, ...], counts: QuotaCounts) -> None:
        self.limit = limit
        self.counts = counts
        # Counts grow one by one, so none of these is passed over.
        self.marks = {max(1, ceil(limit * percent / 100)): percent for percent in sorted(thresholds)}
        of = f"{period:g} s" if isinstance(period, float) else f"a {period} (UTC)"
        self.sentence = f"The quota is {limit} requests in {of}."


class Note(NamedTuple):
    """What belongs to one exchange. `used` is None until it is counted, or refused."""

    numbers: Numbers
    key: str
    used: int | None
    renews: float


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
        usage = numbers.counts.usage(key, wall)
        if usage.used < numbers.limit:
            x.note(self._note, Note(numbers, key, None, usage.renews))
            return None
        x.note(self._note, Note(numbers, key, usage.used, usage.renews))
        self._over.tell(x, more={"quota": numbers.limit})
        seconds = max(1, ceil(usage.renews))
        detail = f"{numbers.sentence} Try again in {seconds} s."
        return problem(
            x.id, Problem(429, "quota-exceeded", "The quota is used up", detail), [(b"retry-after", b"%d" % seconds)]
        )

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        note = cast("Note", x.notes[self._note])
        numbers = note.numbers
        usage = numbers.counts.take(note.key, self._clock.now())
        x.notes[self._note] = Note(numbers, note.key, usage.used, usage.renews)
        percent = numbers.marks.get(usage.used)
        if percent is not None and numbers.counts.first(note.key, percent, self._clock.now()):
            self._tell_threshold(x, numbers, percent, usage.used)

    def on_response(self, x: Exchange) -> None:
        note = cast("Note | None", x.notes.get(self._note)) if x.notes is not None else None
        numbers = self._own if note is None else note.numbers
        fields = LimitFields(self._config.name, numbers.limit, numbers.counts.period.seconds(self._clock.now()))
        if note is None or note.used is None:
            fields.add(x, None)
        else:
            fields.add(x, (max(0, numbers.limit - note.used), note.renews))

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
        counts = self._book.counts(scope, quota.period)
        return Numbers(quota.limit, quota.period, self._config.thresholds, counts)

    def _tell_threshold(self, x: Exchange, numbers: Numbers, percent: int, used: int) -> None:
        self._over.tell(x, "quota.threshold", {"percent": percent, "used": used, "quota": numbers.limit})
