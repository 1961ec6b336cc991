"""`anonymous`: nobody has to say who they are; last in an `any_of`, it takes those who showed no credential."""

from __future__ import annotations

from gatepost.config.policies.anonymous import AnonymousPolicy
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.policies.base import PolicyContext
from gatepost.policies.credentials import Credentials


def build(use: AnonymousPolicy, context: PolicyContext) -> Anonymous:
    return Anonymous(use, context)


class Anonymous(Policy):
    """Sets `x.consumer` where one is named; 403 where that one may not use the route."""

    name = "anonymous"
    phase = Phase.IDENTIFY

    def __init__(self, config: AnonymousPolicy, context: PolicyContext) -> None:
        self._consumer = config.consumer
        self._credentials = Credentials(context, self.name, "")

    def on_request(self, x: Exchange) -> Response | None:
        if self._consumer is None or x.consumer is not None:
            return None
        return self._credentials.admit_named(x, self._consumer)
