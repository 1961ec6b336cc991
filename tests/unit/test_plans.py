from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gatepost.exchange import Consumer
from gatepost.model import Allotment, Plan, Rate
from gatepost.plans import Grant, opening, widest_concurrency, widest_quota, widest_rate

ROUTES, METHODS, NAMES = ["orders", "reports"], ["GET", "POST"], ["default", "burst"]

rates = st.builds(Rate, st.integers(1, 100), st.sampled_from([1.0, 60.0, 3600.0]))
quotas = st.builds(Allotment, st.integers(1, 100), st.sampled_from(["day", "month", 3600.0, 86_400.0]))


def some(names: list[str]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(names))


plans = st.builds(
    Plan,
    name=st.sampled_from(["free", "gold", "trial"]),
    routes=some(ROUTES),
    methods=some(METHODS),
    rates=st.dictionaries(st.sampled_from(NAMES), rates),
    quotas=st.dictionaries(st.sampled_from(NAMES), quotas),
    concurrency=st.none() | st.integers(1, 20),
)
lists = st.lists(plans, max_size=4)


@given(lists)
def test_what_no_plan_opens_alone_they_do_not_open_together(several: list[Plan]) -> None:
    for route in ROUTES:
        for method in METHODS:
            assert bool(opening(several, route, method)) is any(opening([plan], route, method) for plan in several)


@given(lists, plans)
def test_one_plan_more_takes_nothing_away(several: list[Plan], more: Plan) -> None:
    rate, quota = Rate(10, 60.0), Allotment(50, "day")
    for route in ROUTES:
        for method in METHODS:
            before, after = opening(several, route, method), opening([*several, more], route, method)
            assert set(map(id, before)) <= set(map(id, after))
            if not before:
                continue
            for name in NAMES:
                old, new = widest_rate(before, name, rate), widest_rate(after, name, rate)
                assert new.limit / new.window >= old.limit / old.window
                wide, wider = widest_quota(before, name, quota), widest_quota(after, name, quota)
                if wide.period == wider.period:
                    assert wider.limit >= wide.limit
            assert widest_concurrency(after, 5) >= widest_concurrency(before, 5)


@given(lists, st.randoms())
def test_the_order_of_plans_does_not_matter(several: list[Plan], chance: random.Random) -> None:
    shuffled = several[:]
    chance.shuffle(shuffled)
    for name in NAMES:
        rate, quota = Rate(10, 60.0), Allotment(50, "day")
        assert widest_rate(several, name, rate) == widest_rate(shuffled, name, rate)
        assert widest_quota(several, name, quota) == widest_quota(shuffled, name, quota)


def test_the_larger_rate_wins_whatever_its_window() -> None:
    slow = Plan("a", rates={"default": Rate(1000, 3600.0)})
    fast = Plan("b", rates={"default": Rate(10, 1.0)})
    assert widest_rate([slow, fast], "default", Rate(1, 60.0)) == Rate(10, 1.0)


def test_of_equal_rates_the_larger_limit_wins() -> None:
    small, large = Rate(1, 1.0), Rate(60, 60.0)
    of = [Plan("a", rates={"default": small}), Plan("b", rates={"default": large})]
    assert widest_rate(of, "default", Rate(1, 3600.0)) == large


def test_a_silent_plan_leaves_a_limit_at_the_policy_s_own_number() -> None:
    silent, low = Plan("a"), Plan("b", rates={"default": Rate(5, 60.0)}, concurrency=2)
    assert widest_rate([silent], "default", Rate(10, 60.0)) == Rate(10, 60.0)
    assert widest_rate([silent, low], "default", Rate(10, 60.0)) == Rate(10, 60.0)
    assert widest_rate([low], "default", Rate(10, 60.0)) == Rate(5, 60.0)
    assert widest_concurrency([low], 10) == 2


def test_a_plan_of_other_routes_has_no_say() -> None:
    reports = Plan("a", routes=frozenset({"reports"}), rates={"default": Rate(1000, 1.0)})
    orders = Plan("b", routes=frozenset({"orders"}), rates={"default": Rate(5, 60.0)})
    assert widest_rate(opening([reports, orders], "orders", "GET"), "default", Rate(1, 60.0)) == Rate(5, 60.0)


def test_head_follows_get() -> None:
    plan = Plan("a", methods=frozenset({"GET"}))
    assert opening([plan], "orders", "HEAD")
    assert not opening([plan], "orders", "POST")


def test_whose_only_plan_is_gone_may_use_nothing() -> None:
    gone = Consumer("a", grant=Grant(("gone",), {}))
    assert not gone.may_use("orders", b"GET")
    assert Consumer("a").may_use("orders", b"GET")


def test_routes_of_the_consumer_and_of_its_plans_must_both_agree() -> None:
    known = {"p": Plan("p", routes=frozenset({"orders"}))}
    consumer = Consumer("a", frozenset({"orders", "reports"}), grant=Grant(("p",), known))
    assert consumer.may_use("orders", b"GET")
    assert not consumer.may_use("reports", b"GET")
    assert not Consumer("a", frozenset({"reports"}), grant=Grant(("p",), known)).may_use("orders", b"GET")


def test_methods_nobody_knows_do_not_fill_the_memory() -> None:
    grant = Grant(("p",), {"p": Plan("p")})
    first = grant.opened("orders", b"GET")
    assert grant.opened("orders", b"GET") is first
    for number in range(20_000):
        assert grant.opened("orders", b"M%d" % number) is not None
    assert len(grant._opened) <= 16_384
