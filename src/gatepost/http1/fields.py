"""Fields of a head: as a list for those who look at them, as bytes for those who only pass them on.

Most requests are forwarded without anybody having looked at most of their fields. So a request's fields stay the bytes
that they came as (`FieldBlock`), less those lines that the gateway decides itself, and become a list only when a policy
or an expression asks for one: twelve fields cost 4 µs to read and 2 to write down again.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = list[Field]

SPACE: Final = b" \t"
_LINES: Final = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")


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


class FieldBlock:
    """The end-to-end fields of a request, as the bytes that came until somebody looks.

    Never changed, only replaced: heads that repeat each other share one, with all that was made of it so far.
    """

    __slots__ = ("_fields", "_searched", "_taken", "lines", "seen")

    lines: bytes  # as they are written, each with its CRLF
    seen: tuple[object, ...] | None  # what a policy found in them; itself first

    def __init__(self, lines: bytes, fields: Fields | None = None) -> None:
        """`lines` are sound: llhttp or we ourselves have seen to that. `fields` is the same, where it is known."""
        self.lines = lines
        self._fields = fields
        self._searched = b""  # the lines in lower case, each behind a LF
        self._taken: tuple[bytes, list[bytes], FieldBlock] | None = None  # what `without` said last
        self.seen = None

    @classmethod
    def of(cls, fields: Fields) -> FieldBlock:
        return cls(field_lines(fields), fields)

    @property
    def fields(self) -> Fields:
        """All of them, in their order, names in lower case."""
        fields = self._fields
        if fields is None:
            fields = self._fields = read_lines(self.lines)
        return fields

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, by its lower-case name: 0.5 µs, without a list."""
        fields = self._fields
        if fields is not None:
            for key, value in fields:
                if key == name:
                    return value.rstrip(SPACE)
            return None
        at = self._search(b"\n%b:" % name)
        if at < 0:
            return None
        at += len(name) + 1
        return self.lines[at : self.lines.find(b"\r", at)].strip(SPACE)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        if self._fields is None and self._search(b"\n%b:" % name) < 0:
            return []
        return [value.rstrip(SPACE) for key, value in self.fields if key == name]

    def without(self, name: bytes) -> tuple[list[bytes], FieldBlock]:
        """The values of a field, and the block that has none of them: itself where there are none."""
        taken = self._taken
        if taken is not None and taken[0] == name:
            return taken[1], taken[2]
        values, rest = self._split(name) if self._fields is None else self._filter(self._fields, name)
        self._taken = name, values, rest
        return values, rest

    def plus(self, added: Fields, lines: bytes) -> FieldBlock:
        """These and others, of which the bytes are known. What was only passed on stays so."""
        return FieldBlock(self.lines + lines)

    def _search(self, mark: bytes, start: int = 0) -> int:
        """Where in `lines`, from `start` on, the first field begins whose name is in `mark`, a LF before and a colon
        behind it; -1 where there is none."""
        searched = self._searched
        if not searched:
            searched = self._searched = b"\n" + self.lines.lower()
        return searched.find(mark, start)

    def _split(self, name: bytes) -> tuple[list[bytes], FieldBlock]:
        mark = b"\n%b:" % name
        at = self._search(mark)
        if at < 0:
            return [], self
        lines = self.lines
        values: list[bytes] = []
        end = 0
        rest = b""
        while at >= 0:
            rest += lines[end:at]
            end = lines.index(b"\n", at) + 1
            values.append(lines[at + len(name) + 1 : end - 2].strip(SPACE))
            at = self._search(mark, end)
        return values, FieldBlock(rest + lines[end:])

    def _filter(self, fields: Fields, name: bytes) -> tuple[list[bytes], FieldBlock]:
        values = [value.rstrip(SPACE) for key, value in fields if key == name]
        return values, FieldBlock.of([field for field in fields if field[0] != name]) if values else self


def field_lines(fields: Fields) -> bytes:
    """Fields as bytes, each with its CRLF."""
    if type(fields) is FieldList:
        lines = fields.lines
        if lines is None:
            lines = fields.lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        return lines
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def read_lines(lines: bytes) -> FieldList:
    """Field lines that are known to be sound, each with its CRLF, as a list. White space around values goes."""
    fields = FieldList()
    fields += [(name.lower(), value.rstrip(SPACE)) for name, value in _LINES.findall(lines)]
    fields.lines = lines
    return fields
