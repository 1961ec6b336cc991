"""What a receiver says about its own load, and how long its lane rests for it. Pure.

- 429, or a failure with `Retry-After` (RFC 9110 §10.2.3): back-pressure. The lane rests for as long as it says, and the
  try is not counted: the receiver did not judge the message.
- 502, 503, 504: the receiver, or what stands before it, is ill. The lane rests for a moment that grows; the try counts.
- 410: the receiver wants no more of this (what Standard Webhooks asks senders to take it for).
"""

from __future__ import annotations

from typing import Final

from gatepost.destinations.base import Result

LONGEST: Final = 86_400.0  # seconds of `Retry-After` that are believed
FIRST_REST: Final = 1.0  # seconds, doubled with each further sign of overload
LONGEST_REST: Final = 60.0  # seconds
GONE: Final = 410
TOO_MANY: Final = 429
OVERLOADED: Final = frozenset({502, 503, 504})


def pause_of(result: Result, strain: int) -> float | None:
    """Seconds that the receiver wants to be left alone, or None: it did not ask. `strain` is how many times in a row it
    was overloaded before: who says 429 without `Retry-After` is asked again ever later."""
    if result.ok or result.status == GONE:
        return None
    if result.retry_after is not None:
        return min(max(result.retry_after, 0.0), LONGEST)
    return rest_after(strain) if result.status == TOO_MANY else None


def rest_after(strain: int) -> float:
    """Seconds of rest after the (`strain` + 1)th sign of overload in a row."""
    return min(FIRST_REST * 2.0 ** min(strain, 10), LONGEST_REST)
