"""Which destination an endpoint goes to: webhooks, or what the configuration declares under a name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gatepost import log
from gatepost.config.destinations import DestinationDecl
from gatepost.destinations import KINDS
from gatepost.destinations.base import Context, Declared, Destination, Sender
from gatepost.destinations.tries import Tries, Unsendable
from gatepost.model import Endpoint

WEBHOOK = "webhook"


class Destinations:
    """`base.Destination` over all of them. Owns those that are declared; `webhook` is its maker's.

    Raises GatepostError where one of them cannot be: a package is missing, a URL is none.
    """

    def __init__(self, webhook: Destination, declared: Mapping[str, DestinationDecl], context: Context) -> None:
        self._webhook = webhook
        self._tries = Tries(context.clock, context.loop, 1.0)
        self._open = frozenset(name for name, decl in declared.items() if decl.api)
        self._declared: dict[str, Declared] = {}
        for name, decl in declared.items():
            for kind, make in KINDS.items():
                settings = getattr(decl, kind)
                if settings is not None:
                    self._declared[name] = make(settings, context)

    def sender(self, endpoint: Endpoint) -> Sender:
        name = endpoint.settings.destination
        if name == WEBHOOK:
            return self._webhook.sender(endpoint)
        found = self._declared.get(name)
        if found is None:
            return Unsendable(self._tries, f"the configuration declares no destination {name!r}")
        # The API refuses such an endpoint; this is the guard behind it.
        if not endpoint.declared and name not in self._open:
            return Unsendable(self._tries, f"the destination {name!r} is for endpoints that the configuration declares")
        return found.sender(endpoint)

    def close(self) -> None:
        self._webhook.close()

    async def stop(self) -> None:
        """Close what has connections of its own. Tries under way end without a result."""
        await self._tries.stop()
        for name, each in self._declared.items():
            try:
                async with asyncio.timeout(5.0):
                    await each.stop()
            except Exception as error:  # a library that cannot even close must not keep the node from stopping
                log.event("destination_not_closed", level="warning", destination=name, reason=error)


def destination_fault(name: str, declared: Mapping[str, DestinationDecl]) -> str | None:
    """Why an endpoint made through the API cannot name this destination; None if it can."""
    if name == WEBHOOK:
        return None
    if name not in declared:
        return f"the configuration declares no destination {name!r}"
    return None if declared[name].api else f"the destination {name!r} is not open to the API"
