"""Stripe: `Stripe-Signature: t=1492774577,v1=…,v1=…`, the HMAC-SHA256 of `t.body` in hex.

https://docs.stripe.com/webhooks/signature. While a secret rotates there is a `v1` for each; other versions (`v0`, of
test events) are for others. The secret is the whole text, `whsec_` included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, Verified
from gatepost.signatures.hmac_of import check, from_hex, only, recent

MAX_PARTS: Final = 16


class Stripe:
    name: ClassVar[str] = "stripe"
    field: ClassVar[bytes] = b"stripe-signature"

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        parts = [part.strip().partition(b"=") for part in only(fields, self.field).split(b",")]
        stamps = [value for name, _, value in parts if name == b"t"]
        given = [value for name, _, value in parts if name == b"v1"]
        if len(stamps) != 1 or not given or len(parts) > MAX_PARTS:
            raise SignatureError("stripe-signature is malformed")
        timestamp = recent(stamps[0], now, tolerance)
        check(b"%b.%b" % (stamps[0], body), map(from_hex, given), secrets)
        return Verified("", float(timestamp))
