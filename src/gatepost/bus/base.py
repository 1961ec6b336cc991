"""The bus contract: news of what is already on disk.

The store is the truth and the bus only says "look now": **losing an announcement costs latency, never data**. So
nothing is acknowledged, nothing is retried, and a listener that needs every message reads the store when it
(re)starts, as a resuming live stream does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from gatepost.stores.base import NewMessage

Listener: TypeAlias = Callable[[Sequence[NewMessage]], None]


class Bus(Protocol):
    def announce(self, messages: Sequence[NewMessage]) -> None:
        """Messages that were just committed, in commit order. Called on the loop (a store's `on_commit`); returns at
        once and raises nothing."""
        ...

    def listen(self, listener: Listener) -> None:
        """`listener` hears of every announcement from now on, on the loop, in the order of the node that made it. It
        must neither block nor raise."""
        ...
