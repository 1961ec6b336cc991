from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policies.limiters import EXACT_UP_TO, FixedWindow, Gcra, Limiter, SlidingBuckets, SlidingLog
from gatepost.policies.states import States

SLIDING: list[Callable[[int, float], Limiter[Any]]] = [SlidingLog, SlidingBuckets]


def ask(limiter: Limiter[Any], now: float, key: str = "k") -> bool:
    if limiter.check(key, now):
        return False
    limiter.take(key, now)
    return True


# Steps from nothing to several windows, with what lies just beside a window's end.
steps = st.one_of(
    st.just(0.0), st.floats(0, 0.2), st.floats(0, 25), st.sampled_from([10.0, 9.999999999, 10.000000001, 10 / 128])
)


@pytest.mark.parametrize("make", SLIDING)
@given(limit=st.integers(1, 6), start=st.floats(0, 1e7), walk=st.lists(steps, max_size=60))
def test_in_no_window_are_more_than_limit_admitted(
    make: Callable[[int, float], Limiter[Any]], limit: int, start: float, walk: list[float]
) -> None:
    limiter = make(limit, 10.0)
    now, admitted = start, []
    for step in walk:
        now += step
        if ask(limiter, now):
            admitted.append(now)
    for first, beyond in zip(admitted, admitted[limit:], strict=False):
        assert beyond - first >= 10.0


@given(limit=st.integers(1, 6), walk=st.lists(steps, max_size=60))
def test_the_log_refuses_nobody_whose_window_has_room(limit: int, walk: list[float]) -> None:
    limiter = SlidingLog(limit, 10.0)
    now, admitted = 1000.0, []
    for step in walk:
        now += step
        room = sum(now - t < 10.0 for t in admitted) < limit
        assert ask(limiter, now) is room
        if room:
            admitted.append(now)


@given(limit=st.integers(1, 6), walk=st.lists(steps, max_size=60))
def test_buckets_are_late_by_less_than_a_hundredth_of_the_window(limit: int, walk: list[float]) -> None:
    limiter = SlidingBuckets(limit, 10.0)
    now, admitted = 1000.0, []
    for step in walk:
        now += step
        if ask(limiter, now):
            admitted.append(now)
        else:
            assert sum(now - t < 10.0 + 0.1 for t in admitted) >= limit


@given(limit=st.integers(1, 20), burst=st.integers(1, 6), walk=st.lists(steps, max_size=60))
def test_gcra_admits_the_burst_and_then_the_rate(limit: int, burst: int, walk: list[float]) -> None:
    limiter = Gcra(limit, 10.0, burst)
    now, admitted = 1000.0, []
    for step in walk:
        now += step
        if ask(limiter, now):
            admitted.append(now)
    for i, first in enumerate(admitted):
        for j in range(i, len(admitted)):
            assert j - i + 1 <= burst + (admitted[j] - first) * limit / 10.0 + 1e-6


@given(limit=st.integers(1, 6), walk=st.lists(steps, max_size=60))
def test_a_fixed_window_admits_limit_and_where_two_meet_at_most_twice_that(limit: int, walk: list[float]) -> None:
    limiter = FixedWindow(limit, 10.0)
    now, admitted = 1000.0, []
    for step in walk:
        now += step
        if ask(limiter, now):
            admitted.append(now)
    for first, beyond in zip(admitted, admitted[2 * limit :], strict=False):
        assert beyond - first >= 10.0


@pytest.mark.parametrize(
    "limiter", [SlidingLog(3, 10.0), SlidingBuckets(3, 10.0), Gcra(3, 10.0, 3), FixedWindow(3, 10.0)]
)
def test_who_waits_as_long_as_told_gets_in_and_not_before(limiter: Limiter[Any]) -> None:
    now = 1000.0
    for _ in range(3):
        assert ask(limiter, now)
    for _ in range(5):
        wait = limiter.check("k", now)
        assert 0 < wait <= 10.1
        assert limiter.check("k", now + wait * 0.98) > 0
        now += wait + 1e-6
        assert ask(limiter, now)
        while ask(limiter, now):
            pass


@pytest.mark.parametrize(
    "limiter", [SlidingLog(3, 10.0), SlidingBuckets(3, 10.0), Gcra(3, 10.0, 3), FixedWindow(3, 10.0)]
)
def test_checking_consumes_nothing(limiter: Limiter[Any]) -> None:
    for _ in range(10):
        assert limiter.check("k", 1000.0) == 0.0
    assert limiter.keys == 0


def test_what_is_left_and_when_there_is_more() -> None:
    log = SlidingLog(3, 10.0)
    assert log.take("k", 1000.0) == (2, 10.0)
    assert log.take("k", 1004.0) == (1, 6.0)
    assert log.take("k", 1005.0) == (0, 5.0)
    assert log.take("k", 1011.0) == (0, 3.0)

    buckets = SlidingBuckets(3, 128.0)
    remaining, reset = buckets.take("k", 1000.5)
    assert (remaining, round(reset, 1)) == (2, 128.5)

    gcra = Gcra(10, 10.0, 3)
    assert gcra.take("k", 1000.0) == (2, 1.0)
    assert gcra.take("k", 1000.0) == (1, 1.0)
    assert gcra.take("k", 1000.5) == (0, 0.5)


def test_keys_do_not_touch_each_other() -> None:
    limiter = SlidingLog(1, 10.0)
    assert ask(limiter, 1000.0, "a")
    assert ask(limiter, 1000.0, "b")
    assert not ask(limiter, 1000.0, "a")


def test_a_request_from_before_counts_as_the_latest() -> None:
    limiter = SlidingLog(1, 10.0)
    assert ask(limiter, 1000.0)
    assert ask(limiter, 1020.0)
    assert not ask(limiter, 1012.0), "its body was slow: it runs now, at 1020"
    assert ask(limiter, 1030.0)


@pytest.mark.parametrize("make", [*SLIDING, lambda limit, window: Gcra(limit, window, limit)])
def test_keys_that_have_run_out_are_forgotten(make: Callable[[int, float], Limiter[Any]]) -> None:
    limiter = make(5, 10.0)
    now, most = 1000.0, 0
    for i in range(20_000):  # a thousand keys count at any time
        now += 0.01
        ask(limiter, now, f"key-{i}")
        most = max(most, limiter.keys)
    assert most <= 2_100
    assert sum(map(len, limiter._shards)) == limiter.keys


def test_old_keys_are_forgotten_even_if_no_new_ones_come() -> None:
    limiter = SlidingLog(10**6, 10.0)
    for i in range(1_000):
        ask(limiter, 1000.0, f"key-{i}")
    for i in range(10_000):
        ask(limiter, 1020.0 + i / 1000, "the only one")
    assert limiter.keys == 1


def test_the_last_key_may_be_forgotten_and_come_back() -> None:
    limiter = Gcra(10, 1.0, 10)
    for i in range(100):
        assert ask(limiter, 1000.0 + i)
    assert limiter.keys == 1


def test_memory_is_bounded_and_nobody_gets_more_for_it() -> None:
    limiter = SlidingLog(2, 10.0, max_keys=640)  # ten a shard
    assert ask(limiter, 1000.0, "known")
    for i in range(30_000):
        ask(limiter, 1000.0, f"attacker-{i}")
    assert limiter.keys <= 640 + 1024
    assert ask(limiter, 1000.0, "known"), "who came before the flood is counted by itself"
    assert not ask(limiter, 1000.0, "known")
    assert not ask(limiter, 1000.0, "stranger"), "who came after it shares"


def test_a_key_that_shared_a_count_does_not_begin_anew_within_the_window() -> None:
    limiter = SlidingLog(3, 10.0, max_keys=128)  # two a shard
    keys = [f"key-{i}" for i in range(1_000)]
    same = [key for key in keys if hash(key) % 64 == hash(keys[0]) % 64]
    others = [key for key in keys if hash(key) % 64 != hash(keys[0]) % 64]
    first, second, late = same[:3]
    assert ask(limiter, 1000.0, first)
    assert ask(limiter, 1000.0, second)
    admitted = [now for now in (1005.0, 1008.0, 1009.0) if ask(limiter, now, late)]
    assert admitted == [1005.0, 1008.0, 1009.0], "alone in its shared count"
    for key in others[:10]:
        ask(limiter, 1011.0, key)  # the first two have run out and are forgotten: there is room
    assert ask(limiter, 1015.5, late), "1005 is out of the window"
    assert not ask(limiter, 1016.0, late), "1008 and 1009 are not"


def test_a_limiter_lives_as_long_as_somebody_holds_it() -> None:
    states = States()
    one = states.get("a", lambda: SlidingLog(1, 1.0))
    assert states.get("a", lambda: SlidingLog(1, 1.0)) is one
    assert states.get("b", lambda: SlidingLog(1, 1.0)) is not one
    one.take("k", 1000.0)
    del one
    gc.collect()
    assert states.get("a", lambda: SlidingLog(1, 1.0)).check("k", 1000.0) == 0.0


def test_exact_counting_goes_as_far_as_its_memory_is_small() -> None:
    log = SlidingLog(EXACT_UP_TO, 10.0)
    for _ in range(EXACT_UP_TO):
        log.take("k", 1000.0)
    (state,) = [state for shard in log._shards for state in shard.values()]
    assert len(state) * state.itemsize == 8 * EXACT_UP_TO


@pytest.mark.parametrize("make", [*SLIDING, lambda limit, window: Gcra(limit, window, limit)])
@given(limit=st.integers(1, 4), walk=st.lists(st.tuples(steps, st.sampled_from("abc")), max_size=40))
def test_one_look_says_what_two_say(
    make: Callable[[int, float], Limiter[Any]], limit: int, walk: list[tuple[float, str]]
) -> None:
    once, twice, now = make(limit, 10.0), make(limit, 10.0), 1000.0
    for step, key in walk:
        now += step
        wait = twice.check(key, now)
        assert once.check_and_take(key, now) == ((-1, wait) if wait else twice.take(key, now))


def test_one_look_is_no_way_around_a_shared_count() -> None:
    crowded = SlidingLog(1, 10.0, max_keys=64)
    names = [f"k{n}" for n in range(20_000)]
    admitted = [crowded.check_and_take(name, 1000.0)[0] >= 0 for name in names]
    assert 1_024 <= sum(admitted) <= 64 + 1_024 + 1, "newcomers share 1,024 counts"
    assert not any(crowded.check_and_take(name, 1001.0)[0] >= 0 for name in names)
