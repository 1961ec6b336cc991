"""The breaker is its table, and the table of the docs is the same."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.services import Breaker as Settings
from gatepost.upstream.breaker import TRANSITIONS, Breaker, State
from gatepost.upstream.health import Health
from gatepost.upstream.window import Window

PAGE = (Path(__file__).parents[3] / "docs" / "upstreams.md").read_text()


def breaker(**settings: float) -> tuple[Breaker, list[tuple[State, int, int]]]:
    seen: list[tuple[State, int, int]] = []
    whole = Settings(**{"minimum": 4, "share": 0.5, "open": 10.0, "probes": 2, **settings})  # type: ignore[arg-type]
    return Breaker(whole, lambda *change: seen.append(change)), seen


def tries(of: Breaker, now: float, *failed: bool) -> None:
    for each in failed:
        of.record(of.admit(now), now, failed=each)


def test_it_opens_at_its_share_and_not_before_its_minimum() -> None:
    one, seen = breaker()
    tries(one, 100.0, True, True, True)
    assert one.state is State.CLOSED
    tries(one, 100.0, False)
    assert one.state is State.CLOSED, "a success opens nothing"
    tries(one, 100.0, True)
    assert seen == [(State.OPEN, 5, 4)]
    assert one.admit(100.1) == 0
    assert one.wait(101.0) == 9.0


def test_old_failures_are_forgotten() -> None:
    one, _ = breaker(window=10.0)
    tries(one, 100.0, True, True, True)
    tries(one, 111.0, False, False, False, True)
    assert one.state is State.CLOSED


def test_half_open_lets_few_through_and_closes_after_enough_successes() -> None:
    one, seen = breaker()
    tries(one, 100.0, *[True] * 4)
    first, second = one.admit(110.0), one.admit(110.0)
    assert first
    assert second
    assert one.admit(110.0) == 0, "two probes at a time"
    assert one.wait(110.0) == 1.0
    one.record(first, 110.1, failed=False)
    third = one.admit(110.1)
    assert third
    one.record(second, 110.1, failed=False)
    assert [state for state, _, _ in seen] == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    one.record(third, 110.2, failed=True)  # of another era
    tries(one, 110.3, True, True, True)
    assert one.state is State.CLOSED


def test_one_failed_probe_opens_it_again_for_the_whole_time() -> None:
    one, _ = breaker()
    tries(one, 100.0, *[True] * 4)
    tries(one, 112.0, True)
    assert one.state is State.OPEN
    assert one.admit(121.9) == 0
    assert one.admit(122.0)


def test_a_probe_whose_client_left_makes_room_for_another() -> None:
    one, _ = breaker(probes=1)
    tries(one, 100.0, *[True] * 4)
    probe = one.admit(110.0)
    assert one.admit(110.0) == 0
    one.forget(probe)
    assert one.admit(110.0)


def test_what_began_before_it_opened_says_nothing() -> None:
    one, _ = breaker()
    late = one.admit(100.0)
    tries(one, 100.0, *[True] * 4)
    one.record(late, 105.0, failed=False)
    one.forget(late)
    assert one.state is State.OPEN
    assert one.admit(105.0) == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_a_window_counts_what_is_in_it_and_nothing_older(steps: list[tuple[float, bool]]) -> None:
    window = Window(10.0)
    now = 50.0
    all_of: list[tuple[float, bool]] = []
    for pause, marked in steps:
        now += pause
        window.add(now, 1, marked)
        all_of.append((now, marked))
    least = [each for each in all_of if each[0] > now - 9.0 + 1e-6]
    most = [each for each in all_of if each[0] > now - 10.0 - 1e-6]
    assert len(least) <= window.total <= len(most)
    assert sum(m for _, m in least) <= window.marked <= sum(m for _, m in most)


def test_the_docs_show_the_breakers_table() -> None:
    section = PAGE.partition("## The breaker")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z-]+): [^|]* \| ([^|]*) \| ([a-z-]+) \|", section, re.MULTILINE)
    documented = {(state, event.strip()): after for state, event, after in rows if event.strip() != ""}
    coded = {(state.value, event.value): after.value for (state, event), after in TRANSITIONS.items()}
    assert documented == coded


def test_the_docs_name_how_a_target_can_be() -> None:
    section = PAGE.partition("## How a target is")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z]+)[ :]", section, re.MULTILINE)
    assert [row for row in rows if row != "it"] == [health.value for health in Health]
