"""The schemes that inbound webhooks may be signed with, and how a configuration asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gatepost.config.signatures import SCHEMES, SignedHmac, SignedInTime, Verify
from gatepost.http1.messages import Fields
from gatepost.signatures.base import TOLERANCE, IncomingScheme, Verified
from gatepost.signatures.generic_hmac import GenericHmac
from gatepost.signatures.github import GitHub
from gatepost.signatures.shopify import Shopify
from gatepost.signatures.slack import Slack
from gatepost.signatures.standard_webhooks import StandardWebhooks
from gatepost.signatures.stripe import Stripe

INCOMING: Final[Mapping[str, IncomingScheme]] = {
    scheme.name: scheme for scheme in (StandardWebhooks(), GitHub(), Stripe(), Slack(), Shopify())
}


class Incoming(NamedTuple):
    """One sender's webhooks."""

    scheme: IncomingScheme
    secrets: tuple[str, ...]
    tolerance: float

    def signed(self, fields: Fields) -> bool:
        """Whether there is a signature at all. `fields` are a request's, with lower-case names."""
        return any(name == self.scheme.field for name, _ in fields)

    def verify(self, fields: Fields, body: bytes, now: float) -> Verified:
        """Return only if the body is the sender's. Raises SignatureError."""
        return self.scheme.verify(fields, body, self.secrets, now, self.tolerance)


def incoming(verify: Verify) -> Incoming:
    """What `verify` asks for. Raises SignatureError where a secret is none of its scheme's."""
    name = next(name for name in SCHEMES if getattr(verify, name) is not None)
    use = getattr(verify, name)
    secrets = (str(use.secret),) if use.old_secret is None else (str(use.secret), str(use.old_secret))
    tolerance = use.tolerance if isinstance(use, SignedInTime) else TOLERANCE
    if isinstance(use, SignedHmac):
        scheme: IncomingScheme = GenericHmac(
            use.header,
            digest=use.digest,
            encoding=use.encoding,
            prefix=use.prefix,
            timestamp_field=use.timestamp_header,
            separator=use.separator,
        )
    else:
        scheme = INCOMING[name]
        if isinstance(scheme, StandardWebhooks):
            scheme.check_secrets(secrets)
    return Incoming(scheme, secrets, tolerance)
