from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatepost.config import units
from gatepost.config.loading import load_text
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.config.policies.queue import QueuePolicy
from gatepost.config.policies.quota import QuotaPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.errors import ConfigError
from gatepost.policies import check_together


@pytest.mark.parametrize("text", ["day", "month", "1m", "30d", "1h"])
def test_periods(text: str) -> None:
    assert units.period(text) == text


@pytest.mark.parametrize("text", ["week", "Day", "30s", "0", "", "1"])
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        units.period(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("consumers: {c: {plans: [p]}}", "1 consumers.c.plans[0]: there is no plan `p`"),
        ("plans: {p: {routes: [r]}}", "1 plans.p.routes[0]: there is no route `r`"),
        (
            "plans: {p: {rate_limits: {x: {limit: 1, window: 0}}}}",
            "1 plans.p.rate_limits.x: `window` must be longer than 0",
        ),
        ("plans: {p: {quotas: {x: {limit: 1, period: week}}}}", "1 plans.p.quotas.x.period: must be a duration"),
        ("plans: {p: {concurrency: 0}}", "1 plans.p.concurrency: must be at least 1"),
        ("plans: {p: {methods: [get]}}", "1 plans.p.methods[0]: "),
    ],
)
def test_a_fault_of_a_plan_is_told_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_text(text)
    (issue,) = told.value.issues
    assert f"{issue.line} {issue.path}: {issue.reason}".startswith(fault)


@pytest.mark.parametrize(
    ("uses", "reason"),
    [
        (
            [
                {"rate_limit": RateLimitPolicy(limit=1, window=1.0, name="a")},
                {"quota": QuotaPolicy(limit=1, period="day", name="a")},
            ],
            "are named a",
        ),
        (
            [{"concurrency": ConcurrencyPolicy(limit=1)}, {"concurrency": ConcurrencyPolicy(limit=2)}],
            "are named default",
        ),
        ([{"queue": QueuePolicy(limit=1)}, {"queue": QueuePolicy(limit=2)}], "one queue only"),
    ],
)
def test_what_one_route_s_limits_must_keep_together(uses: list[dict[str, Any]], reason: str) -> None:
    check_together([PolicyUse(**use) for use in uses[:1]])
    with pytest.raises(ValueError, match=reason):
        check_together([PolicyUse(**use) for use in uses])


@pytest.mark.parametrize("name", ["rate_limit", "quota", "concurrency", "queue"])
def test_who_counts_by_consumer_must_ask_who_it_is(name: str) -> None:
    """Otherwise everybody would share one count."""
    more = {"rate_limit": {"window": 60.0}, "quota": {"period": "day"}}.get(name, {})
    use = msgspec.convert({name: {"limit": 1, "by": "consumer.id", **more}}, PolicyUse)
    with pytest.raises(ValueError, match="no policy of this route says who the consumer is"):
        check_together([use])
    check_together([use, PolicyUse(api_key=ApiKeyPolicy())])


def test_who_may_not_wait_at_all_needs_no_queue() -> None:
    with pytest.raises(ValueError, match="timeout"):
        QueuePolicy(limit=1, timeout=0.0)
