"""A policy of one's own: the shop is open from `opens` to `closes` (hours, UTC)."""

import time

import msgspec

from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext


class OpeningHours(Policy):
    name = "opening_hours"
    phase = Phase.VALIDATE

    class Config(msgspec.Struct):
        opens: int = 9
        closes: int = 18

    def __init__(self, config: Config, context: PolicyContext) -> None:
        if not 0 <= config.opens < config.closes <= 24:
            raise ValueError("the shop must open before it closes")
        self._hours = range(config.opens, config.closes)
        self._now = context.clock.now
        detail = f"Come back at {config.opens}:00 UTC."
        self._closed = Problem(403, "shop-closed", "The shop is closed", detail)

    def on_request(self, x: Exchange) -> Response | None:
        return None if time.gmtime(self._now()).tm_hour in self._hours else problem(x.id, self._closed)

    def on_response(self, x: Exchange) -> None:
        hours = f"{self._hours.start}-{self._hours.stop}"
        x.response_fields = [*x.response_fields, (b"x-opening-hours", hours.encode())]
