"""A strict reader of HTTP/1.1, written for the tests from RFC 9112 alone: it shares nothing with the product.

It takes only what a careful sender writes: one framing field, CRLF everywhere, chunks without extensions. Both ends
of the wire tests use it, so that whatever Gatepost writes, to a client or to an upstream, is checked by the way.
"""

from __future__ import annotations

import re
from typing import Final, Literal

TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Visible characters, obs-text, and blanks inside (RFC 9110 §5.5); never a control character.
FIELD_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\x20\t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
TARGET: Final = re.compile(rb"[\x21-\x7e]+")
REQUEST_LINE: Final = re.compile(rb"([^ ]+) ([^ ]+) HTTP/1\.1")
STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\x20-\x7e]*)")
CHUNK_LINE: Final = re.compile(rb"(?:0|[1-9A-Fa-f][0-9A-Fa-f]{0,7})")

Fields = list[tuple[bytes, bytes]]
Framing = Literal["none", "length", "chunked", "until-close"]


class NotHttp(AssertionError):
    """What came is not HTTP/1.1 as a careful sender writes it."""


class Message:
    """What the reader has read so far. Field names are in lower case."""

    def __init__(self) -> None:
        self.raw = bytearray()  # every byte of the message
        self.method = b""
        self.target = b""
        self.status = 0
        self.fields: Fields = []
        self.framing: Framing = "none"
        self.body = bytearray()
        self.trailers: Fields = []
        self.complete = False

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that stands at most once."""
        values = self.all(name)
        if len(values) > 1:
            raise NotHttp(f"{name!r} stands {len(values)} times: {values!r}")
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    def __repr__(self) -> str:
        return f"<{bytes(self.raw[:200])!r}>"


class Reader:
    """Reads one message. `method` is the request's that a response answers; b"" to read a request."""

    def __init__(self, method: bytes = b"") -> None:
        self.message = Message()
        self.has_head = False
        self._method = method
        self._buffer = bytearray()  # not understood yet
        self._left = 0
        self._chunk: Literal["size", "data", "trailers"] = "size"

    def feed(self, data: bytes) -> bytes:
        """Take bytes; what follows the message is handed back. Raises NotHttp."""
        message = self.message
        if message.complete:
            return data
        self._buffer += data
        if not self.has_head:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                self._refuse_early()
                message.raw += data
                return b""
            head = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            self._head(head)
            self.has_head = True
        rest = self._body()
        message.raw += data[: len(data) - len(rest)]
        return rest

    def end(self) -> None:
        """The stream ended. Raises NotHttp if the message has not."""
        if self.has_head and self.message.framing == "until-close":
            self.message.complete = True
        elif not self.message.complete:
            raise NotHttp(f"the stream ended inside a message: {self.message!r}")

    def _refuse_early(self) -> None:
        if len(self._buffer) > 200_000:
            raise NotHttp("a head without an end")
        if self._buffer[:1] and not self._buffer[:1].isalpha():
            raise NotHttp(f"this is not the beginning of a message: {bytes(self._buffer[:80])!r}")

    def _head(self, head: bytes) -> None:
        message = self.message
        if b"\0" in head:
            raise NotHttp("NUL in a head")
        lines = head[:-4].split(b"\r\n")
        for line in lines:
            if b"\r" in line or b"\n" in line:
                raise NotHttp(f"a bare CR or LF in {line!r}")
        if self._method:
            matched = STATUS_LINE.fullmatch(lines[0])
            if matched is None:
                raise NotHttp(f"not a status line: {lines[0]!r}")
            message.status = int(matched[1])
        else:
            matched = REQUEST_LINE.fullmatch(lines[0])
            if matched is None or not TOKEN.fullmatch(matched[1]) or not TARGET.fullmatch(matched[2]):
                raise NotHttp(f"not a request line: {lines[0]!r}")
            message.method, message.target = matched[1], matched[2]
        message.fields = [field(line) for line in lines[1:]]
        message.framing = self._frame()

    def _frame(self) -> Framing:
        message = self.message
        length, coding = message.get(b"content-length"), message.get(b"transfer-encoding")
        if length is not None and coding is not None:
            raise NotHttp("both Content-Length and Transfer-Encoding")
        if coding is not None and coding != b"chunked":
            raise NotHttp(f"Transfer-Encoding: {coding!r}")
        if length is not None and not re.fullmatch(rb"0|[1-9][0-9]*", length):
            raise NotHttp(f"Content-Length: {length!r}")
        if self._method:
            bodiless = self._method == b"HEAD" or message.status < 200 or message.status in (204, 304)
            if (message.status < 200 or message.status == 204) and (length is not None or coding is not None):
                raise NotHttp(f"a framing field in a {message.status}: RFC 9110 §8.6, RFC 9112 §6.1")
            if bodiless:
                return "none"
            if coding is None and length is None:
                return "until-close"
        if coding is not None:
            return "chunked"
        if length is not None:
            self._left = int(length)
            return "length"
        return "none"

    def _body(self) -> bytes:
        """Read what there is of the body; what follows the message, once that is whole."""
        message, buffer = self.message, self._buffer
        if message.framing == "none":
            message.complete = True
        elif message.framing == "until-close":
            message.body += buffer
            buffer.clear()
        elif message.framing == "length":
            self._take()
            message.complete = self._left == 0
        else:
            while not message.complete and self._chunked():
                pass
        return bytes(buffer) if message.complete else b""

    def _take(self) -> None:
        piece = self._buffer[: self._left]
        self.message.body += piece
        self._left -= len(piece)
        del self._buffer[: len(piece)]

    def _chunked(self) -> bool:
        """One step of a chunked body; False where more bytes are needed."""
        message, buffer = self.message, self._buffer
        if self._chunk == "data":
            self._take()
            if self._left or len(buffer) < 2:
                return False
            if buffer[:2] != b"\r\n":
                raise NotHttp(f"a chunk is not followed by CRLF but by {bytes(buffer[:2])!r}")
            del buffer[:2]
            self._chunk = "size"
            return True
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > 10_000:
                raise NotHttp(f"a line without an end: {bytes(buffer[:40])!r}")
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if self._chunk == "trailers":
            if line:
                message.trailers.append(field(line))
            else:
                message.complete = True
        else:
            if not CHUNK_LINE.fullmatch(line):
                raise NotHttp(f"not a chunk size: {line!r}")
            self._left = int(line, 16)
            self._chunk = "data" if self._left else "trailers"
        return True


def field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
        raise NotHttp(f"not a field line: {line!r}")
    return name.lower(), value
