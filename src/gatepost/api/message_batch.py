"""Many messages in one request, on disk together or not at all: several of one app, or one for several apps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypeAlias

import msgspec
from fastapi import Request, Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api.context import Context, Ctx
from gatepost.api.encoding import answer
from gatepost.api.errors import ApiError, Fault, Unprocessable
from gatepost.api.fields import AppName, IdempotencyKey, In
from gatepost.api.messages import MessageIn
from gatepost.api.router import router
from gatepost.errors import ExpressionError, StoreUnavailable
from gatepost.events.create import MessageIn as Given
from gatepost.events.rules import InvalidMessage
from gatepost.expressions.program import Program, compile_expression
from gatepost.expressions.runtime import Type
from gatepost.model import App
from gatepost.stores.base import Accepted, EventIdTaken, Outcome

MOST: Final = 500  # messages a request: with a delivery each, half of what a transaction may have
MOST_APPS: Final = 10_000  # that one request may reach, `MOST` a transaction
LARGEST: Final = 16_777_216  # bytes of a request
SLICE: Final = 256  # apps matched in one turn of the loop: about 1 ms

_APP_VARIABLES: Final[dict[str, Type]] = {
    "app.id": "string",
    "app.uid": "string",  # "" where it has none
    "app.name": "string",
    "app.metadata": "strings",
}


class MessageBatchIn(In):
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MOST)]


class BroadcastIn(MessageIn):
    apps: Annotated[
        list[str] | None, Field(min_length=1, max_length=MOST_APPS, description="Ids or uids. Either this or `match`.")
    ] = None
    match: Annotated[
        str | None,
        Field(
            description="CEL over `app.id`, `app.uid`, `app.name` and `app.metadata`: every app for which it is true.",
            examples=["app.metadata.plan == 'gold'"],
        ),
    ] = None


Status: TypeAlias = Literal["accepted", "conflict"]


class BatchItemOut(TypedDict):
    id: str
    status: Annotated[Status, Field(description="`conflict`: there was a message with this eventId; `id` is that one.")]


class BroadcastItemOut(BatchItemOut):
    appId: str


class MessageBatchOut(TypedDict):
    data: list[BatchItemOut]


class BroadcastOut(TypedDict):
    data: list[BroadcastItemOut]
    accepted: NotRequired[int]


class _Batch(msgspec.Struct):
    messages: Annotated[tuple[Given, ...], msgspec.Meta(min_length=1, max_length=MOST)]


class _Broadcast(Given):
    apps: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST_APPS)] | None = None
    match: str | None = None


class _Wanted(NamedTuple):
    app: App
    message: Given


noun = router("/api/v1", "Message")
_batch: Final = msgspec.json.Decoder(_Batch)
_broadcast: Final = msgspec.json.Decoder(_Broadcast)


def _described(model: type[In]) -> dict[str, Any]:
    """The body in the API's description: the routes read it by themselves, so that payloads keep their bytes."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _schema(model)}}}}


def _schema(model: type[In]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    named = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inlined(named[value["$ref"].rpartition("/")[2]])
            return {name: inlined(each) for name, each in value.items()}
        return [inlined(each) for each in value] if isinstance(value, list) else value

    return dict(inlined(schema))


@noun.post(
    "/app/{app_id}/msg/batch",
    operation_id="v1.message.create-batch",
    status_code=202,
    response_model=MessageBatchOut,
    openapi_extra=_described(MessageBatchIn),
)
async def create_batch(
    context: Ctx, request: Request, app_name: AppName, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create up to 500 messages in one transaction. One that is not valid refuses them all, with every fault; one whose
    `eventId` is taken does not: its place in the answer says which message has it."""
    app = context.app(app_name)
    given = _decoded(_batch, await _body(request)).messages
    faults = [
        Fault(("body", "messages", str(place), *fault.loc[1:]), fault.message, fault.type)
        for place, message in enumerate(given)
        for fault in _faults(context, message)
    ]
    if faults:
        raise Unprocessable(*faults)
    outcomes = await _published(context, [_Wanted(app, message) for message in given])
    return answer({"data": [_item(outcome) for outcome in outcomes]}, 202)


@noun.post(
    "/msg",
    operation_id="v1.message.broadcast",
    status_code=202,
    response_model=BroadcastOut,
    openapi_extra=_described(BroadcastIn),
)
async def broadcast(context: Ctx, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Create the same message in many apps: those that are named, or those for which an expression is true. Those of
    up to 500 apps are one transaction; sent again with the same `eventId`, only what is missing is made."""
    given = _decoded(_broadcast, await _body(request))
    faults = [Fault(fault.loc, fault.message, fault.type) for fault in _faults(context, given)]
    if (given.apps is None) == (given.match is None):
        faults.append(Fault(("body", "apps"), "name either apps or match"))
    if faults:
        raise Unprocessable(*faults)
    apps = _named(context, given.apps) if given.apps is not None else await _matched(context, given.match or "")
    data = []
    for start in range(0, len(apps), MOST):
        some = apps[start : start + MOST]
        outcomes = await _published(context, [_Wanted(app, given) for app in some])
        data += [
            {"appId": ids.encode("app", app.id), **_item(outcome)} for app, outcome in zip(some, outcomes, strict=True)
        ]
    return answer({"data": data, "accepted": sum(each["status"] == "accepted" for each in data)}, 202)


async def _body(request: Request) -> bytes:
    parts = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise ApiError(413, "payload_too_large", f"The request is larger than {LARGEST} bytes.")
    return b"".join(parts)


def _decoded(decoder: Any, body: bytes) -> Any:
    """Payloads stay the bytes that came. Raises Unprocessable."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        reason, _, path = str(wrong).partition(" - at `$")
        places = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
        raise Unprocessable(Fault(("body", *filter(None, places)), reason, "type_error")) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = "it is too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise Unprocessable(Fault(("body",), f"the body is not JSON: {reason}", "value_error.jsondecode")) from None


def _faults(context: Context, message: Given) -> Sequence[Any]:
    try:
        context.ingest.check(
            message.event_type, bytes(message.payload), message.channels or (), message.event_id, message.tags or ()
        )
    except InvalidMessage as error:
        return error.faults
    return ()


async def _published(context: Context, wanted: Sequence[_Wanted]) -> list[Outcome]:
    """In one transaction. Raises StoreUnavailable."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in wanted]
    last = len(wanted) - 1
    for place, ((app, message), future) in enumerate(zip(wanted, futures, strict=True)):
        context.ingest.publish(
            app,
            message.event_type,
            bytes(message.payload),
            channels=message.channels or (),
            event_id=message.event_id,
            tags=message.tags or (),
            more=place < last,
            done=lambda outcome, future=future: None if future.done() else future.set_result(outcome),  # type: ignore[misc]
        )
    outcomes = await asyncio.gather(*futures)
    if any(not isinstance(outcome, (Accepted, EventIdTaken)) for outcome in outcomes):
        raise StoreUnavailable("the messages were not taken")
    return outcomes


def _item(outcome: Outcome) -> BatchItemOut:
    assert isinstance(outcome, (Accepted, EventIdTaken))
    status: Status = "accepted" if isinstance(outcome, Accepted) else "conflict"
    return BatchItemOut(id=ids.encode("msg", outcome.id), status=status)


def _named(context: Context, names: Sequence[str]) -> list[App]:
    found: dict[int, App] = {}
    faults = []
    for place, name in enumerate(names):
        app = context.directory.app(name)
        if app is None:
            faults.append(Fault(("body", "apps", str(place)), f"there is no app {name!r}"))
        else:
            found[app.key] = app
    if faults:
        raise Unprocessable(*faults)
    return list(found.values())


async def _matched(context: Context, text: str) -> list[App]:
    try:
        program = compile_expression(text, variables=_APP_VARIABLES, result="bool")
    except ExpressionError as error:
        raise Unprocessable(Fault(("body", "match"), str(error))) from None
    found = []
    for number, app in enumerate(list(context.directory.apps.values()), 1):
        if _fits(program, app):
            found.append(app)
            if len(found) > MOST_APPS:
                raise Unprocessable(Fault(("body", "match"), f"more than {MOST_APPS} apps fit: narrow it"))
        if number % SLICE == 0:
            await asyncio.sleep(0)
    return found


def _fits(program: Program, app: App) -> bool:
    """An app that lacks what is asked about does not fit."""
    try:
        return bool(program.evaluate(_AppEnvironment(app)))
    except ExpressionError:
        return False


class _AppEnvironment:
    __slots__ = ("_app",)

    def __init__(self, app: App) -> None:
        self._app = app

    def __getitem__(self, name: str, /) -> Any:
        app = self._app
        match name:
            case "app.id":
                return ids.encode("app", app.id)
            case "app.uid":
                return app.uid or ""
            case "app.name":
                return app.name
            case _:
                return app.metadata
