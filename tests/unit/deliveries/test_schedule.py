from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.schema import Deliveries
from gatepost.deliveries.schedule import next_due

SCHEDULE = Deliveries().schedule
MINUTE, HOUR = 60, 3600


def pause(tries: int, dice: float = 0.5, jitter: float = 0.2) -> float | None:
    due = next_due(SCHEDULE, jitter, tries, 1000.0, lambda: dice)
    return None if due is None else round(due - 1000.0, 6)


def test_the_default_schedule_makes_ten_tries_in_three_and_a_half_days() -> None:
    pauses = [pause(tries) for tries in range(1, 11)]
    assert pauses == [
        5,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        5 * HOUR,
        10 * HOUR,
        14 * HOUR,
        20 * HOUR,
        24 * HOUR,
        None,
    ]


def test_jitter_is_a_fifth_either_way() -> None:
    assert pause(1, 0.0) == 4.0
    assert pause(1, 0.999999) == 5.999998
    assert pause(1, 0.0, jitter=0.0) == 5.0


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_a_retry_is_never_due_before_now(tries: int, dice: float) -> None:
    assert (pause(tries, dice, jitter=1.0) or 0.0) >= 0.0


def test_an_empty_schedule_tries_once() -> None:
    assert next_due((), 0.2, 1, 1000.0, lambda: 0.5) is None
