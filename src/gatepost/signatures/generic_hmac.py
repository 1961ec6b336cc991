"""The HMAC of a body as a provider of its own may send it: in which field, by which hash, how written, with a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, Verified
from gatepost.signatures.hmac_of import check, from_hex, only, recent
from gatepost.signatures.shopify import from_base64


class GenericHmac:
    """`prefix` stands before the signature in its field (`sha256=`). With `timestamp_field`, what is signed is that
    field's value, `separator` and the body."""

    __slots__ = ("_digest", "_from", "_prefix", "_separator", "_timestamp_field", "field")

    name = "hmac"

    def __init__(
        self,
        field: str,
        *,
        digest: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256",
        encoding: Literal["hex", "base64"] = "hex",
        prefix: str = "",
        timestamp_field: str | None = None,
        separator: str = ".",
    ) -> None:
        self.field = field.lower().encode()
        self._digest = digest
        self._from = from_hex if encoding == "hex" else from_base64
        self._prefix = prefix.encode()
        self._timestamp_field = None if timestamp_field is None else timestamp_field.lower().encode()
        self._separator = separator.encode()

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        value = only(fields, self.field)
        if not value.startswith(self._prefix):
            raise SignatureError(f"{self.field.decode()} does not begin with {self._prefix.decode()}")
        signature = self._from(value[len(self._prefix) :])
        if self._timestamp_field is None:
            check(body, [signature], secrets, self._digest)
            return Verified("", 0.0)
        stamp = only(fields, self._timestamp_field)
        timestamp = recent(stamp, now, tolerance)
        check(b"%b%b%b" % (stamp, self._separator, body), [signature], secrets, self._digest)
        return Verified("", float(timestamp))
