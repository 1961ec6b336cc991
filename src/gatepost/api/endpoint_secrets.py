"""The secret that an endpoint's webhooks are signed with."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from fastapi import Response
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from gatepost.api.context import Ctx, changeable
from gatepost.api.encoding import answer
from gatepost.api.errors import Fault, Unprocessable, conflict
from gatepost.api.fields import AppName, EndpointName, IdempotencyKey, In
from gatepost.api.router import router
from gatepost.errors import SignatureError
from gatepost.model import Secret
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.signatures.standard_webhooks import PRIVATE, SYMMETRIC

GRACE: Final = 86_400  # seconds that an old secret goes on signing beside the new one
MOST_GRACE: Final = 604_800
MOST_OLD: Final = 10  # older secrets that may be valid; receivers look at 16 signatures of one request

GivenSecret: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^(whsec_|whsk_)?[a-zA-Z0-9+/=]{32,100}$"),
    Field(
        description="Base64 of 24 to 64 random bytes, with or without `whsec_`; or `whsk_` and an Ed25519 key, to sign "
        "with `v1a`. One is made if absent."
    ),
]


class EndpointSecretOut(TypedDict):
    key: str


class EndpointSecretRotateIn(In):
    key: GivenSecret | None = None
    grace_period_seconds: Annotated[
        int | None,
        Field(
            ge=0,
            le=MOST_GRACE,
            validation_alias="gracePeriodSeconds",
            description="How long the old secret stays valid: from 0 to 7 days, 24 hours if absent.",
        ),
    ] = GRACE


noun = router("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", "Endpoint")


@noun.get("", operation_id="v1.endpoint.get-secret", response_model=EndpointSecretOut)
async def get(context: Ctx, app_name: AppName, name: EndpointName) -> Response:
    """Get the endpoint's secret: the newest, while an older one is still valid."""
    endpoint = context.endpoint(context.app(app_name), name)
    return answer(EndpointSecretOut(key=endpoint.secrets[0].value))


@noun.post("/rotate", operation_id="v1.endpoint.rotate-secret", response_model=EndpointSecretOut)
async def rotate(
    context: Ctx,
    app_name: AppName,
    name: EndpointName,
    wanted: EndpointSecretRotateIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Give the endpoint a new secret, and answer with it. For a time, webhooks carry a signature of each."""
    value = checked(wanted.key, "key")
    grace = GRACE if wanted.grace_period_seconds is None else wanted.grace_period_seconds
    async with context.changing(context.app(app_name)):
        endpoint = context.endpoint(context.app(app_name), name)
        changeable(endpoint)
        rotated = rotate_to(value, endpoint.secrets, context.clock.now(), grace)
        await context.put_endpoint(msgspec.structs.replace(endpoint, secrets=rotated))
        return answer(EndpointSecretOut(key=value))


def checked(given: str | None, field: str = "secret") -> str:
    """A secret in full form; a new one for None. Raises Unprocessable where it cannot sign."""
    if given is None:
        return STANDARD_WEBHOOKS.new_secret()
    value = given if given.startswith((SYMMETRIC, PRIVATE)) else SYMMETRIC + given
    try:
        STANDARD_WEBHOOKS.signer([Secret(value)])
    except SignatureError as error:
        raise Unprocessable(Fault(("body", field), str(error))) from None
    return value


def rotate_to(value: str, secrets: tuple[Secret, ...], now: float, grace: float) -> tuple[Secret, ...]:
    """The new secret, and the older ones for as long as they stay valid: an end that was set is never put off."""
    old = []
    for secret in secrets:
        end = now + grace if secret.expires is None else min(secret.expires, now + grace)
        if end > now and secret.value != value:
            old.append(Secret(secret.value, end))
    if len(old) > MOST_OLD:
        raise conflict(f"{MOST_OLD} older secrets are still valid. Rotate with gracePeriodSeconds 0, or wait.")
    return (Secret(value), *old)
