from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatepost import ids
from gatepost.realtime.hub import SLICE, Hub
from gatepost.stores.base import NewMessage


class Turns:
    """The loop's next turns, taken when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def take(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class Receiver:
    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def push(self, frame: bytes) -> None:
        self.frames.append(frame)

    @property
    def ids(self) -> list[int | None]:
        return [ids.decode("msg", frame.split(b"\n")[0][4:].decode()) for frame in self.frames]


def message(identifier: int, *channels: str, app: int = 1, **fields: Any) -> NewMessage:
    return NewMessage(app=app, event_type="t", payload=b"{}", channels=channels, id=identifier, **fields)


def test_a_message_reaches_who_follows_one_of_its_channels() -> None:
    hub = Hub(0, Turns())
    orders, news, other_app = Receiver(), Receiver(), Receiver()
    hub.subscribe(orders, [(1, "/orders/1")])
    hub.subscribe(news, [(1, "/news")])
    hub.subscribe(other_app, [(2, "/orders/1")])
    hub.announce([message(1, "/orders/1"), message(2, "/news", "/orders/1"), message(3), message(4, "/orders/2")])
    assert (orders.ids, news.ids, other_app.ids) == ([1, 2], [2], [])


def test_a_message_in_two_channels_of_one_receiver_comes_once() -> None:
    hub = Hub(0, Turns())
    receiver = Receiver()
    hub.subscribe(receiver, [(1, "/a"), (1, "/b"), (1, "/a")])
    hub.announce([message(1, "/a", "/b")])
    assert receiver.ids == [1]


def test_a_frame_is_encoded_once_and_shared() -> None:
    hub = Hub(0, Turns())
    one, two = Receiver(), Receiver()
    hub.subscribe(one, [(1, "/a")])
    hub.subscribe(two, [(1, "/a")])
    hub.announce([message(1, "/a")])
    assert one.frames[0] is two.frames[0]


def test_who_has_left_gets_nothing_and_leaves_nothing() -> None:
    hub = Hub(0, Turns())
    receiver = Receiver()
    hub.subscribe(receiver, [(1, "/a"), (1, "/b")])
    hub.unsubscribe(receiver)
    hub.unsubscribe(receiver)
    hub.announce([message(1, "/a")])
    assert receiver.ids == []
    assert hub.receivers == 0
    assert hub._receivers == {}


def test_many_receivers_are_served_in_slices_and_in_order() -> None:
    turns = Turns()
    hub = Hub(0, turns)
    crowd = [Receiver() for _ in range(SLICE * 2 + 1)]
    for receiver in crowd:
        hub.subscribe(receiver, [(1, "/a")])
    hub.announce([message(1, "/a")])
    assert sum(len(r.frames) for r in crowd) == SLICE
    hub.announce([message(2, "/a")])
    assert sum(len(r.frames) for r in crowd) == SLICE, "the second waits for the first"
    while turns.waiting:
        assert len(turns.waiting) == 1
        turns.take()
    assert all(r.ids == [1, 2] for r in crowd)


def test_who_joins_while_a_message_is_handed_out_does_not_get_it_live() -> None:
    turns = Turns()
    hub = Hub(5, turns)
    crowd = [Receiver() for _ in range(SLICE + 1)]
    for receiver in crowd:
        assert hub.subscribe(receiver, [(1, "/a")]) == 5
    hub.announce([message(7, "/a")])
    late = Receiver()
    assert hub.subscribe(late, [(1, "/a")]) == 7, "its backlog reaches to this message"
    hub.unsubscribe(crowd[-1])
    turns.take()
    assert late.ids == []
    assert crowd[-1].ids == [], "it left before its turn came"


def test_messages_of_nobody_move_the_line_between_backlog_and_live() -> None:
    hub = Hub(0, Turns())
    hub.announce([message(3), message(4, "/a")])
    assert hub.latest == 4
