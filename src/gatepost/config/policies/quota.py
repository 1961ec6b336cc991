"""`quota`: at most so many requests in a day, a month or a rolling period, over restarts too."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from gatepost.config.values import Count, Expr, Name, Period, Strict

Percent: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=100)]


class QuotaPolicy(Strict, frozen=True):
    limit: Count
    period: Period
    by: Expr = "client.address"
    plan: bool = False  # identified callers count by consumer, with the numbers of their plans where these have some
    shared: bool = False  # routes that use a quota of this name count together
    name: Name = "quota"  # as it stands in RateLimit-Policy, and in plans
    thresholds: tuple[Percent, ...] = (80, 100)  # percent of the limit, told of once each in a period
