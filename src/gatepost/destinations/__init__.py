"""Destinations: how a delivery leaves.

- `base.py`     the contract.
- `webhook.py`  a signed HTTP POST: what endpoints get unless they name another. `headers.py` and `auth.py` are its.
- `command.py`, `nats.py`, `valkey.py`, `smtp.py`  what the configuration declares under `destinations`, one file a
  kind; `tries.py` is what they share. A new kind is one file, its settings in `config/destinations.py`, and a line in
  `KINDS`.
- `chosen.py`   which of them an endpoint goes to.
- `alerts.py`   ready-made transforms for Slack, Teams, Discord and e-mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatepost.destinations.base import Declared, MakeDestination
from gatepost.destinations.command import CommandDestination
from gatepost.destinations.nats import NatsDestination
from gatepost.destinations.smtp import SmtpDestination
from gatepost.destinations.valkey import ValkeyDestination

__all__ = ["KINDS", "Declared"]

KINDS: Final[Mapping[str, MakeDestination[Any]]] = {
    "command": CommandDestination,
    "nats": NatsDestination,
    "valkey": ValkeyDestination,
    "smtp": SmtpDestination,
}
