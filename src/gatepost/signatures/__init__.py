"""Signature schemes: how a webhook proves who sent it. Bytes and secrets in, fields out; no I/O, no clock.

- `base.py`: the contract.
- One file a scheme. `standard_webhooks.py` is what Gatepost itself sends; `incoming.py` lists those that it verifies,
  and makes one out of a configuration.
- `algorithms.py`: keys and the algorithms that they fit. `jwt.py`, `jwks.py`: tokens and sets of keys.
- `http_message.py`: RFC 9421, with `structured.py` (structured fields) and `digest.py` (Content-Digest).

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
