"""Shopify: `X-Shopify-Hmac-Sha256`, the HMAC-SHA256 of the body in base64.

https://shopify.dev/docs/apps/build/webhooks/subscribe/https. No time and no id is signed: a request that somebody
recorded can be sent again.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import ClassVar

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, Verified
from gatepost.signatures.hmac_of import check, only


class Shopify:
    name: ClassVar[str] = "shopify"
    field: ClassVar[bytes] = b"x-shopify-hmac-sha256"

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        check(body, [from_base64(only(fields, self.field))], secrets)
        return Verified("", 0.0)


def from_base64(text: bytes) -> bytes:
    """Raises SignatureError."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise SignatureError("the signature is not base64") from None
