"""`webhook_signature`: the caller signs its webhooks."""

from __future__ import annotations

from gatepost.config.signatures import Verify
from gatepost.config.values import Name


class WebhookSignaturePolicy(Verify, frozen=True, kw_only=True):
    consumer: Name | None = None  # whose webhooks they are
