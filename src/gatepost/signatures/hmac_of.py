"""What the schemes of providers have in common: one field, one time, the HMAC of some bytes."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields


def only(fields: Fields, name: bytes) -> bytes:
    """The value of a field that must stand once. Raises SignatureError: which of two a reader takes is not for a
    sender to choose."""
    values = [value.strip(b" \t") for key, value in fields if key == name]
    if len(values) != 1 or not values[0]:
        raise SignatureError(f"{name.decode()} is {'given twice' if len(values) > 1 else 'missing'}")
    return values[0]


def recent(stamp: bytes, now: float, tolerance: float) -> int:
    """A time in Unix seconds, at most `tolerance` seconds from `now`. Raises SignatureError."""
    if not stamp.isdigit() or len(stamp) > 12:
        raise SignatureError("its time is not a number of seconds")
    timestamp = int(stamp)
    if timestamp < now - tolerance:
        raise SignatureError("the signature is too old")
    if timestamp > now + tolerance:
        raise SignatureError("the signature's time is in the future")
    return timestamp


def check(content: bytes, given: Iterable[bytes], secrets: Sequence[str], digest: str = "sha256") -> None:
    """Return only if one of `given` is the HMAC of `content` under one of `secrets`: every pair is compared, each in
    constant time. Raises SignatureError."""
    signatures = list(given)
    found = False
    for secret in secrets:
        if not secret:
            raise SignatureError("there is no secret to verify with")
        expected = hmac.digest(secret.encode(), content, digest)
        for signature in signatures:
            found |= hmac.compare_digest(signature, expected)
    if not found:
        raise SignatureError("no signature matches")


def from_hex(text: bytes) -> bytes:
    """Raises SignatureError."""
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise SignatureError("the signature is not hexadecimal") from None
