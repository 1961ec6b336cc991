"""The chunked transfer coding, RFC 9112 §7.1, both ways.

Decoded here and not by llhttp, because the exact end must be known: what follows is the next request. Stricter than the
grammar: a line ends in CRLF and nothing else, extensions are counted and dropped, a trailer that could frame, route or
authenticate is refused.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpRequestParser

from gatepost.http1.framing import bad_request, check_trailer_name, refuse
from gatepost.http1.messages import Fields

LAST_CHUNK: Final = b"0\r\n\r\n"
MAX_LINE: Final = 1024  # a size with its extensions
MAX_EXTENSIONS: Final = 16_384  # bytes of extensions in one body
MAX_TRAILERS: Final = 8_192  # bytes
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
# RFC 9112 §7.1.1, without the blanks that only old senders write and that llhttp refuses as well.
_EXTENSIONS: Final = re.compile(
    rb"""(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[\t !#-\[\]-~]|\\[\t -~])*"))?)+"""
)

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


def chunk(data: bytes) -> bytes:
    """One chunk. `data` must not be empty: that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkedDecoder:
    """Takes a chunked body in whatever pieces it arrives."""

    __slots__ = ("_extensions", "_left", "_line", "_state", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._line = b""  # an unfinished line
        self._left = 0  # bytes of the chunk that are still to come
        self._extensions = 0
        self.trailers: Fields = []

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(body bytes, what follows the body). Raises ProtocolError. What follows is empty until `done`."""
        if self._state == _DATA and len(data) <= self._left:
            self._left -= len(data)  # the middle of a large chunk: nothing is copied
            if self._left == 0:
                self._state = _DATA_END
            return data, b""
        body: list[bytes] = []
        at = 0
        end = len(data)
        while at < end or (self._state == _DATA and self._left == 0):
            if self._state == _DATA:
                piece = data[at : at + self._left]
                body.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = _DATA_END
            elif self._state == _DATA_END:
                need = 2 - len(self._line)
                self._line += data[at : at + need]
                at += need
                if not b"\r\n".startswith(self._line):
                    raise bad_request("a chunk is longer than its size says")
                if len(self._line) == 2:
                    self._line = b""
                    self._state = _SIZE
            elif self._state == _SIZE:
                at = self._size(data, at)
            elif self._state == _TRAILERS:
                at = self._read_trailers(data, at)
            else:
                break
        return (body[0] if len(body) == 1 else b"".join(body)), data[at:]

    def _size(self, data: bytes, at: int) -> int:
        line, at = self._take_line(data, at, MAX_LINE)
        if line is None:
            return at
        digits, semicolon, extension = line.partition(b";")
        if semicolon:
            self._extensions += len(extension) + 1
            if self._extensions > MAX_EXTENSIONS:
                raise refuse(413, "chunk-extensions-too-large", "The chunk extensions are too large", "")
            if _EXTENSIONS.fullmatch(b";" + extension) is None:
                raise bad_request("a chunk extension is not ';name' or ';name=value'")
        if not digits or len(digits) > 16 or not _HEX.issuperset(digits):
            raise bad_request("a chunk size is not a hexadecimal number")
        self._left = int(digits, 16)
        if self._left >= 1 << 63:
            raise bad_request("a chunk size is too large")
        self._state = _DATA if self._left else _TRAILERS
        return at

    def _take_line(self, data: bytes, at: int, limit: int) -> tuple[bytes | None, int]:
        """The next line without its CRLF, or None if it is unfinished (what is there is kept)."""
        line_end = data.find(b"\n", at)
        if line_end < 0:
            self._line += data[at:]
            if len(self._line) > limit:
                raise bad_request("a chunk size line is too long")
            if b"\r" in self._line[:-1]:
                raise bad_request("a CR without its LF in a chunk size line")
            return None, len(data)
        line = self._line + data[at : line_end + 1]
        self._line = b""
        if len(line) > limit:
            raise bad_request("a chunk size line is too long")
        if line[-2:] != b"\r\n" or b"\r" in line[:-2]:
            raise bad_request("a chunk size line does not end in CRLF")
        return line[:-2], line_end + 1

    def _read_trailers(self, data: bytes, at: int) -> int:
        block = self._line + data[at:]
        if block[:2] == b"\r\n":
            used = 2
        else:
            end = block.find(b"\r\n\r\n")
            if end < 0:
                if len(block) > MAX_TRAILERS:
                    raise refuse(431, "trailers-too-large", "The trailers are too large", "")
                if block.replace(b"\r\n", b"").strip(b"\r").find(b"\n") >= 0:
                    raise bad_request("a trailer line that ends in LF alone")
                self._line = block
                return len(data)
            used = end + 4
            if used > MAX_TRAILERS:
                raise refuse(431, "trailers-too-large", "The trailers are too large", "")
            self.trailers = parse_trailers(block[:used])
        at += used - len(self._line)
        self._line = b""
        self._state = _DONE
        return at


class _TrailerParser:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_trailers(block: bytes) -> Fields:
    """A trailer section with its empty line. llhttp reads it as the fields of a head, with the same strictness."""
    parser = _TrailerParser()
    try:
        HttpRequestParser(parser).feed_data(b"GET / HTTP/1.1\r\n" + block)
    except HttpParserError as error:
        raise bad_request(f"in a trailer: {error}") from None
    for name, _ in parser.fields:
        check_trailer_name(name)
    return parser.fields
