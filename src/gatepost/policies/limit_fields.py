"""What answers tell of a limit, in the fields of draft-ietf-httpapi-ratelimit-headers:

    RateLimit-Policy: "default";q=100;w=60
    RateLimit: "default";r=12;t=7        twelve more now; in seven seconds there may be more again

Several limits are several lines, which RFC 9110 §5.3 makes one list.
"""

from __future__ import annotations

from math import ceil

from gatepost.exchange import Added


class LimitFields:
    """The lines of one limit with one set of numbers."""

    __slots__ = ("_line", "_policy", "_unused", "_value")

    def __init__(self, name: str, limit: int, window: float) -> None:
        # Both are integers in the draft: a window of half a second is told as one of a second.
        self._policy = (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name.encode(), limit, ceil(window)))
        self._line = b"%b: %b\r\n" % self._policy
        self._value = b'"' + name.encode() + b'";r=%d;t=%d'
        self._unused: Added = ([self._policy], self._line)

    def of(self, usage: tuple[int, float] | None) -> Added:
        """`usage` is how many more may come, and seconds until there may be more; None where nothing was counted."""
        if usage is None:
            return self._unused
        remaining, reset = usage
        value = self._value % (remaining, ceil(reset))
        return [self._policy, (b"ratelimit", value)], b"%bratelimit: %b\r\n" % (self._line, value)
