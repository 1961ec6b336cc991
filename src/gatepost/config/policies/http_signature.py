"""`http_signature`: the caller signs its requests (RFC 9421)."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Name, Seconds, Secret, Strict


class HttpSignatureKey(Strict, frozen=True, kw_only=True):
    algorithm: Literal[
        "hmac-sha256", "ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256"
    ]
    secret: Secret | None = None  # for hmac-sha256
    public_key: Secret | None = None  # PEM, for the others
    consumer: Name | None = None

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.public_key is None):
            raise ValueError("needs one of `secret` and `public_key`")


class HttpSignaturePolicy(Strict, frozen=True, kw_only=True):
    keys: dict[str, HttpSignatureKey]  # by `keyid`
    components: tuple[str, ...] = ("@method", "@authority", "@path", "@query")  # that must be covered
    body: bool = True  # a body must be covered too, by its Content-Digest
    max_age: Seconds = 300.0  # of a signature
    skew: Seconds = 30.0  # that clocks may differ by
    nonce: bool = False  # each signature must have one, and counts once
    tag: str | None = None  # only signatures with this tag count

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("`keys` names no key")
        if self.max_age == 0:
            raise ValueError("`max_age` must be longer than 0")
