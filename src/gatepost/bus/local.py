"""The bus of one process: a list of listeners, called in turn."""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.bus.base import Listener
from gatepost.stores.base import NewMessage


class LocalBus:
    """Announcements reach every listener before `announce` returns: nothing can be lost, nothing waits."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def announce(self, messages: Sequence[NewMessage]) -> None:
        for listener in self._listeners:
            listener(messages)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
