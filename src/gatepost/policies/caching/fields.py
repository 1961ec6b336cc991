"""Caching fields as values: directives, dates, Age, Vary. Pure.

Where a field can be read in two ways, the reading that caches less is taken.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from typing import Final, TypeAlias

from gatepost.http1.framing import FORWARDING
from gatepost.http1.messages import Fields, RequestHead

Directives: TypeAlias = dict[bytes, bytes]  # by lower-case name; b"" where there is no argument

# RFC 9111 §1.2.2: what is larger counts as this.
MOST: Final = 2**31

_MONTHS: Final = {name: n for n, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAY: Final = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_TIME: Final = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# RFC 9110 §5.6.7: the one format and the two obsolete ones. RFC 9111 §4.2 has caches ignore their case.
_DATES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        _DAY + rb", (?P<day>[0-9]{2}) (?P<month>[a-z]{3}) (?P<year>[0-9]{4}) " + _TIME + rb" GMT",
        rb"[a-z]{6,9}, (?P<day>[0-9]{2})-(?P<month>[a-z]{3})-(?P<year>[0-9]{2}) " + _TIME + rb" GMT",
        _DAY + rb" (?P<month>[a-z]{3}) (?P<day>[ 0-9][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})",
    )
)


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for key, value in fields if key == name]


def members(value: bytes) -> Iterator[bytes]:
    """The members of a list, split at commas outside of quotes, without the white space around them."""
    if b'"' not in value:
        for part in value.split(b","):
            yield part.strip(b" \t")
        return
    start = 0
    quoted = escaped = False
    for at, byte in enumerate(value):
        if escaped:
            escaped = False
        elif byte == 0x22:
            quoted = not quoted
        elif byte == 0x5C:
            escaped = quoted
        elif byte == 0x2C and not quoted:
            yield value[start:at].strip(b" \t")
            start = at + 1
    yield value[start:].strip(b" \t")


def directives(lines: list[bytes]) -> Directives:
    """Of Cache-Control and its like. Of a directive that stands twice the first counts (RFC 9111 §4.2.1)."""
    out: Directives = {}
    for line in lines:
        for member in members(line):
            name, _, argument = member.partition(b"=")
            if len(argument) >= 2 and argument[:1] == argument[-1:] == b'"':
                argument = argument[1:-1].replace(b"\\", b"")
            if name:
                out.setdefault(name.lower(), argument)
    return out


def delta(argument: bytes) -> int:
    """Seconds. What is no number counts as none: RFC 9111 §4.2.1 has such a response be stale."""
    if not argument.isdigit():
        return 0
    return MOST if len(argument) > 10 else min(int(argument), MOST)


def date(value: bytes, now: float) -> int | None:
    """Unix time of an HTTP-date; None where it is none, as `0` of Expires. `now`: Unix time."""
    for pattern in _DATES:
        found = pattern.fullmatch(value)
        if found is None:
            continue
        month = _MONTHS.get(found["month"].lower())
        if month is None:
            return None
        year, day = int(found["year"]), int(found["day"])
        if len(found["year"]) == 2:
            # RFC 9110 §5.6.7: a year that seems more than 50 years in the future is one of the past.
            this = 1970 + int(now / 31_556_952)
            year += this - this % 100
            if year > this + 50:
                year -= 100
        hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
        if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
            return None
        return timegm((year, month, day, hour, minute, second, 0, 0, 0))
    return None


def age(lines: list[bytes]) -> int:
    """RFC 9111 §5.1: of several the first; what is no number is ignored."""
    return delta(next(members(lines[0]))) if lines else 0


def varying(lines: list[bytes]) -> tuple[bytes, ...] | None:
    """The names of Vary, in their one order; None where no other request can match (`*`, or ids of a request)."""
    names = {name.lower() for line in lines for name in members(line) if name}
    if not names:
        return ()
    return None if not _EACH_ITS_OWN.isdisjoint(names) else tuple(sorted(names))


def presented(head: RequestHead, forwarding: bytes, name: bytes) -> bytes:
    """What a request presents of a field that Vary names, in one spelling (RFC 9111 §4.1).

    White space, the split into lines and, where it means nothing, order and case make no difference.
    """
    if name in FORWARDING:
        return forwarding  # what the upstream sees is what the gateway says
    lines = head.all(name)
    if not lines:
        return _ABSENT
    if any(b'"' in line for line in lines):
        return b", ".join(line.strip(b" \t") for line in lines)
    found = [member for line in lines for member in members(line)]
    if name in _PREFERENCES:
        return b", ".join(sorted(b"".join(member.lower().split()) for member in found if member))
    return b", ".join(found)


# Lists of preferences: their order means nothing, weights do.
_PREFERENCES: Final = frozenset({b"accept-encoding", b"accept-language"})
_EACH_ITS_OWN: Final = frozenset({b"*", b"x-request-id", b"traceparent", b"tracestate"})
_ABSENT: Final = b"\0"  # no field value holds it: a field that is missing differs from an empty one
