"""Standard Webhooks: `v1` HMAC-SHA256 and `v1a` Ed25519. https://www.standardwebhooks.com, specification 1.0.0

    webhook-id: msg_0S8pLQk3xY2
    webhook-timestamp: 1614265330
    webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,…

Signed is `id.timestamp.body`. While a secret rotates there is one signature a secret, separated by spaces.
Secrets are text: `whsec_` and base64 for HMAC; `whsk_` (private) and `whpk_` (public) and base64 for Ed25519.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets as random
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.model import Secret
from gatepost.signatures.base import TOLERANCE, Verified

SYMMETRIC: Final = "whsec_"
PRIVATE: Final = "whsk_"
PUBLIC: Final = "whpk_"
MAX_SIGNATURES: Final = 16  # in one request; more only cost time (an Ed25519 check takes 0.1 ms)
_NEVER: Final = float("inf")


class StandardWebhooks:
    name: ClassVar[str] = "standard_webhooks"
    field: ClassVar[bytes] = b"webhook-signature"

    def new_secret(self) -> str:
        """A symmetric secret of 32 random bytes."""
        return SYMMETRIC + _encode(random.token_bytes(32)).decode()

    def new_key_pair(self) -> tuple[str, str]:
        """(private `whsk_…`, public `whpk_…`). The private one is the seed and the public key, as libsodium has it."""
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        return (
            PRIVATE + _encode(private.private_bytes_raw() + public).decode(),
            PUBLIC + _encode(public).decode(),
        )

    def signer(self, secrets: Sequence[Secret]) -> StandardSigner:
        return StandardSigner(secrets)

    def sign(self, id: str, timestamp: int, body: bytes, secrets: Sequence[Secret]) -> Fields:
        name, stamp = id.encode(), b"%d" % timestamp
        signature = StandardSigner(secrets).signature(name, timestamp, body)
        return [(b"webhook-id", name), (b"webhook-timestamp", stamp), (b"webhook-signature", signature)]

    def check_secrets(self, secrets: Sequence[str]) -> None:
        """Raises SignatureError where one of them is none to verify with."""
        for secret in secrets:
            _verifying_key(secret)

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        keys = [_verifying_key(secret) for secret in secrets]
        if not keys:
            raise SignatureError("there is no secret to verify with")
        id, stamp, given = (_only(fields, name) for name in (b"webhook-id", b"webhook-timestamp", b"webhook-signature"))
        # "id.timestamp.body" can be read in one way only while neither of the first two holds a full stop.
        if b"." in id:
            raise SignatureError("webhook-id contains a full stop")
        if not stamp.isdigit() or len(stamp) > 12:
            raise SignatureError("webhook-timestamp is not a number of seconds")
        timestamp = int(stamp)
        if timestamp < now - tolerance:
            raise SignatureError("the signature is too old")
        if timestamp > now + tolerance:
            raise SignatureError("the signature's time is in the future")
        signatures = _signatures(given)
        content = b"%b.%b.%b" % (id, stamp, body)
        for key in keys:
            if key.matches(content, signatures):
                return Verified(id.decode("latin-1"), float(timestamp))
        raise SignatureError("no signature matches")


class StandardSigner:
    """Signs for one endpoint: 1.4 µs a `v1` signature over 300 bytes (hmac.digest takes 2.7), 36 µs a `v1a`."""

    __slots__ = ("_keys", "_until")

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._keys = [(_NEVER if s.expires is None else s.expires, _signing_key(s.value)) for s in secrets]
        self._until = min((expires for expires, _ in self._keys), default=0.0)

    def lines(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        return b"webhook-id: %b\r\nwebhook-timestamp: %d\r\nwebhook-signature: %b\r\n" % (
            id,
            timestamp,
            self.signature(id, timestamp, body),
        )

    def signature(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        """The value of `webhook-signature`: one signature a secret in force, in the order of the secrets."""
        content = b"%b.%d.%b" % (id, timestamp, body)
        if timestamp >= self._until:
            self._drop_expired(timestamp)
        keys = self._keys
        if len(keys) == 1:
            return keys[0][1].sign(content)
        return b" ".join([key.sign(content) for _, key in keys])

    def _drop_expired(self, timestamp: int) -> None:
        self._keys = [key for key in self._keys if key[0] > timestamp]
        if not self._keys:
            raise SignatureError("the endpoint has no signing secret in force")
        self._until = min(expires for expires, _ in self._keys)


class _SigningKey(Protocol):
    def sign(self, content: bytes) -> bytes: ...


class _VerifyingKey(Protocol):
    def matches(self, content: bytes, signatures: list[tuple[bytes, bytes]]) -> bool: ...


class _Hmac:
    """HMAC-SHA256 with both pads hashed beforehand: RFC 2104 §4 allows to keep them like the key itself."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        # Keys are at most 64 bytes, one block of SHA-256, so that none has to be hashed first.
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_IPAD))
        self._outer = hashlib.sha256(block.translate(_OPAD))

    def sign(self, content: bytes) -> bytes:
        return b"v1," + _encode(self._digest(content))

    def matches(self, content: bytes, signatures: list[tuple[bytes, bytes]]) -> bool:
        expected = self._digest(content)
        found = False
        for version, signature in signatures:
            if version == b"v1" and hmac.compare_digest(signature, expected):
                found = True
        return found

    def _digest(self, content: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(content)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class _Private:
    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, content: bytes) -> bytes:
        return b"v1a," + _encode(self._key.sign(content))


class _Public:
    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def matches(self, content: bytes, signatures: list[tuple[bytes, bytes]]) -> bool:
        for version, signature in signatures:
            if version == b"v1a":
                try:
                    self._key.verify(signature, content)
                except InvalidSignature:
                    continue
                return True
        return False


def _signing_key(secret: str) -> _SigningKey:
    if secret.startswith(SYMMETRIC):
        return _Hmac(symmetric_of(secret))
    if secret.startswith(PRIVATE):
        return _Private(private_of(secret))
    raise SignatureError(f"a signing secret must begin with {SYMMETRIC} or {PRIVATE}")


def _verifying_key(secret: str) -> _VerifyingKey:
    if secret.startswith(SYMMETRIC):
        return _Hmac(symmetric_of(secret))
    if secret.startswith(PUBLIC):
        raw = _decode(secret[len(PUBLIC) :])
        if len(raw) != 32:
            raise SignatureError(f"a {PUBLIC} key must hold 32 bytes")
        return _Public(Ed25519PublicKey.from_public_bytes(raw))
    if secret.startswith(PRIVATE):
        return _Public(private_of(secret).public_key())
    raise SignatureError(f"a secret must begin with {SYMMETRIC}, {PUBLIC} or {PRIVATE}")


def symmetric_of(secret: str) -> bytes:
    key = _decode(secret[len(SYMMETRIC) :])
    if not 24 <= len(key) <= 64:
        raise SignatureError(f"a {SYMMETRIC} secret must hold from 24 to 64 bytes")
    return key


def private_of(secret: str) -> Ed25519PrivateKey:
    raw = _decode(secret[len(PRIVATE) :])
    if len(raw) not in (32, 64):
        raise SignatureError(f"a {PRIVATE} key must hold 32 bytes, or 64 with its public key")
    key = Ed25519PrivateKey.from_private_bytes(raw[:32])
    if len(raw) == 64 and key.public_key().public_bytes_raw() != raw[32:]:
        raise SignatureError(f"the two halves of a {PRIVATE} key do not belong together")
    return key


def _only(fields: Fields, name: bytes) -> bytes:
    """The value of a field that must stand once. Which of two a reader takes is not for a sender to choose."""
    values = [value for key, value in fields if key == name]
    if len(values) != 1 or not values[0]:
        raise SignatureError(f"{name.decode()} is {'missing' if not any(values) else 'given twice'}")
    return values[0]


def _signatures(value: bytes) -> list[tuple[bytes, bytes]]:
    """(version, signature) of each entry. Entries of versions that we do not know are for others; one of ours that
    is malformed spoils the lot."""
    entries = value.split(b" ")
    if len(entries) > MAX_SIGNATURES:
        raise SignatureError(f"more than {MAX_SIGNATURES} signatures")
    found = []
    for entry in entries:
        version, comma, encoded = entry.partition(b",")
        if version not in _LENGTHS:
            continue
        signature = _decode(encoded.decode("latin-1")) if comma else b""
        if len(signature) != _LENGTHS[version]:
            raise SignatureError("webhook-signature is malformed")
        found.append((version, signature))
    return found


def _encode(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False)


def _decode(text: str) -> bytes:
    """Base64, its padding optional. Anything else is refused: a lenient decoder skips what it does not know."""
    try:
        return binascii.a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), strict_mode=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise SignatureError("not valid base64") from None


_LENGTHS: Final = {b"v1": 32, b"v1a": 64}
_IPAD: Final = bytes(x ^ 0x36 for x in range(256))
_OPAD: Final = bytes(x ^ 0x5C for x in range(256))
