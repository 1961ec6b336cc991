"""A stored response as one request is to see it: whole, not modified (304), a part of it (206), or none (416)."""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import Final

from gatepost.errors import Problem
from gatepost.exchange import Response, problem
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies.caching.asked import PLAIN, Asked
from gatepost.policies.caching.fields import date, members
from gatepost.policies.caching.storage import Entry, Storage

NAME: Final = b"Gatepost"  # of this cache, in Cache-Status (RFC 9211)


def hit(entry: Entry, storage: Storage, ask: Asked, x_id: bytes, *, now: float, wall: float) -> Response:
    """From memory, without asking anybody. `now`: monotonic seconds, `wall`: Unix time."""
    age = int(now - entry.born)
    ttl = int(entry.fresh_until - now)
    served = entry.served
    if served is not None and served[0] == age and served[1] == ttl:
        fields = served[2]
    else:
        fields = _told(entry, age, NAME + b"; hit; ttl=%d" % ttl)
        fields.seen = (entry, storage)  # `compress` keeps what it makes of the body there
        entry.served = (age, ttl, fields)
    if ask is PLAIN:
        return Response(entry.status, fields, entry.body)
    return _as_asked(entry, ask, x_id, fields, wall)


def told(entry: Entry, ask: Asked, x_id: bytes, status: bytes, *, now: float, wall: float) -> Response:
    """After somebody was asked. `status`: what Cache-Status says of it."""
    return _as_asked(entry, ask, x_id, _told(entry, int(now - entry.born), status), wall)


def http_date(wall: float) -> bytes:
    return formatdate(wall, usegmt=True).encode()


def field(status: bytes) -> tuple[Fields, bytes]:
    """A Cache-Status field, and its line."""
    return [(b"cache-status", status)], b"cache-status: %b\r\n" % status


def _told(entry: Entry, age: int, status: bytes) -> FieldList:
    seconds = b"%d" % age
    return entry.fields.plus(
        [(b"age", seconds), (b"cache-status", status)], b"age: %b\r\ncache-status: %b\r\n" % (seconds, status)
    )


def _as_asked(entry: Entry, ask: Asked, x_id: bytes, fields: FieldList, wall: float) -> Response:
    if entry.status == 200:
        if ask.conditional:
            if _not_modified(entry, ask, wall):
                return Response(304, [each for each in fields if each[0] not in _OF_CONTENT])
        elif ask.range is not None and (ask.if_range is None or _same(entry, ask.if_range)):
            return _part(entry, ask.range, x_id, fields)
    return Response(entry.status, fields, entry.body)


def _not_modified(entry: Entry, ask: Asked, wall: float) -> bool:
    """RFC 9110 §13.2.2: If-None-Match decides where it is there."""
    if ask.if_none_match:
        for line in ask.if_none_match:
            for tag in members(line):
                if tag == b"*":
                    return True
                if entry.etag is not None and tag.removeprefix(b"W/") == entry.etag.removeprefix(b"W/"):
                    return True
        return False
    since = date(ask.if_modified_since or b"", wall)
    return since is not None and entry.modified is not None and entry.modified <= since


def _same(entry: Entry, if_range: bytes) -> bool:
    """RFC 9110 §13.1.5: a strong tag, or exactly this date."""
    if if_range[:1] == b'"':
        return entry.etag == if_range
    return any(name == b"last-modified" and value == if_range for name, value in entry.fields)


def _part(entry: Entry, asked: bytes, x_id: bytes, fields: FieldList) -> Response:
    """One range. Several, and other units, may be ignored (RFC 9110 §14.2): then all of it is the answer."""
    found = _RANGE.fullmatch(asked)
    whole = Response(entry.status, fields, entry.body)
    if found is None or found[0] == b"bytes=-":
        return whole
    size = len(entry.body)
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start = int(first)
        end = min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return whole  # RFC 9110 §14.1.1: it is no range
    if start >= end:
        refusal = problem(x_id, _UNSATISFIABLE, [(b"content-range", b"bytes */%d" % size)])
        refusal.fields += [each for each in fields if each[0] == b"cache-status"]
        return refusal
    span = b"bytes %d-%d/%d" % (start, end - 1, size)
    return Response(
        206,
        fields.plus([(b"content-range", span)], b"content-range: %b\r\n" % span),
        entry.body[start:end],
    )


_UNSATISFIABLE: Final = Problem(
    416, "range-not-satisfiable", "There is no such part", "Content-Range says how many bytes there are"
)
_RANGE: Final = re.compile(rb"bytes=([0-9]{0,15})-([0-9]{0,15})")
# RFC 9110 §15.4.5: a 304 says nothing of the content, which the client has.
_OF_CONTENT: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-md5", b"content-disposition"}
)
