"""What is seen of targets: who rests, who is ejected, what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.services import Ejection, HealthCheck, Service, ServiceTarget
from gatepost.notices import Facts
from gatepost.upstream import targets as module
from gatepost.upstream.health import Event, Health
from gatepost.upstream.targets import Target, Upstream


class Told:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.told.append((event_type, subject, facts))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def told() -> Told:
    return Told()


def upstream(told: Told, count: int, **settings: Any) -> Upstream:
    targets = tuple(ServiceTarget(url=f"http://192.0.2.{n}") for n in range(count))
    nothing: Any = None
    return Upstream("orders", Service(targets=targets, **settings), nothing, nothing, None, notices=told)


def chosen(of: Upstream, count: int = 12) -> set[str | None]:
    found = [of.choose() for _ in range(count)]
    return {target.name if target else None for target in found}


def bad(of: Upstream, target: Target, count: int) -> None:
    for _ in range(count):
        of.answered(target, bad=True)


def test_a_target_that_cannot_be_connected_to_rests_and_is_told_of_once(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 2, rest=10.0)
    first = one.targets[0]
    with log.recorded() as events:
        one.failed(first, "connection refused")
        one.failed(first, "connection refused")
        assert chosen(one) == {"http://192.0.2.1"}
        clock.advance(10)
        assert len(chosen(one)) == 2
        one.turn(first, Event.CONNECTED)
    facts = {"service": "orders", "target": "http://192.0.2.0"}
    assert told.told == [
        ("target.down", "target:orders http://192.0.2.0", {**facts, "reason": "connection refused"}),
        ("target.up", "target:orders http://192.0.2.0", facts),
    ]
    assert [event["event"] for event in events] == ["target_down", "target_up"]


def test_the_last_resort_is_the_target_whose_rest_ends_first_once_a_second(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 2, rest=10.0)
    one.failed(one.targets[1], "no")
    clock.advance(1)
    one.failed(one.targets[0], "no")
    assert one.choose() is one.targets[1]
    assert one.choose() is None
    clock.advance(1)
    assert one.choose() is one.targets[1]


def test_checks_outrank_connections_and_a_target_they_took_out_is_no_last_resort(
    clock: ManualClock, told: Told
) -> None:
    one = upstream(told, 1, health=HealthCheck())
    [target] = one.targets
    assert one.sole is None
    one.turn(target, Event.CHECKS_FAILED, "it answered 500")
    one.turn(target, Event.CONNECTED)
    one.turn(target, Event.GOOD_ANSWER)
    assert chosen(one) == {None}
    one.turn(target, Event.CHECKS_PASSED)
    assert chosen(one) == {target.name}


def test_bad_answers_in_a_row_eject_longer_each_time_and_a_good_one_ends_it(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 2, ejection=Ejection(failures=3, time=30.0, longest=100.0))
    first = one.targets[0]
    bad(one, first, 2)
    one.answered(first, bad=False)
    bad(one, first, 2)
    assert first.health is Health.UP
    rests = []
    for _ in range(4):
        bad(one, first, 3)
        assert first.health is Health.EJECTED
        rests.append(first.rests_until - clock.monotonic())
        clock.advance(rests[-1])
    assert rests == [30.0, 60.0, 100.0, 100.0]
    one.answered(first, bad=False)
    assert first.health is Health.UP
    clock.advance(201)
    bad(one, first, 3)
    assert first.rests_until - clock.monotonic() == 30.0, "it was good for long enough"


def test_a_share_of_bad_answers_ejects_once_there_are_enough(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 2, ejection=Ejection(failures=0, share=0.5, minimum=10))
    first = one.targets[0]
    for _ in range(4):
        one.answered(first, bad=False)
        one.answered(first, bad=True)
    assert first.health is Health.UP
    one.answered(first, bad=False)
    bad(one, first, 1)
    assert first.health is Health.EJECTED


def test_never_more_than_the_share_of_targets_is_ejected(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 5, ejection=Ejection(failures=1, most=0.5))
    for target in one.targets:
        bad(one, target, 3)
    assert [target.health for target in one.targets].count(Health.EJECTED) == 2
    clock.advance(30)
    bad(one, one.targets[4], 1)
    assert one.targets[4].health is Health.EJECTED, "those whose time is over make room"
    alone = upstream(told, 1, ejection=Ejection(failures=1, most=0.9))
    bad(alone, alone.targets[0], 9)
    assert alone.targets[0].health is Health.UP


def test_answers_that_were_on_their_way_neither_end_nor_lengthen_an_ejection(clock: ManualClock, told: Told) -> None:
    one = upstream(told, 2, ejection=Ejection(failures=1))
    first = one.targets[0]
    bad(one, first, 1)
    one.answered(first, bad=False)
    assert first.health is Health.EJECTED
    bad(one, first, 5)
    assert first.rests_until - clock.monotonic() == 30.0
