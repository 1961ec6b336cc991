"""Signature schemes: how a webhook proves who sent it. Bytes and secrets in, fields out; no I/O, no clock.

- `base.py`: the contract.
- One file a scheme. `standard_webhooks.py` is what Gatepost itself sends.

`SCHEMES` is every scheme that ships, by the name that a configuration uses.
"""

from __future__ import annotations

from typing import Final

from gatepost.signatures.base import Scheme
from gatepost.signatures.standard_webhooks import StandardWebhooks

STANDARD_WEBHOOKS: Final = StandardWebhooks()

SCHEMES: Final[dict[str, Scheme]] = {
    STANDARD_WEBHOOKS.name: STANDARD_WEBHOOKS,
}
