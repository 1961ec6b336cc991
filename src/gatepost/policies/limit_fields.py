"""What answers tell of a limit, in the fields of draft-ietf-httpapi-ratelimit-headers:

    RateLimit-Policy: "default";q=100;w=60
    RateLimit: "default";r=12;t=7        twelve more now; in seven seconds there may be more again

Several limits are several lines, which RFC 9110 §5.3 makes one list.
"""

from __future__ import annotations

from math import ceil

from gatepost.exchange import Exchange
from gatepost.http1.messages import FieldList, Fields


class LimitFields:
    """The lines of one limit with one set of numbers."""

    __slots__ = ("_line", "_policy", "_value")

    def __init__(self, name: str, limit: int, window: float) -> None:
        # Both are integers in the draft: a window of half a second is told as one of a second.
        self._policy = (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name.encode(), limit, ceil(window)))
        self._line = b"%b: %b\r\n" % self._policy
        self._value = b'"' + name.encode() + b'";r=%d;t=%d'

    def add(self, x: Exchange, usage: tuple[int, float] | None) -> None:
        """`usage` is how many more may come, and seconds until there may be more; None where nothing was counted."""
        added: Fields = [self._policy]
        lines = self._line
        if usage is not None:
            remaining, reset = usage
            value = self._value % (remaining, ceil(reset))
            added.append((b"ratelimit", value))
            lines += b"ratelimit: " + value + b"\r\n"
        fields = x.response_fields
        x.response_fields = fields.plus(added, lines) if type(fields) is FieldList else [*fields, *added]
