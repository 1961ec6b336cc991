"""A client that leaves while nobody reads from it: what it sent ahead fills the buffer, or its body's reader is slow.

Its end stands behind bytes that are not read, so the transport cannot tell of it. The kernel can: it is asked once a
second, 2 µs each time, and only while reading stands still. Bytes that do not fit into the kernel's own buffer hide the
end of the connection until they are read; a reset shows at once.
"""

from __future__ import annotations

import select
import time
from typing import Final, Protocol

from gatepost.net.deadlines import NEVER, Deadlines

LOOK: Final = 1.0  # seconds between two looks
_HALF: Final = getattr(select, "POLLRDHUP", 0)  # the peer sends no more; Linux only
_GONE: Final = select.POLLHUP | select.POLLERR


class Watched(Protocol):
    """A client's connection, as seen from here."""

    def descriptor(self) -> int:
        """Its socket's; -1 where there is none."""
        ...

    def departed(self, *, half: bool) -> None:
        """The client is gone; `half`: it has sent no more for `LOOK` seconds, and may still be listening."""
        ...


class Departure:
    """Watches one connection from `start` to `stop`."""

    __slots__ = ("_connection", "_deadlines", "_seen", "deadline")

    def __init__(self, connection: Watched, deadlines: Deadlines) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._seen = False  # the last look saw that it sends no more
        self.deadline = NEVER

    def start(self) -> None:
        self._seen = False
        self.deadline = time.monotonic() + LOOK
        self._deadlines.join(self)

    def stop(self) -> None:
        self._deadlines.leave(self)

    def expire(self, now: float) -> None:
        self.deadline = now + LOOK
        found = _look(self._connection.descriptor())
        if found & _GONE:
            self._connection.departed(half=False)
        elif found & _HALF and self._seen:
            self._connection.departed(half=True)
        else:
            self._seen = bool(found & _HALF)


def _look(descriptor: int) -> int:
    """What the kernel knows of a socket's other end, whether or not there is something to read."""
    if descriptor < 0:
        return 0
    poll = select.poll()
    poll.register(descriptor, _HALF)
    found = poll.poll(0)
    return found[0][1] if found else 0
