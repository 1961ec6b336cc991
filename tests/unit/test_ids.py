"""Identifiers: monotonic whatever the clock does, and the same order inside and outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import ids
from gatepost.clock import ManualClock
from gatepost.ids import EPOCH_MS, NODE_BITS, SEQUENCE_BITS, IdFactory, RequestIds

NOW = 1_800_000_000.0


def node_of(identifier: int) -> int:
    return (identifier >> SEQUENCE_BITS) & ((1 << NODE_BITS) - 1)


def test_an_identifier_says_when_it_was_made() -> None:
    clock = ManualClock(NOW + 0.125)
    identifier = IdFactory(clock).next()
    assert ids.seconds_of(identifier) == NOW + 0.125
    assert ids.first_at(NOW + 0.125) <= identifier < ids.first_at(NOW + 0.126)


@given(st.lists(st.floats(-10, 10), max_size=50), st.integers(0, 1023))
def test_they_grow_whatever_the_clock_does(steps: list[float], node: int) -> None:
    clock = ManualClock(NOW)
    factory = IdFactory(clock, node)
    made = []
    for step in steps:
        clock.advance(step)
        made += [factory.next(), factory.next()]
    assert made == sorted(set(made))
    assert all(node_of(identifier) == node for identifier in made)


@pytest.mark.parametrize("node", [0, 1, 1023])
def test_a_full_sequence_borrows_the_next_millisecond_and_never_another_node(node: int) -> None:
    factory = IdFactory(ManualClock(NOW), node)
    made = [factory.next() for _ in range(3 << SEQUENCE_BITS)]
    assert made == sorted(set(made))
    assert {node_of(identifier) for identifier in made} == {node}
    assert ids.seconds_of(made[-1]) == pytest.approx(NOW + 0.002)


@pytest.mark.parametrize("node", [0, 5])
def test_they_resume_above_what_is_stored(node: int) -> None:
    ahead = IdFactory(ManualClock(NOW + 3600), node=7).next()  # of another node, an hour ahead
    factory = IdFactory(ManualClock(NOW), node, after=ahead)
    made = [factory.next() for _ in range(5000)]
    assert made[0] > ahead
    assert made == sorted(set(made))
    assert {node_of(identifier) for identifier in made} == {node}


@pytest.mark.parametrize("node", [-1, 1024])
def test_a_node_that_does_not_fit_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match="node"):
        IdFactory(ManualClock(NOW), node)


def test_they_fit_63_bits_for_the_next_sixty_years() -> None:
    assert IdFactory(ManualClock(EPOCH_MS / 1000 + 60 * 365.25 * 86_400), node=1023).next() < 1 << 63


@given(st.integers(0, (1 << 63) - 1))
def test_outside_and_back(identifier: int) -> None:
    text = ids.encode("msg", identifier)
    assert len(text) == len("msg_") + 11
    assert ids.decode("msg", text) == identifier


@given(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
def test_texts_sort_as_the_integers(a: int, b: int) -> None:
    assert (ids.encode("ep", a) < ids.encode("ep", b)) == (a < b)


def test_how_it_reads() -> None:
    assert ids.encode("msg", 7) == "msg_00000000007"
    assert ids.encode("app", 61) == "app_0000000000z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg",
        "msg_",
        "msg_0000000000",  # too short
        "msg_000000000070",  # too long
        "app_00000000007",  # another type
        "msg-00000000007",
        "msg_0000000000!",
        "msg_0000000000\u0664",  # a digit to str.isdigit
        "MSG_00000000007",
        "msg_zzzzzzzzzzz",  # more than 63 bits
    ],
)
def test_what_is_no_identifier_is_none(text: str) -> None:
    assert ids.decode("msg", text) is None


@given(st.text(max_size=20))
def test_decoding_anything_is_safe(text: str) -> None:
    decoded = ids.decode("msg", text)
    assert decoded is None or ids.encode("msg", decoded) == text


def test_request_ids_differ_within_a_process_and_between_two() -> None:
    one, another = RequestIds(), RequestIds()
    first, second = one.next(), one.next()
    assert first != second
    assert first.split(b"-")[0] == second.split(b"-")[0] != another.next().split(b"-")[0]
    assert len(first) == 25
