"""The header fields that are added to an endpoint's webhooks.

Values that look like credentials are never shown again: their names stand in `sensitive`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from fastapi import Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost.api.context import Context, Ctx, changeable
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import Fault, Unprocessable
from gatepost.api.fields import AppName, EndpointName, In
from gatepost.api.router import router
from gatepost.destinations.headers import fault

MOST: Final = 50  # fields an endpoint
_CREDENTIAL: Final = frozenset(
    {"apikey", "auth", "authorization", "cookie", "credential", "key", "password", "secret", "session", "token"}
)
_EXAMPLE: Final = Field(examples=[{"X-Example": "123", "X-Foobar": "Bar"}])


class EndpointHeadersIn(In):
    headers: Annotated[dict[str, str], _EXAMPLE]


class EndpointHeadersPatchIn(In):
    """A null takes a field away."""

    headers: Annotated[dict[str, str | None], _EXAMPLE]


class EndpointHeadersOut(TypedDict):
    headers: dict[str, str]
    sensitive: list[str]


noun = router("/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", "Endpoint")


@noun.get("", operation_id="v1.endpoint.get-headers", response_model=EndpointHeadersOut)
async def get(context: Ctx, app_name: AppName, name: EndpointName) -> Response:
    """Get the fields that are added to each webhook."""
    headers = context.endpoint(context.app(app_name), name).headers
    return answer(
        EndpointHeadersOut(
            headers={name: value for name, value in headers.items() if not sensitive(name)},
            sensitive=[name for name in headers if sensitive(name)],
        )
    )


@noun.put("", operation_id="v1.endpoint.update-headers", status_code=204)
async def update(context: Ctx, app_name: AppName, name: EndpointName, wanted: EndpointHeadersIn) -> Response:
    """Replace the fields that are added to each webhook."""
    await change(context, app_name, name, wanted.headers, keep=False)
    return no_content()


@noun.patch("", operation_id="v1.endpoint.patch-headers", status_code=204)
async def patch(context: Ctx, app_name: AppName, name: EndpointName, wanted: EndpointHeadersPatchIn) -> Response:
    """Change some of the fields that are added to each webhook."""
    await change(context, app_name, name, wanted.headers, keep=True)
    return no_content()


async def change(context: Context, app_name: str, name: str, wanted: Mapping[str, str | None], *, keep: bool) -> None:
    async with context.changing(context.app(app_name)):
        endpoint = context.endpoint(context.app(app_name), name)
        changeable(endpoint)
        given = {name.lower() for name in wanted}
        kept = {name: value for name, value in endpoint.headers.items() if keep and name.lower() not in given}
        added = {name: value for name, value in wanted.items() if value is not None}
        await context.put_endpoint(msgspec.structs.replace(endpoint, headers=kept | checked(added, len(kept))))


def checked(headers: dict[str, str], beside: int = 0) -> dict[str, str]:
    """Raises Unprocessable, with a fault a field. `beside` is how many fields there are already."""
    faults = [
        Fault(("body", "headers", name), reason)
        for name, value in headers.items()
        if (reason := fault(name, value)) is not None
    ]
    if len({name.lower() for name in headers}) < len(headers):
        faults.append(Fault(("body", "headers"), "a name stands twice; case makes no difference"))
    if len(headers) + beside > MOST:
        faults.append(Fault(("body", "headers"), f"an endpoint may have at most {MOST} fields"))
    if faults:
        raise Unprocessable(*faults)
    return headers


def sensitive(name: str) -> bool:
    """Whether a field's value is likely a credential, by the words of its name."""
    return not _CREDENTIAL.isdisjoint(name.lower().replace("_", "-").split("-"))
