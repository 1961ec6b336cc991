"""PROXY protocol v2: what a load balancer says of a connection before the connection's own bytes.

The specification is haproxy's doc/proxy-protocol.txt. Only the binary version is taken, and a listener that takes it
requires it: a header that may be missing is a header that anyone can write.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gatepost.errors import Problem, ProtocolError
from gatepost.net.addresses import plain

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST: Final = 4096  # §2.2 lets a header be 65,551 bytes; a PROXY over TLS with its TLVs has a few hundred
FIXED: Final = 16  # bytes that every header has; they say how long it is
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_STREAM: Final = 1
_ADDRESS_BYTES: Final = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class ProxyHeader(NamedTuple):
    """`consumed` bytes were the header. `source` is the client's address: text of an IP address, "" for a unix
    socket, None where the proxy speaks for itself (a health check) or does not know: the peer's own is meant then."""

    consumed: int
    source: str | None


def parse(buffer: bytes | bytearray) -> ProxyHeader | None:
    """The header at the start of `buffer`, or None while more bytes are needed. Raises ProtocolError."""
    if buffer[:12] != SIGNATURE[: len(buffer)]:
        raise _bad("the connection does not begin with a PROXY protocol v2 header")
    if len(buffer) < FIXED:
        return None
    version, command = buffer[12] >> 4, buffer[12] & 15
    family, transport = buffer[13] >> 4, buffer[13] & 15
    end = FIXED + int.from_bytes(buffer[14:16], "big")
    if version != 2:
        raise _bad(f"version {version} of the PROXY protocol is not supported")
    if end > LONGEST:
        raise _bad(f"the PROXY header is longer than {LONGEST} bytes")
    if command not in (_LOCAL, _PROXY):
        raise _bad(f"the PROXY command {command} is unknown")
    if command == _PROXY:
        if family not in _ADDRESS_BYTES or transport not in (0, _STREAM) or (family == _UNSPEC) != (transport == 0):
            raise _bad("the PROXY header is for another protocol than TCP or a unix stream")
        if end < FIXED + _ADDRESS_BYTES[family]:
            raise _bad("the PROXY header is too short for its addresses")
    if len(buffer) < end:
        return None
    # What follows the addresses are TLVs; nothing here reads them.
    source = _source(family, bytes(buffer[FIXED : FIXED + 16])) if command == _PROXY else None
    return ProxyHeader(end, source)


def length(start: bytes) -> int:
    """How many bytes a header has of which the first `FIXED` are known. Raises ProtocolError where they begin none."""
    parse(start)
    return FIXED + int.from_bytes(start[14:16], "big")


def _source(family: int, head: bytes) -> str | None:
    if family == _UNSPEC:
        return None
    if family == _UNIX:
        return ""
    if family == _INET:
        return ".".join(map(str, head[:4]))
    return plain(":".join(f"{head[at] << 8 | head[at + 1]:x}" for at in range(0, 16, 2)))


def _bad(detail: str) -> ProtocolError:
    return ProtocolError(Problem(400, "bad-proxy-header", "The connection's PROXY header is not valid", detail))
