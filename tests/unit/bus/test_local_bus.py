from __future__ import annotations

from collections.abc import Sequence

from gatepost.bus.base import Bus
from gatepost.bus.local import LocalBus
from gatepost.stores.base import NewMessage


def message(identifier: int) -> NewMessage:
    return NewMessage(app=1, event_type="order.created", payload=b"{}", id=identifier)


def test_every_listener_hears_every_announcement_in_order() -> None:
    bus: Bus = LocalBus()
    heard: list[tuple[str, list[int]]] = []

    def listener(name: str) -> None:
        def hear(messages: Sequence[NewMessage]) -> None:
            heard.append((name, [m.id for m in messages]))

        bus.listen(hear)

    listener("one")
    bus.announce([message(1)])
    listener("two")
    bus.announce([message(2), message(3)])

    assert heard == [("one", [1]), ("one", [2, 3]), ("two", [2, 3])]


def test_an_announcement_that_nobody_hears_is_no_error() -> None:
    LocalBus().announce([message(1)])
