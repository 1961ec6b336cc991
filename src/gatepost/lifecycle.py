"""The life of a delivery, as one table. The diagram in docs/life-of-a-message.md is drawn from it.

PENDING ──succeeded──► DELIVERED
   │  ▲
   │  └──failed, tries left── (due again later)
   ├──failed, none left──► EXHAUSTED ──resent──► PENDING
   └──cancelled──► CANCELLED

SKIPPED ──recovered──► PENDING: where the endpoint was disabled when the message came
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """Stored as these integers; never renumber."""

    PENDING = 0  # waiting for its due time, or in flight
    DELIVERED = 1
    EXHAUSTED = 2  # the schedule's last try failed
    SKIPPED = 3  # its endpoint was disabled when the message came; kept, listed, recoverable
    CANCELLED = 4


class Event(IntEnum):
    SUCCEEDED = 0
    FAILED = 1  # a try failed, the schedule has another
    FAILED_LAST = 2
    CANCELLED = 4
    RESENT = 5  # by hand, or recovered


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.PENDING, Event.SUCCEEDED): State.DELIVERED,
    (State.PENDING, Event.FAILED): State.PENDING,
    (State.PENDING, Event.FAILED_LAST): State.EXHAUSTED,
    (State.PENDING, Event.CANCELLED): State.CANCELLED,
    (State.DELIVERED, Event.RESENT): State.PENDING,
    (State.EXHAUSTED, Event.RESENT): State.PENDING,
    (State.SKIPPED, Event.RESENT): State.PENDING,
    (State.CANCELLED, Event.RESENT): State.PENDING,
}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises ValueError where the table has no arrow: that is a bug of the caller."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a delivery that is {state.name} cannot take {event.name}") from None
