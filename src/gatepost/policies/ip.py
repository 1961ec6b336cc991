"""`ip`: from which addresses a request may come.

Asked is the client's real address: that of the connection, or what a trusted proxy says of it (`trusted_proxies`).
What others write into `X-Forwarded-For`, `X-Real-IP` or `Forwarded` changes nothing.
"""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.ip import IpPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.net.addresses import Networks
from gatepost.policies.base import PolicyContext
from gatepost.policies.credentials import Refusal, refusal

_REFUSED: Final = Problem(403, "address-not-allowed", "Requests from this address are not allowed here")


def build(use: IpPolicy, context: PolicyContext) -> Ip:
    return Ip(use)


class Ip(Policy):
    """403 where the client's address is denied, or not among those that are allowed."""

    name = "ip"
    phase = Phase.CLIENT

    def __init__(self, config: IpPolicy) -> None:
        self._allowed = Networks(config.allow).contains if config.allow else None
        self._denied = Networks(config.deny).contains if config.deny else None

    def on_request(self, x: Exchange) -> Response | None:
        client = x.client
        if self._denied is not None and self._denied(client):
            return self._refuse(x)
        if self._allowed is not None and not self._allowed(client):
            return self._refuse(x)
        return None

    def _refuse(self, x: Exchange) -> Refusal:
        # In an `any_of` an address is no credential that could be wrong: those beside it decide.
        return refusal(x, _REFUSED, missing=True)
