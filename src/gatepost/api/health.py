"""Whether the API is there. Open to everyone: load balancers have no token."""

from __future__ import annotations

from fastapi import Response

from gatepost.api.context import Ctx
from gatepost.api.encoding import no_content
from gatepost.api.errors import RETRY_AFTER, refusal
from gatepost.api.router import router

noun = router("/api/v1/health", "Health", refuses=False)


@noun.api_route("", methods=["GET"], operation_id="v1.health.get", status_code=204)
@noun.api_route("", methods=["HEAD"], include_in_schema=False)
async def health(context: Ctx) -> Response:
    """204 while the API works and the store can write, 503 otherwise."""
    if not context.store.writable:
        return refusal(503, "unavailable", "The store cannot take writes now.", {"retry-after": RETRY_AFTER})
    return no_content()


@noun.api_route("/ping", methods=["GET"], operation_id="v1.health.ping", status_code=204)
@noun.api_route("/ping", methods=["HEAD"], include_in_schema=False)
async def ping(context: Ctx) -> Response:
    """204 while the process answers."""
    return no_content()
