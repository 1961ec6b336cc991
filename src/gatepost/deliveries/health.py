"""Which endpoints have had no success for how long, and why one was disabled. What must survive a restart is kept in
the store, but only of endpoints that have been failing for a while: one that stumbles costs no write.
"""

from __future__ import annotations

from typing import Final

from gatepost.model import LaneState

WORTH_KEEPING: Final = 60.0  # seconds of failing, or of a pause, from which on it is kept


class Health:
    """Pure: it says what is to be written, the engine writes. Owned by it; times are Unix seconds."""

    __slots__ = ("_disable_after", "_kept", "states")

    def __init__(self, disable_after: float) -> None:
        self._disable_after = disable_after
        self.states: dict[int, LaneState] = {}  # by endpoint: those with trouble
        self._kept: set[int] = set()  # those of them that the store has

    def load(self, states: dict[int, LaneState]) -> None:
        self.states.update(states)
        self._kept.update(states)

    def succeeded(self, endpoint: int) -> LaneState | None:
        """A try succeeded. Returns what is to be written, if anything."""
        if self.states.pop(endpoint, None) is None or endpoint not in self._kept:
            return None
        self._kept.discard(endpoint)
        return LaneState(endpoint)

    def failed(self, endpoint: int, now: float, paused_until: float | None = None) -> LaneState | None:
        """A try failed; the receiver may have asked to be left alone. Returns what is to be written, if anything."""
        old = self.states.get(endpoint)
        since = now if old is None or old.failing_since is None else old.failing_since
        until = paused_until if paused_until is not None else None if old is None else old.paused_until
        state = self.states[endpoint] = LaneState(endpoint, since, until)
        worth = now - since >= WORTH_KEEPING or (paused_until is not None and paused_until - now >= WORTH_KEEPING)
        if not worth or (endpoint in self._kept and paused_until is None):
            return None
        self._kept.add(endpoint)
        return state

    def is_hopeless(self, endpoint: int, now: float) -> bool:
        """Every try failed for so long that it is to be disabled."""
        state = self.states.get(endpoint)
        if not self._disable_after or state is None or state.failing_since is None:
            return False
        return now - state.failing_since >= self._disable_after

    def disabled(self, endpoint: int, now: float, reason: str) -> LaneState:
        old = self.states.get(endpoint)
        since = None if old is None else old.failing_since
        state = self.states[endpoint] = LaneState(endpoint, since, None, now, reason)
        self._kept.add(endpoint)
        return state

    def forget(self, endpoint: int) -> None:
        self.states.pop(endpoint, None)
        self._kept.discard(endpoint)

    def paused_until(self, endpoint: int) -> float | None:
        state = self.states.get(endpoint)
        return None if state is None else state.paused_until
