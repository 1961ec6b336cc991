from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatepost.deliveries.lane import FIRST_WINDOW, Lane, split_due
from gatepost.lifecycle import State
from gatepost.model import Delivery

ROOM = 10


def row(message: int, due: float = 0.0, tries: int = 0) -> Delivery:
    return Delivery(message, 1, State.PENDING, tries, due)


def drain(lane: Lane) -> list[int]:
    """Send everything, successfully, and commit it."""
    sent = []
    while lane.ready:
        message, _ = lane.take()
        lane.finished(ok=True)
        lane.released(message)
        sent.append(message)
    return sent


def test_what_is_accepted_goes_out_in_order() -> None:
    lane = Lane(1, 16)
    assert [lane.add(m, ROOM) for m in (1, 2, 3)] == [True] * 3
    assert drain(lane) == [1, 2, 3]
    assert lane.idle


def test_a_full_lane_spills_and_stays_spilled_until_it_was_read() -> None:
    lane = Lane(1, 16)
    assert [lane.add(m, ROOM) for m in range(12)] == [True] * 10 + [False] * 2
    assert not lane.wants_read(ROOM)
    assert drain(lane) == list(range(10))
    # There is room again; but 10 and 11 are older than 12, and on disk.
    assert not lane.add(12, ROOM)
    assert lane.wants_read(ROOM)
    assert lane.read_begins() == frozenset()
    lane.read_done([row(10), row(11), row(12)], whole=True)
    assert lane.add(13, ROOM)
    assert drain(lane) == [10, 11, 12, 13]
    assert lane.idle


def test_a_read_that_found_more_than_its_limit_leaves_the_lane_spilled() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    lane.read_done([row(1), row(2)], whole=False)
    assert lane.spilled
    assert not lane.add(3, ROOM)
    drain(lane)
    assert lane.wants_read(ROOM)


def test_a_read_leaves_out_what_memory_holds() -> None:
    lane = Lane(1, 16)
    lane.add(1, ROOM)
    lane.add(2, ROOM)
    lane.take()
    lane.overdue = True
    assert lane.read_begins() == {1, 2}


def test_what_is_accepted_during_a_read_is_not_doubled_by_it() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    lane.add(5, ROOM)
    lane.read_done([row(5)], whole=True)
    assert drain(lane) == [5]


def test_what_was_delivered_during_a_read_is_not_brought_back_by_it() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    lane.add(5, ROOM)
    assert drain(lane) == [5]
    lane.read_done([row(5)], whole=True)
    assert drain(lane) == []


def test_what_spills_during_a_read_is_read_later() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    for message in range(ROOM + 1):
        lane.add(message, ROOM)
    lane.read_done([], whole=True)
    assert lane.spilled
    drain(lane)
    assert lane.wants_read(ROOM)


def test_an_accepted_message_that_a_read_brought_first_is_held_once() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    lane.read_done([row(7)], whole=True)
    assert not lane.add(7, ROOM)
    assert not lane.spilled
    assert drain(lane) == [7]


def test_what_waits_for_its_commit_takes_room_as_well() -> None:
    lane = Lane(1, 16)
    for message in range(ROOM + 1):
        lane.add(message, ROOM)
    while lane.ready:
        lane.take()
        lane.finished(ok=True)
    assert not lane.wants_read(ROOM)
    for message in range(ROOM // 2):
        lane.released(message)
    assert lane.wants_read(ROOM)


def test_a_read_that_failed_is_made_again() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    assert not lane.wants_read(ROOM)
    lane.read_failed()
    assert lane.wants_read(ROOM)


def test_the_window_opens_with_success_and_closes_with_failure() -> None:
    lane = Lane(1, 16)
    for message in range(100):
        lane.add(message, 1000)
    for _ in range(FIRST_WINDOW):
        assert lane.sendable
        lane.take()
    assert not lane.sendable
    for _ in range(50):
        lane.finished(ok=True)
        lane.take()
    assert lane.window == 16
    windows = []
    for _ in range(5):
        lane.finished(ok=False)
        windows.append(lane.window)
    assert windows == [8, 4, 2, 1, 1]
    assert lane.sick
    lane.finished(ok=True)
    assert (lane.sick, lane.window) == (False, 2)


def test_a_window_is_never_wider_than_the_concurrency() -> None:
    lane = Lane(1, 1)
    lane.add(1, ROOM)
    lane.add(2, ROOM)
    lane.take()
    assert not lane.sendable
    lane.finished(ok=True)
    assert lane.window == 1
    assert not lane.sick


def test_a_sick_lane_is_not_forgotten() -> None:
    lane = Lane(1, 1)
    lane.add(1, ROOM)
    lane.take()
    lane.finished(ok=False)
    lane.released(1)
    assert not lane.idle


def test_a_paused_lane_gives_back_what_is_ready_and_keeps_what_is_in_flight() -> None:
    lane = Lane(1, 16)
    lane.add(1, ROOM)
    lane.add(2, ROOM)
    lane.take()
    lane.pause()
    assert not lane.sendable
    assert lane.held == {1}
    assert not lane.add(3, ROOM)
    assert not lane.wants_read(ROOM)
    lane.finished(ok=True)
    lane.released(1)
    lane.resume()
    assert lane.wants_read(ROOM)
    lane.read_begins()
    lane.read_done([row(2), row(3)], whole=True)
    assert drain(lane) == [2, 3]


def test_a_read_that_ends_after_the_pause_brings_nothing() -> None:
    lane = Lane(1, 16)
    lane.overdue = True
    lane.read_begins()
    lane.pause()
    assert lane.read_done([row(1)], whole=True) == 0
    lane.resume()
    assert lane.wants_read(ROOM)


def test_a_manual_resend_goes_first_and_is_not_doubled() -> None:
    lane = Lane(1, 16)
    lane.add(1, ROOM)
    assert lane.add_manual(9, 3)
    assert not lane.add_manual(9, 3)
    assert not lane.add_manual(1, 0)
    assert lane.take() == (9, 3)
    assert lane.manual == {9}
    lane.finished(ok=True)
    lane.released(9)
    assert lane.manual == set()


def test_a_read_is_split_at_now() -> None:
    rows = [row(1, 5.0), row(2, 10.0), row(3, 10.1)]
    assert split_due(rows, 10.0, 50) == (rows[:2], True, 10.1)
    assert split_due(rows[:2], 10.0, 50) == (rows[:2], True, None)
    assert split_due(rows[:2], 10.0, 2) == (rows[:2], False, None)
    assert split_due([], 10.0, 2) == ([], True, None)


class LaneAgainstDisk(RuleBasedStateMachine):
    """Random life: every accepted message is delivered once, and what is delivered was accepted.

    `disk` is what the store would say; a read takes its snapshot at any moment while it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane(1, 4)
        self.disk: set[int] = set()  # pending
        self.announced = 0
        self.accepted = 0
        self.in_flight: list[int] = []
        self.committing: list[int] = []
        self.skip: frozenset[int] | None = None
        self.snapshot: list[int] | None = None
        self.sent: list[int] = []

    @rule()
    def commit(self) -> None:
        self.disk.add(self.accepted)
        self.accepted += 1

    @precondition(lambda self: self.announced < self.accepted)
    @rule()
    def announce(self) -> None:
        self.lane.add(self.announced, 5)
        self.announced += 1

    @precondition(lambda self: self.lane.sendable)
    @rule()
    def send(self) -> None:
        message, _ = self.lane.take()
        self.in_flight.append(message)
        self.sent.append(message)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(message)
        self.lane.finished(ok=True)
        self.committing.append(message)

    # A completion comes after the announcement of its message: both go through one writer, in order.
    @precondition(lambda self: any(m < self.announced for m in self.committing))
    @rule()
    def commit_completion(self) -> None:
        message = min(self.committing)
        self.committing.remove(message)
        self.disk.discard(message)
        self.lane.released(message)

    @precondition(lambda self: self.lane.wants_read(5) and self.skip is None)
    @rule()
    def begin_read(self) -> None:
        self.skip = self.lane.read_begins()

    @precondition(lambda self: self.skip is not None and self.snapshot is None)
    @rule()
    def take_snapshot(self) -> None:
        assert self.skip is not None
        self.snapshot = sorted(self.disk - self.skip)

    @precondition(lambda self: self.snapshot is not None)
    @rule(limit=st.integers(1, 4))
    def end_read(self, limit: int) -> None:
        assert self.snapshot is not None
        rows = [row(m) for m in self.snapshot[:limit]]
        self.lane.read_done(rows, whole=len(rows) < limit)
        self.skip = self.snapshot = None

    @rule()
    def wake(self) -> None:
        self.lane.overdue = True

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert len(self.sent) == len(set(self.sent))

    @invariant()
    def nothing_is_forgotten(self) -> None:
        lost = {m for m in self.disk if m < self.announced} - self.lane.held
        assert not lost or self.lane.spilled or self.lane.overdue or self.lane.reading

    def teardown(self) -> None:
        for _ in range(self.accepted * 4 + 10):
            while self.announced < self.accepted:
                self.announce()
            if self.skip is not None:
                self.snapshot = self.snapshot if self.snapshot is not None else sorted(self.disk - self.skip)
                self.lane.read_done([row(m) for m in self.snapshot[:3]], whole=len(self.snapshot) < 3)
                self.skip = self.snapshot = None
            while self.lane.sendable:
                self.send()
            for message in self.in_flight:
                self.lane.finished(ok=True)
                self.committing.append(message)
            self.in_flight.clear()
            while self.committing:
                self.commit_completion()
            if self.lane.wants_read(5):
                self.begin_read()
        assert sorted(self.sent) == list(range(self.accepted))
        assert self.lane.idle


LaneAgainstDisk.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLaneAgainstDisk = LaneAgainstDisk.TestCase
