"""The portal: a token for an app's own people, and the link that carries it to them.

What such a token opens stands in `policies/portal_token.py`. The link opens `/portal` (`portal_page.py`) on this
listener, with the token behind `#`, which browsers do not send: it stands in no log.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Request, Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import apps
from gatepost.api.context import Context, Ctx
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import ApiError, Fault, Unprocessable
from gatepost.api.fields import AppName, IdempotencyKey, In
from gatepost.api.router import router
from gatepost.model import App

PREFIX: Final = "appsk_"
EXPIRY: Final = 604_800  # seconds: seven days
_FORBIDDEN: Final = (
    "Only the token that is sent can be ended, and only a portal's: delete the admin token's file instead."
)


class AppPortalAccessIn(In):
    application: Annotated[
        apps.ApplicationIn | None, Field(description="Makes the app in the path, if there is none with that uid.")
    ] = None
    feature_flags: Annotated[
        list[str] | None,
        Field(
            validation_alias="featureFlags", description="Taken from clients that send it; event types are all shown."
        ),
    ] = None
    expiry: Annotated[
        int | None, Field(ge=3_600, le=EXPIRY, description="Seconds that the token is good for: seven days if absent.")
    ] = None
    read_only: Annotated[bool | None, Field(validation_alias="readOnly", description="Not there yet: 422.")] = None
    capabilities: Annotated[list[Any] | None, Field(description="Not there yet: 422.")] = None


class AppPortalAccessOut(TypedDict):
    url: str
    token: str


noun = router("/api/v1/auth", "Authentication")


@noun.post(
    "/app-portal-access/{app_id}", operation_id="v1.authentication.app-portal-access", response_model=AppPortalAccessOut
)
async def access(
    context: Ctx,
    request: Request,
    app_name: AppName,
    wanted: AppPortalAccessIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a token for an app's own people. It opens the app's endpoints, messages and attempts, and no other app."""
    # Who asks for less than it would be given must not be given more.
    faults = [
        Fault(("body", name), f"{name} is not there yet: a portal's token may always see to endpoints")
        for name, value in (("readOnly", wanted.read_only), ("capabilities", wanted.capabilities))
        if value
    ]
    if faults:
        raise Unprocessable(*faults)
    app = await _app(context, app_name, wanted.application)
    token = PREFIX + secrets.token_urlsafe(32)
    expires = context.clock.now() + (EXPIRY if wanted.expiry is None else wanted.expiry)
    await context.store.put_portal_token(sha256(token.encode()).digest(), app.key, expires)
    key = urlsafe_b64encode(msgspec.json.encode({"appId": ids.encode("app", app.id), "token": token})).decode()
    return answer(AppPortalAccessOut(url=f"{request.base_url}portal#key={key}", token=token))


@noun.post("/logout", operation_id="logout_api_v1_auth_logout__post", status_code=204)
async def logout(
    context: Ctx,
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """End the portal's token that this request is sent with."""
    token = authorization.partition(" ")[2].strip()
    if not token.startswith(PREFIX):
        raise ApiError(403, "forbidden", _FORBIDDEN)
    await context.store.delete_portal_token(sha256(token.encode()).digest())
    return no_content()


async def _app(context: Context, name: str, new: apps.ApplicationIn | None) -> App:
    if new is None or context.directory.app(name) is not None:
        return context.app(name)
    return await context.put_app(apps.new(new, apps.named(name, new.uid, "app")))
