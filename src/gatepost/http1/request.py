"""Requests: one head, given whole, becomes a `RequestHead` or a `ProtocolError` with the answer to send."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from gatepost.errors import ProtocolError
from gatepost.http1.fields import SPACE
from gatepost.http1.framing import SPECIAL, Connection, bad_request, refuse, request_framing, valid_host, without
from gatepost.http1.messages import CHUNKED, FieldBlock, Fields, RequestHead
from gatepost.http1.targets import split_target

END_OF_HEAD: Final = b"\r\n\r\n"
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_HOSTS_KEPT: Final = 1024
_LINES_KEPT: Final = 16_384
_LINE_KEPT: Final = 256  # bytes; a longer line is read each time
_HEAD_KEPT: Final = 2_048  # bytes of a head that its connection remembers, three times over


def _any_of(names: Iterable[str]) -> str:
    """A pattern for these names in any case. Names that begin alike share a branch: where a line begins with none of
    the first letters, which most do, one look is enough."""
    rests: dict[str, list[str]] = {}
    for name in sorted(names):
        rests.setdefault(name[:1], []).append(name[1:])
    branches = []
    for letter, more in rests.items():
        branch = f"[{letter}{letter.upper()}]" if letter.isalpha() else re.escape(letter)
        branches.append(branch + _any_of(more) if any(more) else branch)
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _lines_of(names: str) -> re.Pattern[bytes]:
    """Splits a head into what stands between the lines of these names, and their names and values. What a bare CR or LF
    could do to it, llhttp has refused before."""
    return re.compile(rf"\n({names}):[ \t]*([^\r]*)\r(?=\n)".encode())


_FIRST: Final = "".join(sorted({name[:1].decode() for name in SPECIAL}))
_SPECIAL: Final = f"(?=[{_FIRST}{_FIRST.upper()}]){_any_of(name.decode() for name in SPECIAL)}"
_SPECIAL_LINES: Final = _lines_of(_SPECIAL)
_SPECIAL_AND_UNDERSCORED: Final = _lines_of(f"{_SPECIAL}|[^:_]*_[^:]*")


class RequestLine(NamedTuple):
    """A request line that was read: what it says, and what its target names (`targets.py`)."""

    method: bytes
    target: bytes
    http10: bool
    path: str
    query: bytes
    authority: bytes | None


class HeadLimits:
    """The limits of one listener, and the request lines and hosts that it has read lately: the same ones come again
    and again, and reading them is half of the work. Shared by its connections; bounded."""

    __slots__ = ("header_bytes", "header_count", "hosts", "keep_underscores", "lines", "target_bytes")

    def __init__(
        self,
        header_bytes: int = 65_536,
        header_count: int = 100,
        target_bytes: int = 8_192,
        *,
        keep_underscores: bool = False,
    ) -> None:
        self.header_bytes = header_bytes
        self.header_count = header_count
        self.target_bytes = target_bytes
        self.keep_underscores = keep_underscores
        self.hosts: dict[bytes, bytes] = {}
        self.lines: dict[bytes, RequestLine] = {}


class RequestParser:
    """Parses the heads of one connection, one after the other.

    A client repeats itself on a kept connection: most of its fields are the same each time (what HPACK lives of), and
    often the whole head is. So the parser remembers the last head, and what is equal to it byte for byte is not
    read again: 0.1 µs instead of 3 (one field) or 10 (twelve). What it remembers was that client's own.
    """

    __slots__ = ("_block", "_complete", "_data", "_head", "_kept", "_limits", "_llhttp")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._llhttp = HttpRequestParser(self)
        self._complete = True
        self._data = self._block = b""  # the last head, and what of it follows the request line
        self._head: RequestHead
        self._kept: tuple[FieldBlock, bytes, bytes, int]  # what of it may be changed, as it came

    def on_message_complete(self) -> None:  # llhttp calls it: a head without a body, after which it takes another
        self._complete = True

    def parse(self, data: bytes) -> RequestHead:
        """`data` is one head with its empty line and nothing behind it. Raises ProtocolError.

        The head that was parsed before must not be read any more: it may be the same object.
        """
        if data == self._data:
            head = self._head
            # Policies may have changed these for the last request: a framing that stayed so would be the end of another
            # body than the client's.
            head.block, head.method, head.target, head.framing = self._kept
            return head
        return self._parse(data)

    def _parse(self, data: bytes) -> RequestHead:
        limits = self._limits
        # Counted before llhttp sees it: it has no limits of its own.
        if len(data) > limits.header_bytes:
            raise head_too_large(limits)
        head = RequestHead()
        end = data.find(b"\r\n")
        line = data[:end]
        read = limits.lines.get(line)
        known = read is not None
        if read is None:
            read = self._read_line(line)
        head.method, head.target, head.http10, head.path, head.query, authority = read
        block = self._block
        if (
            block
            and len(data) - len(block) == end
            and data.endswith(block)
            and known
            and not (authority or head.http10)
        ):
            self._repeat(head)
            self._data = data
            return head
        self._data = self._block = b""
        if not self._complete:  # the last head announced a body, which llhttp did not see
            self._llhttp = HttpRequestParser(self)
        self._complete = False
        try:
            self._llhttp.feed_data(data)
        except HttpParserUpgrade:
            self._complete = False
        except HttpParserError as error:
            raise bad_request(str(error)) from None
        if data.count(b"\n") - 2 > limits.header_count:
            raise refuse(
                431,
                "too-many-header-fields",
                "The request has too many header fields",
                f"at most {limits.header_count} fields are taken",
            )
        if not known and end <= _LINE_KEPT:  # only now: what llhttp refuses in it stays refused
            if len(limits.lines) >= _LINES_KEPT:
                limits.lines.clear()
            limits.lines[line] = read
        # What the gateway decides itself is cut out; what is left goes on as it came.
        if 95 in data and not limits.keep_underscores and _underscored(data, end):
            # Many upstreams read "_" as "-": X_Forwarded_For would pass as X-Forwarded-For.
            parts = _without_underscored(_SPECIAL_AND_UNDERSCORED.split(data))
        else:
            parts = _SPECIAL_LINES.split(data)
        head.special = [(parts[at].lower(), parts[at + 1].rstrip(SPACE)) for at in range(1, len(parts), 3)]
        fields = head.block = FieldBlock(b"".join(parts[::3])[end + 2 : -2])
        self._frame(head)
        if authority is not None:
            head.host = authority  # RFC 9112 §3.2.2: it replaces what Host says
        elif (
            len(data) <= _HEAD_KEPT
            and not head.http10
            and head.keep_alive
            and head.upgrade is None
            and head.block is fields
        ):
            self._data = data
            self._block = data[end:]
            self._head = head
            self._kept = fields, head.method, head.target, head.framing
        return head

    def _repeat(self, head: RequestHead) -> None:
        """Another request line before the same fields."""
        last = self._head
        block, _, _, framing = self._kept
        self._kept = block, head.method, head.target, framing
        head.block = block
        head.special = last.special
        head.host = last.host
        head.framing = framing
        head.keep_alive = last.keep_alive
        head.expect_continue = last.expect_continue
        head.upgrade = None
        head.connection = ()
        self._head = head

    def _read_line(self, line: bytes) -> RequestLine:
        limits = self._limits
        parts = line.split(b" ")
        # llhttp passes over line ends in front of a request line: they would go on as part of the method.
        if len(parts) != 3 or not line[:1].isalpha():
            raise bad_request("the request line is not 'METHOD target HTTP/1.1'")
        method, target, version = parts
        if version != b"HTTP/1.1" and version != b"HTTP/1.0":
            if version[:5] == b"HTTP/" and version[5:6].isdigit():
                raise version_unknown()
            raise bad_request("the request line is not 'METHOD target HTTP/1.1'")
        if len(target) > limits.target_bytes:
            raise target_too_long(limits)
        named = split_target(method, target)
        if named.authority is not None and not valid_host(named.authority):
            raise bad_request("the target's host is not a host name or address with an optional port")
        return RequestLine(method, target, version == b"HTTP/1.0", named.path, named.query, named.authority)

    def _frame(self, head: RequestHead) -> None:
        head.expect_continue = False
        head.upgrade = None
        head.connection = ()
        head.framing = 0
        head.keep_alive = not head.http10
        special = head.special
        if len(special) == 1 and special[0][0] == b"host":
            value = special[0][1]
            head.host = self._limits.hosts.get(value) or self._host(value)
            return
        hosts = [value for name, value in special if name == b"host"]
        if len(hosts) > 1:
            raise bad_request("Host is given twice")
        if hosts:
            head.host = self._limits.hosts.get(hosts[0]) or self._host(hosts[0])
        elif not head.http10:
            raise bad_request("Host is missing")
        else:
            head.host = b""
        self._frame_special(head, special)

    def _frame_special(self, head: RequestHead, special: Fields) -> None:
        lengths: list[bytes] = []
        codings: list[bytes] = []
        connection: list[bytes] = []
        upgrade: list[bytes] = []
        for name, value in special:
            if name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif name == b"connection":
                connection.append(value)
            elif name == b"upgrade":
                upgrade.append(value)
            elif name == b"expect":
                # RFC 9110 §10.1.1: an HTTP/1.0 client's expectation is ignored; an unknown one may be 417.
                if value.lower() != b"100-continue":
                    raise refuse(417, "expectation-unknown", "This expectation cannot be met", "only '100-continue' is")
                head.expect_continue = not head.http10
        if lengths or codings:
            head.framing = request_framing(lengths, codings, http10=head.http10)
            if head.framing == CHUNKED or head.framing > 0:
                self._complete = False
        if connection:
            said = Connection(connection)
            head.keep_alive = (said.keep_alive if head.http10 else True) and not said.close
            if head.http10 and head.keep_alive and head.method in _WITH_CONTENT and not lengths:
                raise _length_required()
            # A request with a body never upgrades: llhttp would take the body for the new protocol's bytes.
            if said.upgrade and len(upgrade) == 1 and head.framing == 0 and not head.http10:
                head.upgrade = upgrade[0]
            if said.options:
                head.connection = said.options
                head.fields = without(head.fields, said.options)

    def _host(self, value: bytes) -> bytes:
        hosts = self._limits.hosts
        host = value.lower()
        if not valid_host(host):
            raise bad_request("Host is not a host name or address with an optional port")
        if len(hosts) >= _HOSTS_KEPT:
            hosts.clear()
        hosts[value] = host
        return host


def _underscored(data: bytes, end: int) -> bool:
    """Whether a name has a "_" behind `end`, the end of the request line. Values often do (x86_64): a line with one
    costs 0.4 µs, the others nothing."""
    at = data.find(b"_", end)
    while at >= 0:
        if data.find(b":", data.rfind(b"\n", 0, at), at) < 0:
            return True
        at = data.find(b"_", data.find(b"\n", at))
    return False


def _without_underscored(parts: list[bytes]) -> list[bytes]:
    """A split head of which those lines are gone whose names have a "_"."""
    out = parts[:1]
    for at in range(1, len(parts), 3):
        name, value, after = parts[at : at + 3]
        if 95 in name:
            out[-1] += after
        else:
            out += (name, value, after)
    return out


def _length_required() -> ProtocolError:
    """RFC 1945 §8.3: HTTP/1.0 content must say its length. On a kept connection, whatever follows the head could be
    the content or the next request."""
    detail = "HTTP/1.0 content on a kept connection needs a Content-Length field"
    return refuse(411, "length-required", "The request must say its length", detail)


def check_unfinished(data: bytes, limits: HeadLimits) -> None:
    """Refuse a head that has not ended yet as soon as it can be told that it never will be one, so that nobody waits
    for a time-out with what is already wrong."""
    first = data[:1]
    if first and not first.isalpha():
        raise bad_request("this is not an HTTP request")
    line_end = data.find(b"\r\n")
    if line_end < 0 and len(data) > limits.target_bytes + 64:
        raise target_too_long(limits)
    if len(data) > limits.header_bytes:
        raise head_too_large(limits)
    ends = data.count(b"\r\n")
    if data.count(b"\n") != ends:
        raise bad_request("a line that ends in LF alone")
    if data.count(b"\r") - (data[-1:] == b"\r") != ends:
        raise bad_request("a CR without its LF")
    if line_end >= 0:
        line = data[:line_end]
        if not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
            if line[-9:-3] == b" HTTP/":
                raise version_unknown()
            raise bad_request("the request line is not 'METHOD target HTTP/1.1'")


def head_too_large(limits: HeadLimits) -> Exception:
    return refuse(
        431,
        "header-fields-too-large",
        "The request's header is too large",
        f"at most {limits.header_bytes} bytes are taken",
    )


def target_too_long(limits: HeadLimits) -> Exception:
    return refuse(
        414, "target-too-long", "The request target is too long", f"at most {limits.target_bytes} bytes are taken"
    )


def version_unknown() -> Exception:
    return refuse(505, "version-unknown", "This HTTP version is not supported", "HTTP/1.1 and HTTP/1.0 are")
