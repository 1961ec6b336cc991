"""`admin_token`: only who shows the administrator's token may pass. Guards the control listener.

Refusals have the shape that Svix's clients read (`{"code", "detail"}`); on the paths that are Gatepost's own they are
problem documents. What is compared are SHA-256 digests, in constant time: how long a refusal took says nothing about
the token, and memory holds no token to leak.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from gatepost.errors import Problem
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response, problem
from gatepost.http1.messages import Field

LONGEST: Final = 512  # bytes; what is longer is no token, and not worth hashing

_ADMIN: Final = Consumer("admin")
_MISSING: Final = Problem(
    401,
    "token-missing",
    "A token is needed",
    "Send the administrator's token: `Authorization: Bearer gp_admin_…`. Its file is admin.token, beside the store.",
)
_WRONG: Final = Problem(401, "token-invalid", "The token is not valid", "This is not the administrator's token.")


class AdminToken(Policy):
    """401 without the token whose SHA-256 is `digest`; with it `x.consumer` is `admin`."""

    name = "admin_token"
    phase = Phase.IDENTIFY

    def __init__(self, digest: bytes, own: Callable[[str], bool] = lambda path: False) -> None:
        """`own` says which paths refuse with problem documents."""
        self._digest = digest
        self._own = own

    def on_request(self, x: Exchange) -> Response | None:
        values = x.head.all(b"authorization")
        if not values:
            # RFC 6750 §3.1: no error code where nothing was sent.
            return self._refusal(x, _MISSING, b'Bearer realm="gatepost"')
        scheme, _, token = values[0].partition(b" ")
        token = token.strip(b" ")
        # RFC 9110 §11.1: the scheme's case does not matter. Two fields are two answers to who it is: neither counts.
        if len(values) == 1 and scheme.lower() == b"bearer" and 0 < len(token) <= LONGEST:
            if hmac.compare_digest(sha256(token).digest(), self._digest):
                x.consumer = _ADMIN
                return None
            return self._refusal(x, _WRONG, b'Bearer realm="gatepost", error="invalid_token"')
        return self._refusal(x, _MISSING, b'Bearer realm="gatepost", error="invalid_request"')

    def _refusal(self, x: Exchange, p: Problem, challenge: bytes) -> Response:
        challenged: Field = (b"www-authenticate", challenge)
        if self._own(x.path):
            return problem(x.id, p, [challenged])
        body = msgspec.json.encode({"code": "authentication_failed", "detail": p.detail})
        return Response(401, [(b"content-type", b"application/json"), challenged], body, "authentication-failed")
