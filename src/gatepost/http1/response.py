"""Responses of an upstream: one head, given whole, becomes a `ResponseHead` or a `ProtocolError`.

The problem of the error is a 502: the upstream broke the protocol, the client did nothing wrong.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gatepost.errors import Problem, ProtocolError
from gatepost.http1.framing import SPECIAL_IN_RESPONSES, Connection, without
from gatepost.http1.messages import CHUNKED, UNTIL_CLOSE, Fields, ResponseHead

_LINES_KEPT: Final = 16
_VERSIONS: Final = {b"HTTP/1.1": False, b"HTTP/1.0": True}


class ResponseParser:
    """Parses response heads, one after the other."""

    __slots__ = ("_fields", "_lines", "_special")

    def __init__(self) -> None:
        self._lines: dict[bytes, tuple[bool, int]] = {}  # status lines seen before

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in SPECIAL_IN_RESPONSES:
            self._special.append((name, value.rstrip(b" \t")))
        else:
            self._fields.append((name, value))

    def parse(self, data: bytes, method: bytes) -> ResponseHead:
        """`data` is one head with its empty line, in answer to `method`. Raises ProtocolError."""
        head = ResponseHead()
        line = data[: data.find(b"\r\n")]
        head.http10, head.status = self._lines.get(line) or self._status(line)
        self._fields = head.fields = []
        self._special = head.special = []
        try:
            # A new one each time (0.3 µs): llhttp cannot be told that a response answers HEAD, nor skip a body.
            HttpResponseParser(self).feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            raise _bad(str(error)) from None
        _frame(head, method)
        return head

    def _status(self, line: bytes) -> tuple[bool, int]:
        http10 = _VERSIONS.get(line[:8])
        code = line[9:12]
        if http10 is None or line[8:9] != b" " or not code.isdigit() or line[12:13] not in (b" ", b""):
            raise _bad("its status line is not 'HTTP/1.1 CODE reason'")
        status = int(code)
        if not 100 <= status <= 599:
            raise _bad(f"its status {status} is not from 100 to 599")  # llhttp lets 999 pass
        if len(self._lines) < _LINES_KEPT:
            self._lines[line] = (http10, status)
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
