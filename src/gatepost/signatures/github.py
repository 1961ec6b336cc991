"""GitHub: `X-Hub-Signature-256: sha256=…`, the HMAC-SHA256 of the body in hex.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries. No time and no id is signed: a request
that somebody recorded can be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, Verified
from gatepost.signatures.hmac_of import check, from_hex, only


class GitHub:
    name: ClassVar[str] = "github"
    field: ClassVar[bytes] = b"x-hub-signature-256"

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        value = only(fields, self.field)
        if not value.startswith(b"sha256="):
            raise SignatureError("x-hub-signature-256 does not begin with sha256=")
        check(body, [from_hex(value[7:])], secrets)
        return Verified("", 0.0)
