"""`admin_token`: only who shows the administrator's token may pass. Guards the control listener.

Refusals have the shape that Svix's clients read (`{"code", "detail"}`). What is compared are SHA-256 digests, in
constant time: how long a refusal took says nothing about the token, and memory holds no token to leak.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

import msgspec

from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response

LONGEST: Final = 512  # bytes; what is longer is no token, and not worth hashing

_ADMIN: Final = Consumer("admin")
_MISSING: Final = "Send the administrator's token: `Authorization: Bearer gp_admin_…`."
_WRONG: Final = "This is not the administrator's token."


class AdminToken(Policy):
    """401 without the token whose SHA-256 is `digest`; with it `x.consumer` is `admin`."""

    name = "admin_token"
    phase = Phase.IDENTIFY

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def on_request(self, x: Exchange) -> Response | None:
        values = x.head.all(b"authorization")
        if not values:
            return _refusal(_MISSING, b'Bearer realm="gatepost"')  # RFC 6750 §3.1: no error code where nothing was sent
        scheme, _, token = values[0].partition(b" ")
        token = token.strip(b" ")
        # RFC 9110 §11.1: the scheme's case does not matter. Two fields are two answers to who it is: neither counts.
        if len(values) == 1 and scheme.lower() == b"bearer" and 0 < len(token) <= LONGEST:
            if hmac.compare_digest(sha256(token).digest(), self._digest):
                x.consumer = _ADMIN
                return None
            return _refusal(_WRONG, b'Bearer realm="gatepost", error="invalid_token"')
        return _refusal(_MISSING, b'Bearer realm="gatepost", error="invalid_request"')


def _refusal(detail: str, challenge: bytes) -> Response:
    body = msgspec.json.encode({"code": "authentication_failed", "detail": detail})
    fields = [(b"content-type", b"application/json"), (b"www-authenticate", challenge)]
    return Response(401, fields, body, "authentication-failed")
