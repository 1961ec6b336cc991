"""`Retry-After` (RFC 9110 §10.2.3): how long a receiver asks not to be called again. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from gatepost.http1.messages import Fields

LONGEST: Final = 86_400.0  # seconds that are believed: a day


def retry_after(fields: Fields, now: float) -> float | None:
    """Seconds from `now` (Unix), at most a day; None where the field is missing or says nothing that can be read."""
    for name, value in fields:
        if name == b"retry-after":
            return _seconds(value.strip(b" \t").decode("latin-1"), now)
    return None


def _seconds(text: str, now: float) -> float | None:
    if text.isascii() and text.isdigit():
        return LONGEST if len(text) > 6 else min(float(text), LONGEST)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000", and asctime's form, which RFC 9110 §5.6.7 reads as UTC
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, moment.timestamp() - now), LONGEST)
    except (ValueError, OverflowError, TypeError):
        return None
