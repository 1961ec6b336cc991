"""Event types: what is known of them, and the JSON Schemas that their messages are held to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Annotated, Any, Final, NotRequired, TypeAlias

import msgspec
from fastapi import Path, Query, Response
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from gatepost.api import pagination
from gatepost.api.context import Context, Ctx
from gatepost.api.encoding import JSON, answer, encode_list, no_content
from gatepost.api.errors import Fault, Unprocessable, conflict, not_found
from gatepost.api.fields import NAME, EventType, IdempotencyKey, In, Iterator, Limit, Order, moment
from gatepost.api.router import router
from gatepost.events.schemas import compiled
from gatepost.model import EventType as Known

MOST_SCHEMAS: Final = 1_048_576  # bytes, of all versions

Name: TypeAlias = Annotated[str, Path(alias="event_type_name", description="The event type.", pattern=NAME)]
FeatureFlag: TypeAlias = Annotated[
    Annotated[str, StringConstraints(max_length=256, pattern=NAME)] | None,
    Field(validation_alias="featureFlag", description="Kept for clients that set it."),
]
Schemas: TypeAlias = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")], dict[str, Any]] | None,
    Field(
        description="JSON Schemas by version, a whole number. A message that violates the last one is refused.",
        examples=[{"1": {"type": "object", "required": ["order_id"]}}],
    ),
]


class EventTypeUpdate(In):
    description: str
    archived: bool = False
    deprecated: bool = False
    feature_flag: FeatureFlag = None
    schemas: Schemas = None


class EventTypeIn(EventTypeUpdate):
    name: EventType


class EventTypePatch(In):
    """What is absent stays as it is."""

    description: str = ""
    archived: bool = False
    deprecated: bool = False
    feature_flag: FeatureFlag = None
    schemas: Schemas = None


class EventTypeOut(TypedDict):
    name: str
    description: str
    archived: bool
    deprecated: bool
    createdAt: str
    updatedAt: str
    schemas: NotRequired[dict[str, dict[str, Any]]]
    featureFlag: NotRequired[str]


class ListResponse_EventTypeOut_(TypedDict):
    data: list[EventTypeOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


noun = router("/api/v1/event-type", "Event Type")


def document(known: Known, *, with_content: bool = True) -> EventTypeOut:
    out = EventTypeOut(
        name=known.name,
        description=known.description,
        archived=known.archived,
        deprecated=known.deprecated,
        createdAt=moment(known.created),
        updatedAt=moment(known.updated),
    )
    if with_content and known.schemas is not None:
        out["schemas"] = known.schemas
    if known.feature_flag is not None:
        out["featureFlag"] = known.feature_flag
    return out


@noun.get("", operation_id="v1.event-type.list", response_model=ListResponse_EventTypeOut_)
async def list_event_types(
    context: Ctx,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    order: Order = "ascending",
    include_archived: Annotated[bool, Query(description="Whether archived ones are listed too.")] = False,
    with_content: Annotated[bool, Query(description="Whether schemas are included.")] = False,
) -> Response:
    """List the event types, by name."""
    known = context.store.event_types
    back = (iterator or "").startswith("-")
    at = (iterator or "").removeprefix("-")
    found: list[Known] = []
    done = True
    for name in _from(known.names, at, descending=(order == "descending") != back):
        each = known.get(name)
        if each is None or (each.archived and not include_archived):
            continue
        if len(found) == limit:
            done = False
            break
        found.append(each)
    if back:
        found.reverse()
    ends = {
        "done": done,
        "iterator": found[-1].name if found else at,
        "prevIterator": f"-{found[0].name}" if found else None,
    }
    data = await encode_list(found, lambda each: document(each, with_content=with_content))
    return Response(b'{"data":%b,%b' % (data, msgspec.json.encode(ends)[1:]), media_type=JSON)


@noun.post("", operation_id="v1.event-type.create", status_code=201, response_model=EventTypeOut)
async def create(context: Ctx, wanted: EventTypeIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Create an event type, or bring an archived one back with what is given here."""
    archived = context.store.event_types.get(wanted.name)
    if archived is not None and archived.archived:
        return await _put(context, _known(wanted.name, wanted, archived.created), 201)
    try:
        return await _put(context, _known(wanted.name, wanted), 201, new=True)
    except ValueError as error:
        raise conflict(f"{str(error).capitalize()}.") from None


@noun.get("/{event_type_name}", operation_id="v1.event-type.get", response_model=EventTypeOut)
async def get(context: Ctx, name: Name) -> Response:
    """Get an event type."""
    return answer(document(_found(context, name)))


@noun.put(
    "/{event_type_name}",
    operation_id="v1.event-type.update",
    response_model=EventTypeOut,
    responses={201: {"model": EventTypeOut, "description": "There was none of this name; now there is"}},
)
async def update(context: Ctx, name: Name, wanted: EventTypeUpdate) -> Response:
    """Replace an event type, or create one."""
    before = context.store.event_types.get(name)
    if len(name) > 256:
        raise Unprocessable(Fault(("path", "event_type_name"), "a name has at most 256 characters"))
    return await _put(
        context, _known(name, wanted, before.created if before is not None else 0.0), 201 if before is None else 200
    )


@noun.patch("/{event_type_name}", operation_id="patch_event_type", response_model=EventTypeOut)
async def patch(context: Ctx, name: Name, wanted: EventTypePatch) -> Response:
    """Change some of an event type's fields."""
    changes = {field: getattr(wanted, field) for field in wanted.model_fields_set}
    _check_schemas(changes.get("schemas"))
    return await _put(context, msgspec.structs.replace(_found(context, name), **changes))


@noun.delete("/{event_type_name}", operation_id="v1.event-type.delete", status_code=204)
async def delete(
    context: Ctx,
    name: Name,
    expunge: Annotated[bool, Query(description="Forget it, instead of archiving it.")] = False,
) -> Response:
    """Archive an event type: it is listed no more, and its schemas hold no message. Endpoints may go on naming it."""
    known = _found(context, name)
    if expunge:
        await context.store.delete_event_type(name)
    else:
        await context.store.put_event_type(msgspec.structs.replace(known, archived=True))
    return no_content()


def _found(context: Context, name: str) -> Known:
    known = context.store.event_types.get(name)
    if known is None:
        raise not_found("event type", name)
    return known


def _known(name: str, wanted: EventTypeUpdate, created: float = 0.0) -> Known:
    _check_schemas(wanted.schemas)
    return Known(
        name=name,
        description=wanted.description,
        schemas=wanted.schemas,
        archived=wanted.archived,
        deprecated=wanted.deprecated,
        feature_flag=wanted.feature_flag,
        created=created,
    )


async def _put(context: Context, known: Known, status: int = 200, *, new: bool = False) -> Response:
    return answer(document(await context.store.put_event_type(known, new=new)), status)


def _check_schemas(schemas: dict[str, dict[str, Any]] | None) -> None:
    """Raises Unprocessable, with a fault a version."""
    faults = []
    if len(msgspec.json.encode(schemas)) > MOST_SCHEMAS:
        raise Unprocessable(Fault(("body", "schemas"), f"schemas may have {MOST_SCHEMAS} bytes together"))
    for version, schema in (schemas or {}).items():
        try:
            compiled(schema)
        except ValueError as error:
            faults.append(Fault(("body", "schemas", version), str(error)))
    if faults:
        raise Unprocessable(*faults)


def _from(names: list[str], at: str, *, descending: bool) -> list[str]:
    """The names behind `at`, in that order; all where `at` is empty."""
    if descending:
        return names[: bisect_left(names, at) if at else len(names)][::-1]
    return names[bisect_right(names, at) if at else 0 :]
