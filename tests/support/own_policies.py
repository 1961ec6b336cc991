"""Policies as users write them, for tests of `policy: module:Class`."""

from __future__ import annotations

import msgspec

from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext


class Closed(Policy):
    name = "policy"
    phase = Phase.EDGE

    class Config(msgspec.Struct):
        reason: str
        hours: list[int] = []
        deep: dict[str, int] = {}

    def __init__(self, config: Config, context: PolicyContext) -> None:
        if config.reason == "":
            raise ValueError("a reason is needed")
        if config.reason == "broken":
            raise KeyError("a fault of its own")
        self.route = context.route
        self._refusal = Problem(403, "shop-closed", "We are closed", config.reason)

    def on_request(self, x: Exchange) -> Response | None:
        return problem(x.id, self._refusal)


class Bare(Policy):
    """No settings, no `__init__`."""

    name = "bare"
    phase = Phase.TRANSFORM

    def on_response(self, x: Exchange) -> None:
        x.response_fields = [*x.response_fields, (b"x-bare", b"1")]


class Nameless(Policy):
    pass


class OddConfig(Policy):
    name = "odd"
    phase = Phase.EDGE
    Config = dict


NOT_A_CLASS = 1
