from __future__ import annotations

from gatepost.deliveries.lane import Lane
from gatepost.deliveries.turns import Turns


def lane(endpoint: int, keys: int, *, window: int = 16, sick: bool = False) -> Lane:
    made = Lane(endpoint, 16)
    for message in range(keys):
        made.add(message, 10_000)
    made.window = window
    made.sick = sick
    return made


def take(turns: Turns) -> tuple[int, bool] | None:
    """One turn, as the engine takes it: the endpoint that may send."""
    turn = turns.next()
    if turn is None:
        return None
    served, probe = turn
    served.take()
    turns.join(served)
    return served.endpoint, probe


def test_lanes_go_in_turn_whatever_their_backlog() -> None:
    turns = Turns(100)
    for made in (lane(1, 1000), lane(2, 2), lane(3, 1)):
        turns.join(made)
    assert [take(turns) for _ in range(6)] == [(e, False) for e in (1, 2, 3, 1, 2, 1)]


def test_a_lane_stands_in_line_once() -> None:
    turns = Turns(100)
    only = lane(1, 5)
    turns.join(only)
    turns.join(only)
    assert len(turns) == 1


def test_a_lane_with_a_full_window_waits_outside() -> None:
    turns = Turns(100)
    turns.join(lane(1, 5, window=2))
    assert [take(turns) for _ in range(3)] == [(1, False), (1, False), None]


def test_no_more_than_the_connections_are_under_way() -> None:
    turns = Turns(3)
    turns.join(lane(1, 10))
    assert [take(turns) is not None for _ in range(4)] == [True, True, True, False]
    turns.left(probe=False)
    assert take(turns) == (1, False)


def test_sick_lanes_get_half_of_the_connections_at_most() -> None:
    turns = Turns(8)
    for endpoint in range(20):
        turns.join(lane(endpoint, 3, window=1, sick=True))
    assert [take(turns) is not None for _ in range(5)] == [True] * 4 + [False]
    assert turns.probing == 4
    turns.join(lane(99, 10))
    assert [take(turns) for _ in range(5)] == [(99, False)] * 4 + [None]


def test_sick_lanes_get_their_turn_beside_busy_ones() -> None:
    turns = Turns(100)
    turns.join(lane(1, 50))
    turns.join(lane(2, 5, window=1, sick=True))
    served = [take(turns) for _ in range(3)]
    assert (2, True) in served


def test_a_lane_that_was_paused_while_it_stood_in_line_is_passed_over() -> None:
    turns = Turns(100)
    first, second = lane(1, 5), lane(2, 5)
    turns.join(first)
    turns.join(second)
    first.pause()
    assert take(turns) == (2, False)
    assert turns.in_flight == 1
