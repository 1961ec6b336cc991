"""How an inbound webhook proves who sent it: one scheme and its secret. Sources and the policy `webhook_signature`
share it."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Header, Seconds, Secret, Strict


class SignedBody(Strict, frozen=True, kw_only=True):
    """A scheme that signs no time."""

    secret: Secret
    old_secret: Secret | None = None  # good as well, while a secret is replaced


class SignedInTime(SignedBody, frozen=True, kw_only=True):
    tolerance: Seconds = 300.0  # that the signature's time may differ from ours


class SignedHmac(SignedInTime, frozen=True, kw_only=True):
    """A provider of one's own: the HMAC of the body in a field."""

    header: Header
    digest: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""  # before the signature: `sha256=`
    timestamp_header: Header | None = None  # signed before the body
    separator: str = "."  # between the two


class Verify(Strict, frozen=True, kw_only=True):
    """Exactly one of these is set."""

    standard_webhooks: SignedInTime | None = None
    github: SignedBody | None = None
    stripe: SignedInTime | None = None
    slack: SignedInTime | None = None
    shopify: SignedBody | None = None
    hmac: SignedHmac | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in SCHEMES) != 1:
            raise ValueError(f"needs exactly one of {', '.join(SCHEMES)}")


SCHEMES = tuple(Verify.__struct_fields__)
