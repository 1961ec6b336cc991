"""What a head says, as values. Field names are lower-case bytes; the order of the wire is kept.

A head's fields stand in two lists, sorted while they are parsed, so that forwarding copies one list and never
searches it: `fields` goes end to end, `special` is what the gateway decides itself (framing, hop-by-hop, routing
and forwarding fields, named in `framing.SPECIAL`).
"""

from __future__ import annotations

from typing import Final, TypeAlias

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = list[Field]

# How a body is framed: a number of bytes from 0 up, or one of these.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2  # responses only
_SPACE: Final = b" \t"


class FieldList(list[Field]):
    """The end-to-end fields of a head as they were read, and what follows from them alone.

    Heads that repeat each other share one, so it is never changed in place: who changes fields makes a new list, and
    that is an ordinary one.
    """

    __slots__ = ("dated", "lines", "seen")

    def __init__(self) -> None:
        self.lines: bytes | None = None  # them all as bytes, each with its CRLF; made by the first who writes them
        self.dated = False  # a Date is among them; known of responses only
        self.seen: tuple[object, ...] | None = None  # what a policy found in them; itself first

    def plus(self, added: Fields, lines: bytes) -> FieldList:
        """These and others, none of them a Date, of which the bytes are known."""
        out = FieldList()
        out += self
        out += added
        out.dated = self.dated
        if self.lines is not None:
            out.lines = self.lines + lines
        return out


class RequestHead:
    """A request's head that passed every rule of `framing.py`."""

    __slots__ = (
        "connection",
        "expect_continue",
        "fields",
        "framing",
        "host",
        "http10",
        "keep_alive",
        "method",
        "path",
        "query",
        "special",
        "target",
        "upgrade",
    )

    method: bytes
    target: bytes  # as on the wire: origin, absolute or asterisk form
    path: str  # of the target, normalised (`targets.py`)
    query: bytes  # of the target, as on the wire, without "?"
    host: bytes  # lower-case, with its port if it has one; from the target if that is absolute (RFC 9112 §3.2.2)
    fields: Fields
    special: Fields
    framing: int
    http10: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: bytes | None  # the Upgrade field, where Connection names it and the request has no body
    connection: tuple[bytes, ...]  # lower-case options of Connection other than close, keep-alive and upgrade

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, by its lower-case name."""
        for key, value in self.fields:
            if key == name:
                return value.rstrip(_SPACE)  # llhttp leaves the white space behind a value
        for key, value in self.special:
            if key == name:
                return value
        return None

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return [v.rstrip(_SPACE) for k, v in self.fields if k == name] + [v for k, v in self.special if k == name]


class ResponseHead:
    """A response's head, from an upstream."""

    __slots__ = ("connection", "fields", "framing", "http10", "keep_alive", "special", "status", "upgrade")

    status: int
    fields: Fields
    special: Fields
    framing: int
    http10: bool
    keep_alive: bool
    upgrade: bytes | None
    connection: tuple[bytes, ...]

    def get(self, name: bytes) -> bytes | None:
        for key, value in self.fields:
            if key == name:
                return value.rstrip(_SPACE)
        for key, value in self.special:
            if key == name:
                return value
        return None
