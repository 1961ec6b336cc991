"""Idempotency keys that clients make by themselves (`auto_…`), remembered for ten minutes and in memory only.

As rows with a random key they would double the cost of every message (29 → 60 µs, measured), and nobody repeats
such a request after minutes.
"""

from __future__ import annotations

from typing import Final

from gatepost import ids


class RecentKeys:
    """(app, key) → message, by a 64-bit hash: whoever asks compares the key that stands on the message itself.

    Two generations, so that forgetting is one assignment. Kept at least ten minutes, or until half a million newer
    keys came: about 120 bytes each.
    """

    __slots__ = ("_new", "_old", "_since")

    SECONDS: Final = 600.0
    MOST: Final = 500_000  # in one generation

    def __init__(self) -> None:
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._since = 0.0  # when `_new` was begun

    def add(self, app: int, key: str, message: int, now: float) -> None:
        if len(self._new) >= self.MOST or not 0 <= now - self._since < self.SECONDS:
            self._old, self._new, self._since = self._new, {}, now
        self._new[hash((app, key))] = message

    def find(self, app: int, key: str, now: float) -> int | None:
        """The message of that hash, if it is younger than ten minutes."""
        hashed = hash((app, key))
        message = self._new.get(hashed)
        if message is None:
            message = self._old.get(hashed)
        if message is None or ids.seconds_of(message) <= now - self.SECONDS:
            return None
        return message
