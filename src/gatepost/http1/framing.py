"""The rules of RFC 9112 that llhttp leaves to its user, and those where a gateway must be stricter.

A gateway that reads a message otherwise than the server behind it can be smuggled through. So wherever the RFC allows
a guess, the message is refused instead.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import Problem, ProtocolError
from gatepost.http1.messages import CHUNKED, Fields

# Fields that never go through as they came: they frame the message, belong to one hop (RFC 9110 §7.6.1), say where it
# goes, or say whom it comes from, which is the gateway's to say.
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    }
)
FORWARDING: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
    }
)
SPECIAL: Final = FRAMING | HOP_BY_HOP | FORWARDING | {b"host", b"expect"}
SPECIAL_IN_RESPONSES: Final = FRAMING | HOP_BY_HOP

# RFC 9110 §6.5.1: a trailer must not frame, route, authenticate or modify the request.
NEVER_IN_TRAILERS: Final = SPECIAL | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"max-forwards",
    b"range",
    b"set-cookie",
}

_HOST: Final = re.compile(
    # RFC 3986 §3.2.2 without percent-encoding: no upstream agrees with another on what it means in a Host.
    rb"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9._~!$&'()*+,;=-]{1,255})(?::[0-9]{1,5})?"
)


def refuse(status: int, slug: str, title: str, detail: str) -> ProtocolError:
    return ProtocolError(Problem(status, slug, title, detail))


def bad_request(detail: str) -> ProtocolError:
    return refuse(400, "bad-request", "The request is not valid HTTP/1.1", detail)


def valid_host(value: bytes) -> bool:
    """Whether `value`, in lower case, is a host with an optional port: RFC 9110 §7.2."""
    return _HOST.fullmatch(value) is not None


def content_length(values: list[bytes]) -> int:
    """RFC 9112 §6.3 lets a recipient fold equal lengths into one. Two readers may fold differently: it is refused."""
    if len(values) > 1:
        raise bad_request("Content-Length is given twice")
    value = values[0]
    if not value.isdigit() or len(value) > 18:
        raise bad_request("Content-Length is not a number of bytes")
    return int(value)


def tokens(values: list[bytes]) -> list[bytes]:
    """The lower-case members of a comma-separated list."""
    return [token for value in values for part in value.split(b",") if (token := part.strip(b" \t").lower())]


class Connection:
    """What the Connection fields of a head say."""

    __slots__ = ("close", "keep_alive", "options", "upgrade")

    def __init__(self, values: list[bytes]) -> None:
        options = tokens(values)
        self.close = b"close" in options
        self.keep_alive = b"keep-alive" in options
        self.upgrade = b"upgrade" in options
        self.options = tuple(o for o in options if o not in _CONNECTION_WORDS)


_CONNECTION_WORDS: Final = frozenset({b"close", b"keep-alive", b"upgrade"})


def request_framing(lengths: list[bytes], codings: list[bytes], *, http10: bool) -> int:
    """How the body of a request is framed: RFC 9112 §6. 0 where neither field stands."""
    if codings:
        if http10:
            raise bad_request("Transfer-Encoding in an HTTP/1.0 request")
        if lengths:
            raise bad_request("both Content-Length and Transfer-Encoding")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise refuse(
                501,
                "transfer-coding-unknown",
                "This transfer coding is not supported",
                "Transfer-Encoding must be exactly 'chunked'",
            )
        return CHUNKED
    return content_length(lengths) if lengths else 0


def check_trailer_name(name: bytes) -> None:
    if name in NEVER_IN_TRAILERS:
        raise bad_request(f"the field {name.decode('latin-1')!r} must not stand in a trailer")


def without(fields: Fields, names: tuple[bytes, ...]) -> Fields:
    return [field for field in fields if field[0] not in names]
