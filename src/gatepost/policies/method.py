"""`method`: the service gets another method than the client sent.

HEAD must be answered without a body, whatever the service says (RFC 9110 §9.3.2), so it stays HEAD where GET is wanted
and is refused otherwise. OPTIONS and TRACE ask about the resource and stay what they are.
"""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.method import MethodPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext

_UNTOUCHED: Final = frozenset({b"OPTIONS", b"TRACE"})
_NO_HEAD: Final = Problem(405, "method-not-allowed", "This method is not allowed here", "HEAD has no meaning here")


def build(use: MethodPolicy, context: PolicyContext) -> MethodOverride:
    return MethodOverride(use)


class MethodOverride(Policy):
    name = "method"
    phase = Phase.TRANSFORM

    def __init__(self, config: MethodPolicy) -> None:
        self._to = config.to.encode()

    def on_request(self, x: Exchange) -> Response | None:
        method = x.head.method
        if method == b"HEAD":
            if self._to == b"GET":
                return None
            return problem(x.id, _NO_HEAD, [(b"allow", b"GET")])
        if method not in _UNTOUCHED:
            x.head.method = self._to
        return None
