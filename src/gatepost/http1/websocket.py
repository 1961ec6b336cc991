"""Where WebSocket frames end, RFC 6455 §5.2: enough to put a frame of our own between two of others."""

from __future__ import annotations

import secrets
from typing import Final

GOING_AWAY: Final = b"\x03\xe9"  # 1001, §7.4.1: the endpoint is going away
_CLOSE: Final = 0x8
_LONGEST_HEAD: Final = 14


def close_frame(*, masked: bool) -> bytes:
    """A Close with 1001. A client masks what it sends (§5.3), a server must not."""
    if not masked:
        return b"\x88\x02" + GOING_AWAY
    key = secrets.token_bytes(4)
    return b"\x88\x82" + key + bytes(byte ^ mask for byte, mask in zip(GOING_AWAY, key, strict=False))


class Frames:
    """Follows the frames of one direction. Only their heads are read, bodies are skipped by their length; nothing is
    judged: that is for the two ends to do."""

    __slots__ = ("_closing", "_head", "_left", "closed")

    def __init__(self) -> None:
        self._head = b""  # the unfinished head of a frame
        self._left = 0  # bytes of the frame that are still to come
        self._closing = False  # the frame is a Close
        self.closed = False  # a Close has passed, whole

    @property
    def between(self) -> bool:
        """The last frame is whole, and the next has not begun."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Follow all of `data`."""
        size = len(data)
        if size < self._left:
            self._left -= size  # the middle of a large frame
            return
        at = 0
        while at < size:
            at += self.step(data[at:] if at else data)

    def step(self, data: bytes) -> int:
        """Follow `data` up to the first end of a frame in it, or all of it. How many bytes that were."""
        size = len(data)
        if not self._left:
            before = len(self._head)
            head = self._head + data[:_LONGEST_HEAD] if before else data[:_LONGEST_HEAD]
            length = _frame_length(head)
            if not length:
                self._head = head
                return size
            self._closing = head[0] & 0xF == _CLOSE
            self._head = b""
            self._left = length - before
        used = min(size, self._left)
        self._left -= used
        if not self._left and self._closing:
            self.closed = True
        return used


def _frame_length(head: bytes) -> int:
    """Of the frame that begins so, its head included; 0 while that is not known yet."""
    size = len(head)
    if size < 2:
        return 0
    masked = 4 if head[1] & 0x80 else 0
    short = head[1] & 0x7F
    if short < 126:
        return 2 + masked + short
    if short == 126:
        return 4 + masked + int.from_bytes(head[2:4], "big") if size >= 4 else 0
    return 10 + masked + int.from_bytes(head[2:10], "big") if size >= 10 else 0
