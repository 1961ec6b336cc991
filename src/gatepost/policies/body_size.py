"""`body_size`: a request's body may have so many bytes. A longer one is refused by its Content-Length, before a byte of
it travels; one that does not say its length, as soon as it has grown too long.
"""

from __future__ import annotations

from gatepost.config.policies.body_size import BodySizePolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext


def build(use: BodySizePolicy, context: PolicyContext) -> BodySize:
    return BodySize(use)


class BodySize(Policy):
    name = "body_size"
    phase = Phase.LIMIT

    def __init__(self, config: BodySizePolicy) -> None:
        self.largest_body = self._limit = config.limit
        self._refused = Problem(
            413, "body-too-large", "The request body is too large", f"at most {config.limit} bytes are taken"
        )

    def on_request(self, x: Exchange) -> Response | None:
        length = x.head.framing if x.body is None else len(x.body)
        return problem(x.id, self._refused) if length > self._limit else None
