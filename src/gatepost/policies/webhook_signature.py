"""`webhook_signature`: a webhook is proxied only if its sender signed it, as the sender's scheme has it."""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.errors import Problem, SignatureError
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.policies.base import PolicyContext
from gatepost.policies.credentials import Credentials
from gatepost.signatures.incoming import incoming

_MISSING: Final = Problem(401, "signature-missing", "A signature is needed")


def build(use: WebhookSignaturePolicy, context: PolicyContext) -> WebhookSignature:
    try:
        return WebhookSignature(use, context)
    except SignatureError as error:
        raise ValueError(str(error)) from None


class WebhookSignature(Policy):
    """401 without a good signature over the body."""

    name = "webhook_signature"
    phase = Phase.IDENTIFY
    needs_request_body = True

    def __init__(self, config: WebhookSignaturePolicy, context: PolicyContext) -> None:
        """Raises SignatureError where a secret is none of the scheme's."""
        self._incoming = incoming(config)
        self._consumer = config.consumer
        self._now = context.clock.now
        self._credentials = Credentials(context, self.name, "WebhookSignature")

    def on_request(self, x: Exchange) -> Response | None:
        fields = x.head.fields
        if not self._incoming.signed(fields):
            return self._credentials.missing(x, _MISSING)
        try:
            self._incoming.verify(fields, x.body or b"", self._now())
        except SignatureError as error:
            detail = str(error)[:1].upper() + str(error)[1:] + "."
            return self._credentials.wrong(x, Problem(401, "signature-invalid", "The signature is not valid", detail))
        return None if self._consumer is None else self._credentials.admit_named(x, self._consumer)
