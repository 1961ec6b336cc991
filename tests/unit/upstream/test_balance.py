"""Whose turn it is, without a network: shares, disruption, bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.exchanges import make_exchange

from gatepost.exchange import Exchange
from gatepost.upstream.balance import HashRing, LeastRequests, RoundRobin
from gatepost.upstream.targets import Target


def targets(*weights: int) -> list[Target]:
    return [Target(f"http://192.0.2.{n}", 1, None, weight=weight) for n, weight in enumerate(weights)]


def test_turns_by_weight_are_smooth() -> None:
    some = targets(5, 1, 1)
    turns = RoundRobin()
    turns.members(some)
    got = [some.index(turns.choose(some, None)) for _ in range(7)]
    assert got == [0, 0, 1, 0, 2, 0, 0], "as nginx does it: five of seven, and never all five in a row"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_over_one_round_each_target_gets_its_weight_exactly(weights: list[int]) -> None:
    some = targets(*weights)
    turns = RoundRobin()
    turns.members(some)
    got = Counter(some.index(turns.choose(some, None)) for _ in range(sum(weights)))
    if len(set(weights)) > 1:
        assert [got[n] for n in range(len(some))] == weights
    else:
        assert set(got.values()) == {weights[0]}


def test_fewest_requests_for_the_weight_and_turns_where_as_few() -> None:
    some = targets(1, 1, 2)
    least = LeastRequests()
    got = []
    for _ in range(8):
        target = least.choose(some, None)
        target.open += 1
        got.append(some.index(target))
    assert Counter(got) == {2: 4, 0: 2, 1: 2}
    even = targets(1, 1, 1)
    assert Counter(even.index(least.choose(even, None)) for _ in range(9)) == {0: 3, 1: 3, 2: 3}


def user(x: Exchange) -> str:
    return x.path


def ring(some: Sequence[Target], bound: float = 0.0) -> HashRing:
    made = HashRing(user, bound)
    made.members(some)
    return made


KEYS = [make_exchange(target=f"/{n}")[0] for n in range(4000)]


def test_a_ring_shares_by_weight_and_says_the_same_everywhere() -> None:
    some = targets(1, 1, 2)
    made = ring(some)
    got = Counter(some.index(made.choose(some, x)) for x in KEYS)
    for n, part in enumerate((0.25, 0.25, 0.5)):
        assert got[n] / len(KEYS) == pytest.approx(part, rel=0.25)
    assert [some.index(made.choose(some, x)) for x in KEYS[:8]] == FIRST


# Nodes of a cluster, and releases, must agree: a change here moves every key of every user once.
FIRST = [2, 1, 2, 2, 2, 2, 1, 2]


def test_a_target_that_leaves_takes_only_its_own_keys() -> None:
    some = targets(1, 1, 1, 1, 1)
    made = ring(some)
    before = [made.choose(some, x) for x in KEYS]
    left = some[:2] + some[3:]
    # Down for a while: the ring stays, it is only passed over.
    assert all(was is now for was, now in zip(before, (made.choose(left, x) for x in KEYS), strict=True) if was in left)
    assert {some.index(made.choose(left, x)) for x in KEYS} == {0, 1, 3, 4}
    # Gone for good: a ring without it says the same.
    smaller = ring(left)
    after = [smaller.choose(left, x) for x in KEYS]
    assert all(was is now for was, now in zip(before, after, strict=True) if was in left)
    heirs = Counter(left.index(now) for was, now in zip(before, after, strict=True) if was not in left)
    assert len(heirs) == 4, "its keys are spread over all others"


def test_a_bound_passes_over_a_target_that_one_key_would_drown() -> None:
    some = targets(1, 1, 1)
    bounded = ring(some, bound=1.25)
    hot = KEYS[0]
    for _ in range(30):
        bounded.choose(some, hot).open += 1
    assert sorted(target.open for target in some)[-1] <= 13, "1.25 × (30 / 3), and the one that is placed"
    first = ring(some).choose(some, hot)
    assert first.open == max(target.open for target in some)
