"""What a head says, as values. Field names are lower-case bytes; the order of the wire is kept.

A head's fields are sorted while it is parsed, so that forwarding never searches them: `fields` go end to end, `special`
is what the gateway decides itself (framing, hop-by-hop, routing and forwarding fields, named in `framing.SPECIAL`).
"""

from __future__ import annotations

from typing import Final

from gatepost.http1.fields import SPACE, Field, FieldBlock, FieldList, Fields

__all__ = ["CHUNKED", "UNTIL_CLOSE", "Field", "FieldBlock", "FieldList", "Fields", "RequestHead", "ResponseHead"]

# How a body is framed: a number of bytes from 0 up, or one of these.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2  # responses only


class RequestHead:
    """A request's head that passed every rule of `framing.py`."""

    __slots__ = (
        "block",
        "connection",
        "expect_continue",
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
    block: FieldBlock  # the end-to-end fields; `fields` is the same as a list
    special: Fields
    framing: int
    http10: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: bytes | None  # the Upgrade field, where Connection names it and the request has no body
    connection: tuple[bytes, ...]  # lower-case options of Connection other than close, keep-alive and upgrade

    @property
    def fields(self) -> Fields:
        """The end-to-end fields as a list, which is made by the first who asks (4 µs for twelve): `get` and `take` do
        without. Never change it in place: assign another one."""
        return self.block.fields

    @fields.setter
    def fields(self, fields: Fields) -> None:
        self.block = FieldBlock.of(fields)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, by its lower-case name."""
        value = self.block.get(name)
        if value is None:
            for key, value in self.special:
                if key == name:
                    return value
            return None
        return value

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return self.block.all(name) + [v for k, v in self.special if k == name]

    def take(self, name: bytes) -> list[bytes]:
        """The values of an end-to-end field, which goes no further: nobody sees it from now on."""
        values, self.block = self.block.without(name)
        return values


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
                return value.rstrip(SPACE)
        for key, value in self.special:
            if key == name:
                return value
        return None
