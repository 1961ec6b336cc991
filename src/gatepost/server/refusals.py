"""What the server itself answers when it does not let an exchange through."""

from __future__ import annotations

from typing import Final

import msgspec

from gatepost.errors import PROBLEM_PREFIX, Problem, ProtocolError
from gatepost.http1.framing import bad_request, refuse

NOT_FOUND: Final = Problem(404, "no-route", "Nothing is routed here", "no route matches this host and path")
METHOD_NOT_ALLOWED: Final = Problem(
    405, "method-not-allowed", "This method is not allowed here", "Allow names the methods that are"
)


def too_large(limit: int) -> ProtocolError:
    return refuse(413, "body-too-large", "The request's body is too large", f"at most {limit} bytes are taken here")


def cut_off() -> ProtocolError:
    return bad_request("the connection was closed in the middle of a request")


def too_slow(detail: str) -> ProtocolError:
    return refuse(408, "request-timeout", "The request took too long", detail)


def _too_many() -> bytes:
    body = msgspec.json.encode(
        {
            "type": PROBLEM_PREFIX + "too-many-connections",
            "title": "The gateway has too many connections",
            "status": 503,
        }
    )
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )


TOO_MANY: Final = _too_many()  # before a head was read: there is no request to name
