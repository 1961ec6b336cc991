from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatepost.deliveries.agenda import Agenda


def test_an_endpoint_has_one_time_the_earliest() -> None:
    agenda = Agenda()
    agenda.note(1, 30.0)
    agenda.note(1, 10.0)
    agenda.note(1, 20.0)
    assert len(agenda) == 1
    assert agenda.earliest() == 10.0
    assert agenda.take(9.9) == []
    assert agenda.take(40.0) == [1]
    assert agenda.take(40.0) == []
    assert agenda.earliest() is None


def test_the_earliest_comes_first() -> None:
    agenda = Agenda()
    agenda.load({1: 3.0, 2: 1.0, 3: 2.0})
    agenda.note(4, 1.5)
    assert agenda.take(2.5) == [2, 4, 3]
    assert agenda.earliest() == 3.0


def test_loading_keeps_what_was_noted_before_if_it_is_earlier() -> None:
    agenda = Agenda()
    agenda.note(1, 5.0)
    agenda.note(2, 50.0)
    agenda.load({1: 9.0, 2: 40.0})
    assert agenda.take(5.0) == [1]
    assert agenda.take(40.0) == [2]


def test_a_forgotten_endpoint_does_not_come() -> None:
    agenda = Agenda()
    agenda.note(1, 1.0)
    agenda.note(2, 2.0)
    agenda.forget(1)
    assert agenda.earliest() == 2.0
    assert agenda.take(9.0) == [2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50))), st.integers(0, 50))
def test_it_agrees_with_a_plain_dictionary(notes: list[tuple[int, int]], now: int) -> None:
    agenda = Agenda()
    plain: dict[int, int] = {}
    for endpoint, due in notes:
        agenda.note(endpoint, due)
        plain[endpoint] = min(due, plain.get(endpoint, due))
    assert agenda.earliest() == min(plain.values(), default=None)
    assert sorted(agenda.take(now)) == sorted(e for e, due in plain.items() if due <= now)
    assert len(agenda) == sum(due > now for due in plain.values())
