"""What is tried again, how soon, and how often in all."""

from __future__ import annotations

import pytest

from gatepost.config.services import Retries
from gatepost.upstream.retries import Budget, Rule


@pytest.mark.parametrize(
    ("on", "method", "statuses", "slugs"),
    [
        (("gateway-error",), b"GET", {502, 503, 504}, set()),
        (("gateway-error",), b"POST", set(), set()),
        (("500", "429"), b"PUT", {500, 429}, set()),
        (("connect-failure",), b"POST", set(), {"upstream-unreachable", "upstream-connect-timeout", "upstream-tls"}),
        (("reset",), b"GET", set(), {"upstream-closed"}),
        (("reset",), b"POST", set(), set()),
        (("timeout",), b"DELETE", set(), {"upstream-timeout"}),
    ],
)
def test_only_what_was_chosen_is_tried_again(
    on: tuple[str, ...], method: bytes, statuses: set[int], slugs: set[str]
) -> None:
    rule = Rule(Retries(on=on))  # type: ignore[arg-type]
    tried = {status for status in range(200, 600) if rule.repeats_status(status, method)}
    assert tried == statuses
    known = ["upstream-unreachable", "upstream-connect-timeout", "upstream-tls", "upstream-closed", "upstream-timeout"]
    assert {
        slug for slug in (*known, "upstream-invalid", "body-too-large") if rule.repeats_failure(slug, method)
    } == slugs


def test_pauses_double_up_to_their_bound_and_are_random() -> None:
    rule = Rule(Retries(backoff=0.1, longest_backoff=0.5))
    assert [rule.pause(n, 1.0) for n in range(4)] == [0.1, 0.2, 0.4, 0.5]
    assert rule.pause(3, 0.0) == 0.0
    assert rule.pause(10_000 % 64, 0.5) == 0.25


def test_the_budget_is_a_share_of_the_requests_of_ten_seconds() -> None:
    budget = Budget(0.2, 0)
    for _ in range(50):
        budget.request(100.0)
    assert [budget.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert not budget.take(105.0)
    assert not budget.take(111.0), "the requests are forgotten with what was tried again"


def test_a_quiet_service_has_its_least_budget() -> None:
    budget = Budget(0.0, 1)
    assert [budget.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert budget.take(111.0)
