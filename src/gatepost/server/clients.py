"""Who the client is, and what the upstream is told of it. Pure.

Nobody is trusted by default: what a stranger writes into X-Forwarded-For, Forwarded, X-Real-IP or X-Request-Id goes no
further. Only a peer whose address is in `trusted_proxies` speaks for others, and then the real client is the last
address of its X-Forwarded-For that is not itself a trusted proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gatepost.http1.messages import Fields
from gatepost.net.addresses import plain

_REQUEST_ID: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+/=")
_HEX: Final = frozenset(b"0123456789abcdef")

# In `traceparent: 00-<trace id>-<parent id>-<flags>`.
_TRACE: Final = slice(16, 48)
_SPAN: Final = slice(49, 65)
_TRACE_FLAGS: Final = slice(66, 68)


class Client(NamedTuple):
    address: str
    forwarding: bytes  # lines for the upstream, each with its CRLF
    request_id: bytes | None  # where a trusted proxy gave a usable one


def stranger(peer: str, scheme: bytes, host: bytes) -> bytes:
    """The lines for a peer that is not trusted. They depend on nothing else, so a connection keeps them."""
    return _lines(_for(peer), scheme, host, b"forwarded: " + _element(peer, scheme, host))


def through_proxy(
    peer: str, scheme: bytes, host: bytes, special: Fields, is_trusted: Callable[[str], bool]
) -> tuple[Client, bytes, bytes]:
    """What a trusted proxy says: (client, scheme, host), its chain kept and itself added at the end (RFC 7239 §4)."""
    chain = [a for a in (part.strip() for part in _joined(special, b"x-forwarded-for").split(b",")) if a]
    address = peer
    for entry in reversed(chain):
        candidate = _address(entry)
        if candidate is None:
            break  # beyond a word that is no address, nothing can be believed
        address = candidate
        if not is_trusted(candidate):
            break
    proto = _last(special, b"x-forwarded-proto").lower()
    if proto in (b"http", b"https"):
        scheme = proto
    host = _last(special, b"x-forwarded-host") or host
    forwarded = _joined(special, b"forwarded")
    element = _element(peer, scheme, host)
    lines = _lines(
        b", ".join([*chain, _for(peer)]),
        scheme,
        host,
        b"forwarded: " + (forwarded + b", " + element if forwarded else element),
    )
    given = _last(special, b"x-request-id")
    usable = 0 < len(given) <= 128 and _REQUEST_ID.issuperset(given)
    return Client(address, lines, given if usable else None), scheme, host


def trace_lines(special: Fields, begins: bytes) -> bytes:
    """W3C trace context: a valid traceparent is passed on with its tracestate, otherwise the line `begins` one."""
    parent = b""
    state: list[bytes] = []
    for name, value in special:
        if name == b"traceparent":
            if parent:
                return begins  # two of them: neither is believed
            parent = value
        elif name == b"tracestate":
            state.append(value)
    if not _valid_trace(parent):
        return begins
    if state:
        return b"traceparent: %b\r\ntracestate: %b\r\n" % (parent, b",".join(state))
    return b"traceparent: %b\r\n" % parent


def next_trace_lines(special: Fields, begins: bytes) -> bytes:
    """The same where the gateway has a span of its own: the client's trace and its sampling go on, the parent is the
    span of `begins` (W3C trace context §3.3.1.3, "Update parent-id")."""
    line = trace_lines(special, begins)
    if line is begins:
        return begins
    span = begins[_SPAN]
    return b"traceparent: 00-%b-%b-%b\r\n%b" % (line[_TRACE], span, line[_TRACE_FLAGS], line.partition(b"\r\n")[2])


def _valid_trace(value: bytes) -> bool:
    """https://www.w3.org/TR/trace-context/ §3.2: version-traceid-parentid-flags, none of them all zeros."""
    if len(value) < 55 or value[2:3] != b"-" or value[35:36] != b"-" or value[52:53] != b"-":
        return False
    version, trace, span, flags = value[:2], value[3:35], value[36:52], value[53:55]
    if not (_HEX.issuperset(version) and _HEX.issuperset(trace) and _HEX.issuperset(span) and _HEX.issuperset(flags)):
        return False
    if version == b"ff" or trace == b"0" * 32 or span == b"0" * 16:
        return False
    return len(value) == 55 or (version != b"00" and value[55:56] == b"-")


def _lines(chain: bytes, scheme: bytes, host: bytes, forwarded: bytes) -> bytes:
    return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n%b\r\n" % (
        chain,
        scheme,
        host,
        forwarded,
    )


def _for(peer: str) -> bytes:
    return peer.encode() if peer else b"unknown"


def _element(peer: str, scheme: bytes, host: bytes) -> bytes:
    """One element of Forwarded. An IPv6 address is bracketed and quoted: RFC 7239 §6."""
    node = b'"[%b]"' % peer.encode() if ":" in peer else _for(peer)
    return b'for=%b;proto=%b;host="%b"' % (node, scheme, host)


def _joined(special: Fields, name: bytes) -> bytes:
    return b", ".join([v for k, v in special if k == name])


def _last(special: Fields, name: bytes) -> bytes:
    return _joined(special, name).rpartition(b",")[2].strip()


def _address(entry: bytes) -> str | None:
    """An address of X-Forwarded-For, with or without a port or brackets, in its one spelling: limits count by it."""
    text = entry.decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return plain(text)
    except ValueError:
        return None
