"""Slack: `X-Slack-Signature: v0=…` and `X-Slack-Request-Timestamp`, the HMAC-SHA256 of `v0:time:body` in hex.

https://api.slack.com/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, Verified
from gatepost.signatures.hmac_of import check, from_hex, only, recent


class Slack:
    name: ClassVar[str] = "slack"
    field: ClassVar[bytes] = b"x-slack-signature"

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        value, stamp = only(fields, self.field), only(fields, b"x-slack-request-timestamp")
        if not value.startswith(b"v0="):
            raise SignatureError("x-slack-signature does not begin with v0=")
        timestamp = recent(stamp, now, tolerance)
        check(b"v0:%b:%b" % (stamp, body), [from_hex(value[3:])], secrets)
        return Verified("", float(timestamp))
