"""Responses of an upstream: one head, given whole, becomes a `ResponseHead` or a `ProtocolError`.

The problem of the error is a 502: the upstream broke the protocol, the client did nothing wrong.

llhttp has no part in it. It cannot be told that a response answers HEAD, so it would have to be made anew each time,
and it calls back for each field: 6.6 µs for five. A head is split into lines instead, and most lines of an upstream's
responses are those of the response before (`Server`, `Content-Type`, `Date` for a second): they are looked up. A line
that is not known is read by one expression, which takes what RFC 9112 §5 does and nothing else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gatepost.errors import Problem, ProtocolError
from gatepost.http1.framing import SPECIAL_IN_RESPONSES, Connection, without
from gatepost.http1.messages import CHUNKED, UNTIL_CLOSE, Field, FieldList, Fields, ResponseHead

_STATUS_LINES_KEPT: Final = 64
_LINES_KEPT: Final = 1_024
_LINE_KEPT: Final = 128  # bytes; a longer one (a cookie, a policy) is read each time
_HEAD_KEPT: Final = 2_048  # bytes; a longer one is read each time
_VERSIONS: Final = {b"HTTP/1.1": False, b"HTTP/1.0": True}
# RFC 9110 §5.1 and §5.5: a token, and visible characters with spaces and tabs between them; no folding.
_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length:[ \t]*", re.IGNORECASE)
_REASON: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class _Line(NamedTuple):
    """A field line that was read. `out` is empty where the field does not go through."""

    field: Field
    out: bytes
    dated: bool


class ResponseParser:
    """Parses response heads, in any order: it remembers lines, not messages. An upstream's connections share one."""

    __slots__ = ("_after", "_before", "_data", "_head", "_known", "_length_at", "_method", "_statuses")

    def __init__(self) -> None:
        self._statuses: dict[bytes, tuple[bool, int]] = {}
        self._known: dict[bytes, _Line] = {}
        self._data = b""  # the last head
        self._method = b""
        self._head: ResponseHead
        # What stands before and after its length, where it has one that says how long its body is.
        self._before = self._after = b""
        self._length_at = 0  # in `special`

    def parse(self, data: bytes, method: bytes) -> ResponseHead:
        """`data` is one head with its empty line, in answer to `method`. Raises ProtocolError.

        The head that was parsed before must not be read any more, but for its fields: it may be the same object.
        Answers of one kind, in one second, differ in their length only, if they do.
        """
        if method == self._method:
            if data == self._data:
                return self._head
            before, after = self._before, self._after
            if before and data.startswith(before) and data.endswith(after):
                length = data[len(before) : -len(after)]
                if length.isdigit() and len(length) <= 18:
                    head = self._head
                    head.framing = int(length)
                    head.special[self._length_at] = (b"content-length", length)
                    self._data = data
                    return head
        self._data = b""
        head = self._head = self._parse(data, method)
        self._method = method
        self._before = b""
        if len(data) <= _HEAD_KEPT:
            self._data = data
            self._keep(data, head)
        return head

    def _keep(self, data: bytes, head: ResponseHead) -> None:
        if self._method == b"HEAD" or head.status in (204, 304) or head.status < 200:
            return  # their length is not that of a body
        for at, (name, length) in enumerate(head.special):
            if name == b"content-length":
                line = _LENGTH_LINE.search(data)
                if line is not None:
                    self._length_at = at
                    self._before = data[: line.end()]
                    self._after = data[line.end() + len(length) :]

    def _parse(self, data: bytes, method: bytes) -> ResponseHead:
        head = ResponseHead()
        lines = data.split(b"\r\n")
        head.http10, head.status = self._statuses.get(lines[0]) or self._status(lines[0])
        known = self._known
        fields = head.fields = FieldList()
        special = head.special = []
        outs: list[bytes] = []
        for line in lines[1:-2]:
            field, out, dated = known.get(line) or self._read(line)
            if out:
                fields.append(field)
                outs.append(out)
                if dated:
                    fields.dated = True
            else:
                special.append(field)
        fields.lines = b"".join(outs)
        _frame(head, method)
        return head

    def _read(self, line: bytes) -> _Line:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _bad("one of its lines is no field")
        name = match[1].lower()
        value = match[2].rstrip(b" \t")
        special = name in SPECIAL_IN_RESPONSES
        read = _Line((name, value), b"" if special else b"%b: %b\r\n" % (name, value), name == b"date")
        if len(line) <= _LINE_KEPT:
            if len(self._known) >= _LINES_KEPT:
                self._known.clear()
            self._known[line] = read
        return read

    def _status(self, line: bytes) -> tuple[bool, int]:
        http10 = _VERSIONS.get(line[:8])
        code = line[9:12]
        reason = line[12:]
        if (
            http10 is None
            or line[8:9] != b" "
            or not (code.isdigit() and len(code) == 3)
            or reason[:1] not in (b" ", b"")
        ):
            raise _bad("its status line is not 'HTTP/1.1 CODE reason'")
        status = int(code)
        if not 100 <= status <= 599:
            raise _bad(f"its status {status} is not from 100 to 599")  # llhttp lets 999 pass
        if not _REASON.fullmatch(reason):
            raise _bad("its reason phrase has a control character")
        if len(self._statuses) < _STATUS_LINES_KEPT:
            self._statuses[line] = (http10, status)
        return http10, status


def _frame(head: ResponseHead, method: bytes) -> None:
    """RFC 9112 §6.3, refusing what two readers could read differently."""
    length = coding = upgrade = None
    connection: list[bytes] | None = None
    for name, value in head.special:
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise _bad("its Content-Length is not one number of bytes")
            length = value
        elif name == b"connection":
            if value != b"keep-alive" or head.http10:  # what most servers say, and no news in HTTP/1.1
                connection = [*connection, value] if connection else [value]
        elif name == b"transfer-encoding":
            if coding is not None:
                raise _bad("its Transfer-Encoding is not exactly 'chunked'")
            coding = value
        elif name == b"upgrade":
            upgrade = value if upgrade is None else b""
    status = head.status
    head.upgrade = upgrade or None
    head.connection = ()
    head.keep_alive = not head.http10
    if connection is not None:
        said = Connection(connection)
        head.keep_alive = (said.keep_alive if head.http10 else True) and not said.close
        if said.options:
            head.connection = said.options
            head.fields = without(head.fields, said.options)
    if coding is not None and length is not None:
        raise _bad("it has both Content-Length and Transfer-Encoding")
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        head.framing = 0
    elif length is not None:
        head.framing = int(length)
    elif coding is not None:
        if coding.lower() != b"chunked" or head.http10:
            raise _bad("its Transfer-Encoding is not exactly 'chunked'")
        head.framing = CHUNKED
    else:
        head.framing = UNTIL_CLOSE
        head.keep_alive = False


def declared_length(special: Fields) -> bytes | None:
    """The Content-Length of a response without a body (to HEAD, or 304): it is passed on as information."""
    for name, value in special:
        if name == b"content-length":
            return value
    return None


def _bad(detail: str) -> ProtocolError:
    return ProtocolError(
        Problem(
            502, "upstream-invalid", "The upstream sent an invalid response", f"The response is not valid: {detail}"
        )
    )
