"""Proactive negotiation by media type: RFC 9110 §12.5.1. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST_RANGES: Final = 32  # of an Accept field; nobody means more


def preferred(accept: bytes, offers: Sequence[bytes]) -> bytes | None:
    """The offer that `accept` likes best; of those that it likes alike the first. None where it takes none of them.

    Offers are `type/subtype` in small letters, without parameters. An empty `accept` takes everything.
    """
    if not accept.strip(b" \t,"):
        return offers[0] if offers else None
    ranges = [_range(part) for part in accept.lower().split(b",", MOST_RANGES)[:MOST_RANGES]]
    best: bytes | None = None
    best_quality = 0.0
    for offer in offers:
        quality = _quality(offer, ranges)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _quality(offer: bytes, ranges: list[tuple[bytes, float]]) -> float:
    """That of the most specific range which takes the offer, whatever the others say."""
    found = dict(reversed(ranges))  # the first of equal ones counts
    for name in (offer, offer.partition(b"/")[0] + b"/*", b"*/*"):
        if name in found:
            return found[name]
    return 0.0


def _range(part: bytes) -> tuple[bytes, float]:
    name, *parameters = (piece.strip(b" \t") for piece in part.split(b";"))
    for parameter in parameters:
        key, _, value = parameter.partition(b"=")
        if key.strip(b" \t") == b"q":
            return name, _weight(value.strip(b" \t"))
    return name, 1.0


def _weight(value: bytes) -> float:
    """RFC 9110 §12.4.2: 0 to 1 with three decimals at most. What is no weight wants nothing."""
    whole, _, decimals = value.partition(b".")
    if whole not in (b"0", b"1") or len(decimals) > 3 or (decimals and not decimals.isdigit()):
        return 0.0
    return min(1.0, float(value))
