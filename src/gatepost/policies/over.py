"""What a limit says of a request that it refuses, as a notice: whose it was, never what it showed or sent."""

from __future__ import annotations

from gatepost.exchange import Exchange
from gatepost.notices import Facts
from gatepost.policies.base import PolicyContext


class Over:
    """Tells of one limit of one route. What is counted by may be a credential, so it is not told: the consumer is, or
    else the client's address."""

    __slots__ = ("_event", "_name", "_notices", "_route")

    def __init__(self, context: PolicyContext, event: str, name: str) -> None:
        self._notices = context.notices
        self._event = event
        self._route = context.route
        self._name = name

    def tell(self, x: Exchange, event: str = "", more: Facts | None = None) -> None:
        """`event` instead of the usual one."""
        who = f"client:{x.client}" if x.consumer is None else f"consumer:{x.consumer.id}"
        facts: Facts = {
            "route": self._route,
            "limit": self._name,
            "consumer": "" if x.consumer is None else x.consumer.id,
            "client": x.client,
        }
        if more is not None:
            facts |= more
        self._notices.tell(event or self._event, f"route:{self._route} limit:{self._name} {who}", facts)
