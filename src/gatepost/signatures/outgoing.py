"""How an endpoint's requests are signed: Standard Webhooks under the names that it asks for, and RFC 9421 beside it.

webhook-id, webhook-timestamp, webhook-signature     always, or with another prefix than `webhook`
svix-id, svix-timestamp, svix-signature              the same once more, where it asks: Svix's receivers read these
content-digest, signature-input, signature           where it asks: RFC 9421 over method, URL, type and body
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatepost.errors import SignatureError
from gatepost.model import Secret, Signing
from gatepost.signatures.algorithms import Sign
from gatepost.signatures.digest import content_digest
from gatepost.signatures.http_message import Component, Message, sign, signing_key
from gatepost.signatures.standard_webhooks import PRIVATE, StandardSigner, private_of, symmetric_of
from gatepost.signatures.structured import Parameters

PREFIX: Final = "webhook"
SVIX: Final = "svix"
COVERED: Final = tuple(
    Component(name) for name in ("@method", "@authority", "@path", "@query", "content-type", "content-digest")
)

_PREFIX: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST: Final = 40  # characters of a prefix


class Signs(Protocol):
    """Signs the requests to one endpoint."""

    def lines(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        """Fields as they stand in a head. Raises SignatureError where no secret is in force."""
        ...


def prefix_fault(prefix: str) -> str | None:
    """Why an endpoint's signature fields cannot begin so; None if they can."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _LONGEST:
        return f"{prefix!r} cannot begin a header's name: lower-case letters, digits and '-', at most {_LONGEST}"
    if prefix in ("content", "http", "proxy", "sec", "transfer", "www"):
        return f"{prefix}-… are fields of HTTP itself"
    return None


def signer_of(
    signing: Signing, secrets: Sequence[Secret], *, scheme: str, authority: str, target: bytes, content_type: str
) -> Signs:
    """For requests to this URL. Raises SignatureError where a secret or the prefix cannot be used."""
    fault = prefix_fault(signing.prefix)
    if fault is not None:
        raise SignatureError(fault)
    standard = StandardSigner(secrets)
    signs: Signs = standard
    if signing.prefix != PREFIX or signing.svix:
        prefixes = [signing.prefix, SVIX] if signing.svix and signing.prefix != SVIX else [signing.prefix]
        signs = _Prefixed(standard, prefixes)
    if signing.http_signature:
        signs = _WithHttpSignature(signs, secrets, Message("POST", scheme, authority, target, []), content_type)
    return signs


class _Prefixed:
    """The same signature under one or two families of names."""

    __slots__ = ("_prefixes", "_signer")

    def __init__(self, signer: StandardSigner, prefixes: Sequence[str]) -> None:
        self._signer = signer
        self._prefixes = [prefix.encode() for prefix in prefixes]

    def lines(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        signature = self._signer.signature(id, timestamp, body)
        return b"".join(
            [
                b"%b-id: %b\r\n%b-timestamp: %d\r\n%b-signature: %b\r\n" % (p, id, p, timestamp, p, signature)
                for p in self._prefixes
            ]
        )


class _WithHttpSignature:
    """RFC 9421 beside the others: about 60 µs a request. `sig1` is of the newest secret; while secrets rotate, the
    older ones sign too."""

    __slots__ = ("_inner", "_keys", "_message", "_type")

    def __init__(self, inner: Signs, secrets: Sequence[Secret], message: Message, content_type: str) -> None:
        self._inner = inner
        self._message = message
        self._type = (b"content-type", content_type.encode())
        self._keys = [(secret.expires, *_key(secret.value)) for secret in secrets]

    def lines(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        digest = content_digest(body)
        message = self._message._replace(fields=[self._type, digest])
        fields = [digest]
        number = 0
        for expires, algorithm, key in self._keys:
            if expires is None or expires > timestamp:
                number += 1
                parameters: Parameters = {"created": timestamp, "alg": algorithm, "nonce": id.decode()}
                fields += sign(message, key, COVERED, parameters, f"sig{number}")
        return self._inner.lines(id, timestamp, body) + b"".join([b"%b: %b\r\n" % field for field in fields])


def _key(secret: str) -> tuple[str, Sign]:
    key: bytes | Ed25519PrivateKey
    if secret.startswith(PRIVATE):
        algorithm, key = "ed25519", private_of(secret)
    else:
        algorithm, key = "hmac-sha256", symmetric_of(secret)
    try:
        return algorithm, signing_key(algorithm, key)
    except ValueError as error:
        raise SignatureError(str(error)) from None
