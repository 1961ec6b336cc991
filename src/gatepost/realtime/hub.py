"""The hub: from a committed message to everyone who listens to one of its channels.

Owned by the app, one a node, longer-lived than any configuration. A message that nobody listens to costs one look-up a
channel; one that many listen to is encoded once and handed out in slices, so that ten thousand subscribers
never hold the loop for more than about a millisecond at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeAlias

from gatepost.realtime import frames
from gatepost.stores.base import NewMessage

SLICE: Final = 100  # frames handed out in one turn of the loop: about 10 µs each

Channel: TypeAlias = tuple[int, str]  # the app's key, and the channel


class Receiver(Protocol):
    def push(self, frame: bytes) -> None:
        """A live frame. Must not raise."""
        ...


class Hub:
    """`after` is the store's `last_id` before anything was accepted; `defer` runs a call in the loop's next turn
    (`call_soon`)."""

    def __init__(self, after: int, defer: Callable[[Callable[[], None]], object]) -> None:
        self.latest = after  # every message up to this id was announced; what comes has a greater one
        self._defer = defer
        self._receivers: dict[Channel, dict[Receiver, None]] = {}  # in the order in which they came
        self._channels: dict[Receiver, tuple[Channel, ...]] = {}
        self._work: deque[tuple[bytes, Iterator[Receiver]]] = deque()
        self._deferred = False

    @property
    def receivers(self) -> int:
        """How many follow some channel."""
        return len(self._channels)

    def subscribe(self, receiver: Receiver, channels: Iterable[Channel]) -> int:
        """From now on `receiver` gets every message of these channels once. Returns the id after which "now" is."""
        mine = self._channels[receiver] = tuple(dict.fromkeys(channels))
        for channel in mine:
            self._receivers.setdefault(channel, {})[receiver] = None
        return self.latest

    def unsubscribe(self, receiver: Receiver) -> None:
        for channel in self._channels.pop(receiver, ()):
            others = self._receivers[channel]
            del others[receiver]
            if not others:
                del self._receivers[channel]

    def announce(self, messages: Sequence[NewMessage]) -> None:
        """Committed messages, in commit order: a listener of the bus."""
        for message in messages:
            # Who subscribes later has this message in its backlog: the list of its receivers is made now.
            receivers = self._receivers_of(message)
            if receivers:
                frame = frames.event(message.id, message.event_type, message.payload)
                self._work.append((frame, iter(receivers)))
            self.latest = message.id
        if self._work and not self._deferred:
            self._hand_out()

    def _receivers_of(self, message: NewMessage) -> Sequence[Receiver]:
        found = [self._receivers.get((message.app, channel)) for channel in message.channels]
        listening = [receivers for receivers in found if receivers]
        if not listening:
            return ()
        if len(listening) == 1:
            return tuple(listening[0])
        return tuple(dict.fromkeys(receiver for receivers in listening for receiver in receivers))

    def _hand_out(self) -> None:
        left = SLICE
        work = self._work
        self._deferred = False
        while work:
            frame, receivers = work[0]
            for receiver in receivers:
                if receiver in self._channels:  # it may have left since
                    receiver.push(frame)
                left -= 1
                if not left:
                    self._deferred = True
                    self._defer(self._hand_out)
                    return
            work.popleft()
