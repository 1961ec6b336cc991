"""Identifiers: 63-bit integers inside, typed base62 outside.

    41 bits milliseconds since 2024-01-01 · 10 bits node · 12 bits sequence

Monotonic on a node, even when the clock goes back, so that they are the rowid order of the store (a random key costs
two to eight times as much to insert). Outside they read `msg_0S8pLQk3xY2`: a prefix and eleven base62 digits,
which sort as the integers do.
"""

from __future__ import annotations

import secrets
from typing import Final

from gatepost.clock import Clock

EPOCH_MS: Final = 1_704_067_200_000
SEQUENCE_BITS: Final = 12
NODE_BITS: Final = 10
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS: Final = [a + b for a in _DIGITS for b in _DIGITS]
_WIDTH: Final = 11  # 62**11 > 2**63


class IdFactory:
    """Makes identifiers for one node. `after` is the greatest one the store holds: ids resume above it."""

    __slots__ = ("_clock", "_last", "_node")

    def __init__(self, clock: Clock, node: int = 0, after: int = 0) -> None:
        if not 0 <= node < 1 << NODE_BITS:
            raise ValueError(f"node must be from 0 to {(1 << NODE_BITS) - 1}, not {node}")
        self._clock = clock
        self._node = node << SEQUENCE_BITS
        self._last = after

    @property
    def last(self) -> int:
        """The greatest identifier so far, of this process or of those before it."""
        return self._last

    def next(self) -> int:
        tick = int(self._clock.now() * 1000) - EPOCH_MS
        candidate = (tick << (NODE_BITS + SEQUENCE_BITS)) | self._node
        if candidate <= self._last:
            # The same millisecond, or a clock that went back: count on from the last. When the sequence
            # overflows it would spill into the node bits, so it moves to the next millisecond instead.
            candidate = self._last + 1
            if candidate & ((1 << SEQUENCE_BITS) - 1) == 0 or (candidate ^ self._node) & _NODE_MASK:
                tick = (self._last >> (NODE_BITS + SEQUENCE_BITS)) + 1
                candidate = (tick << (NODE_BITS + SEQUENCE_BITS)) | self._node
        self._last = candidate
        return candidate


_NODE_MASK: Final = ((1 << NODE_BITS) - 1) << SEQUENCE_BITS


def seconds_of(identifier: int) -> float:
    """When the identifier was made, in Unix seconds."""
    return ((identifier >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS) / 1000


def first_at(seconds: float) -> int:
    """The smallest identifier of that moment: bounds for `before` and `after` filters."""
    return max(0, int(seconds * 1000) - EPOCH_MS) << (NODE_BITS + SEQUENCE_BITS)


def encode(prefix: str, identifier: int) -> str:
    """`encode("msg", 7)` is `msg_00000000007`."""
    pairs = _PAIRS
    n, low = divmod(identifier, 3844)
    n, d1 = divmod(n, 3844)
    n, d2 = divmod(n, 3844)
    n, d3 = divmod(n, 3844)
    n, d4 = divmod(n, 3844)
    return f"{prefix}_{_DIGITS[n]}{pairs[d4]}{pairs[d3]}{pairs[d2]}{pairs[d1]}{pairs[low]}"


def decode(prefix: str, text: str) -> int | None:
    """The integer in `text`, or None where it is not an identifier of that prefix."""
    start = len(prefix) + 1
    if len(text) != start + _WIDTH or not text.startswith(prefix) or text[start - 1] != "_":
        return None
    value = 0
    for digit in text[start:]:
        step = _VALUES.get(digit)
        if step is None:
            return None
        value = value * 62 + step
    return value if value < 1 << 63 else None


class RequestIds:
    """Request ids for one process: a random prefix and a counter (0.3 µs; a UUID costs 6)."""

    __slots__ = ("_count", "_prefix")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8).encode() + b"-"
        self._count = 0

    def next(self) -> bytes:
        self._count += 1
        return b"%b%08x" % (self._prefix, self._count)
