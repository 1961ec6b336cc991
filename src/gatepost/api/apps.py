"""Apps: the recipients of webhooks."""

from __future__ import annotations

from typing import Annotated, NotRequired

import msgspec
from fastapi import Query, Response
from pydantic import AliasChoices, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.context import Ctx, changeable, not_own
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import ApiError, Fault, Unprocessable, not_found
from gatepost.api.fields import AppName, IdempotencyKey, In, Iterator, Limit, Metadata, Order, Rate, Uid, moment
from gatepost.api.router import router
from gatepost.model import App

_RATE = AliasChoices("throttleRate", "rateLimit")
_uid: TypeAdapter[str] = TypeAdapter(Uid)
_LABEL = Field(min_length=1, examples=["My first application"])


class ApplicationIn(In):
    name: Annotated[str, _LABEL]
    uid: Uid | None = None
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: Annotated[Rate | None, Field(validation_alias=_RATE)] = None


class ApplicationPatch(In):
    """What is absent stays as it is."""

    name: Annotated[str, _LABEL] = ""
    uid: Uid | None = None
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: Annotated[Rate | None, Field(validation_alias=_RATE)] = None


class ApplicationOut(TypedDict):
    id: str
    name: str
    metadata: Metadata
    createdAt: str
    updatedAt: str
    uid: NotRequired[str]
    throttleRate: NotRequired[int]
    rateLimit: NotRequired[int]


class ListResponse_ApplicationOut_(TypedDict):
    data: list[ApplicationOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


def document(app: App) -> ApplicationOut:
    out = ApplicationOut(
        id=ids.encode("app", app.id),
        name=app.name,
        metadata=app.metadata,
        createdAt=moment(app.created),
        updatedAt=moment(app.updated),
    )
    if app.uid is not None:
        out["uid"] = app.uid
    if app.throttle_rate is not None:
        out["throttleRate"] = out["rateLimit"] = app.throttle_rate
    return out


noun = router("/api/v1/app", "Application")


@noun.get("", operation_id="v1.application.list", response_model=ListResponse_ApplicationOut_)
async def list_apps(
    context: Ctx, limit: Limit = pagination.LIMIT, iterator: Iterator = None, order: Order = "ascending"
) -> Response:
    """List all apps."""
    at = pagination.cursor(iterator, "app")
    found = pagination.cut(context.directory.app_ids, _itself, at, limit, ascending=order == "ascending")
    names = [ids.encode("app", identifier) for identifier in found.items]
    apps = pagination.Cut([app for name in names if (app := context.directory.app(name)) is not None], found.done)
    return await pagination.page(apps, at, "app", _id, document)


@noun.post(
    "",
    operation_id="v1.application.create",
    status_code=201,
    response_model=ApplicationOut,
    responses={200: {"model": ApplicationOut, "description": "It existed, and `get_if_exists` was set"}},
)
async def create(
    context: Ctx,
    wanted: ApplicationIn,
    get_if_exists: Annotated[bool, Query(description="Give the app that has this uid, if there is one.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create an app."""
    if get_if_exists and wanted.uid is not None:
        existing = context.directory.app(wanted.uid)
        if existing is not None:
            return answer(document(existing))
        try:
            return answer(document(await context.put_app(new(wanted))), 201)
        except ApiError:
            existing = context.directory.app(wanted.uid)  # a request beside this one made it
            if existing is None:
                raise
            return answer(document(existing))
    return answer(document(await context.put_app(new(wanted))), 201)


@noun.get("/{app_id}", operation_id="v1.application.get", response_model=ApplicationOut)
async def get(context: Ctx, name: AppName) -> Response:
    """Get an app."""
    return answer(document(context.app(name)))


@noun.put(
    "/{app_id}",
    operation_id="v1.application.update",
    response_model=ApplicationOut,
    responses={201: {"model": ApplicationOut, "description": "There was none with this uid; now there is"}},
)
async def update(context: Ctx, name: AppName, wanted: ApplicationIn) -> Response:
    """Replace an app, or create one under a uid that is free."""
    if context.directory.app(name) is None:
        return answer(document(await context.put_app(new(wanted, named(name, wanted.uid, "app")))), 201)
    async with context.changing(context.app(name)):
        app = context.app(name)
        changeable(app)
        not_own(app, wanted.uid)
        return answer(document(await context.put_app(_replaced(app, wanted))))


@noun.patch("/{app_id}", operation_id="patch_application", response_model=ApplicationOut)
async def patch(context: Ctx, name: AppName, wanted: ApplicationPatch) -> Response:
    """Change some of an app's fields."""
    async with context.changing(context.app(name)):
        app = context.app(name)
        changeable(app)
        changes = {field: getattr(wanted, field) for field in wanted.model_fields_set}
        not_own(app, changes.get("uid", app.uid))
        return answer(document(await context.put_app(msgspec.structs.replace(app, **changes))))


@noun.delete("/{app_id}", operation_id="v1.application.delete", status_code=204)
async def delete(context: Ctx, name: AppName) -> Response:
    """Delete an app and its endpoints. Its messages stay until they expire, but can no longer be read here."""
    async with context.changing(context.app(name)):
        app = context.app(name)
        changeable(app)
        not_own(app)
        await context.store.delete_app(app.key)
        return no_content()


def named(name: str, uid: str | None, what: str) -> str:
    """The uid of an object that is put where there was none: the name in the path. Raises 404 where that is an id,
    which only Gatepost makes, and 422 where it is no uid or not the body's."""
    if ids.decode({"app": "app", "endpoint": "ep"}[what], name) is not None:
        raise not_found(what, name)
    if uid not in (None, name):
        raise Unprocessable(Fault(("body", "uid"), "uid must be the one in the path, or absent"))
    try:
        return _uid.validate_python(name)
    except ValidationError as error:
        raise Unprocessable(Fault(("path", f"{what}_id"), error.errors()[0]["msg"])) from None


def new(wanted: ApplicationIn, uid: str | None = None) -> App:
    return _replaced(App(0, 0, ""), wanted, uid)


def _replaced(app: App, wanted: ApplicationIn, uid: str | None = None) -> App:
    return msgspec.structs.replace(
        app,
        name=wanted.name,
        uid=wanted.uid if uid is None else uid,
        metadata=wanted.metadata,
        throttle_rate=wanted.throttle_rate,
    )


def _id(app: App) -> int:
    return app.id


def _itself(identifier: int) -> int:
    return identifier
