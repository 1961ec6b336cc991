"""Sending again what was missed: work in the background, which goes on after a restart.

`recover` sends what failed or was set aside, `replay-missing` what an endpoint never got (it is new, or asked for less
at the time), `bulk-replay` what a filter says, also what was delivered.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from fastapi import Path, Query, Response
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.attempts import MessageStatus, StatusCodeClass
from gatepost.api.context import Context, Ctx
from gatepost.api.encoding import answer
from gatepost.api.errors import Fault, Unprocessable, not_found
from gatepost.api.fields import AppName, Channel, EndpointName, EventType, IdempotencyKey, In, Iterator, Limit, moment
from gatepost.api.fields import seconds_of as _seconds_of
from gatepost.api.router import router
from gatepost.deliveries.replays import RECOVER, REPLAY, REPLAY_MISSING, a_task
from gatepost.lifecycle import State
from gatepost.model import BackgroundTask

Kind: TypeAlias = Literal["endpoint.recover", "endpoint.replay", "endpoint.bulk-replay"]
# Ours → Svix's.
KINDS: Final[dict[str, Kind]] = {
    RECOVER: "endpoint.recover",
    REPLAY_MISSING: "endpoint.replay",
    REPLAY: "endpoint.bulk-replay",
}
_FAILED: Final = (State.EXHAUSTED, State.SKIPPED)
_OVER: Final = {
    None: (State.DELIVERED, State.EXHAUSTED, State.SKIPPED, State.CANCELLED),
    MessageStatus.SUCCESS: (State.DELIVERED,),
    MessageStatus.FAIL: (State.EXHAUSTED,),
    MessageStatus.CANCELED: (State.SKIPPED, State.CANCELLED),
}

# RFC 3339, as text: JSON has no times, and this model takes types as they come.
Moment: TypeAlias = Annotated[str, StringConstraints(max_length=64), Field(json_schema_extra={"format": "date-time"})]


class RecoverIn(In):
    since: Moment
    until: Moment | None = None


class ReplayIn(RecoverIn):
    pass


class BulkReplayIn(RecoverIn):
    event_types: Annotated[list[EventType] | None, Field(validation_alias="eventTypes")] = None
    channel: Channel | None = None
    tag: Channel | None = None
    status: Annotated[int | None, Field(description="0 success, 2 fail, 4 canceled; all of them if absent.")] = None
    status_code_class: Annotated[
        StatusCodeClass | None, Field(validation_alias="statusCodeClass", description="Not there yet: 422.")
    ] = None


class BackgroundTaskShort(TypedDict):
    id: str
    status: Literal["running", "finished", "failed"]
    task: Kind
    updatedAt: str


class RecoverOut(BackgroundTaskShort):
    pass


class ReplayOut(BackgroundTaskShort):
    pass


class BackgroundTaskOut(BackgroundTaskShort):
    data: dict[str, Any]


class ListResponse_BackgroundTaskOut_(TypedDict):
    data: list[BackgroundTaskOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


noun = router("/api/v1", "Background Task")
_ENDPOINT: Final = "/app/{app_id}/endpoint/{endpoint_id}"


@noun.post(f"{_ENDPOINT}/recover", operation_id="v1.endpoint.recover", status_code=202, response_model=RecoverOut)
async def recover(
    context: Ctx, app_name: AppName, name: EndpointName, wanted: RecoverIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send an endpoint again what failed for good, or was set aside while it was disabled, since a moment."""
    return await _begin(context, RECOVER, app_name, name, wanted, _FAILED)


@noun.post(
    f"{_ENDPOINT}/replay-missing", operation_id="v1.endpoint.replay-missing", status_code=202, response_model=ReplayOut
)
async def replay_missing(
    context: Ctx, app_name: AppName, name: EndpointName, wanted: ReplayIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send an endpoint the messages that it wants and was never sent, since a moment."""
    return await _begin(context, REPLAY_MISSING, app_name, name, wanted, (State.SKIPPED,))


@noun.post(
    f"{_ENDPOINT}/bulk-replay", operation_id="v1.endpoint.bulk-replay", status_code=202, response_model=ReplayOut
)
async def bulk_replay(
    context: Ctx, app_name: AppName, name: EndpointName, wanted: BulkReplayIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send an endpoint again the messages of a time that fit, whatever became of them."""
    if wanted.status_code_class is not None:
        raise Unprocessable(Fault(("body", "statusCodeClass"), "statusCodeClass is not there yet"))
    try:
        states = _OVER[None if wanted.status is None else MessageStatus(wanted.status)]
    except (KeyError, ValueError):
        raise Unprocessable(Fault(("body", "status"), "status must be 0, 2 or 4: the rest is under way")) from None
    return await _begin(
        context,
        REPLAY,
        app_name,
        name,
        wanted,
        states,
        event_types=wanted.event_types,
        channel=wanted.channel,
        tag=wanted.tag,
    )


@noun.get("/background-task", operation_id="v1.background-task.list", response_model=ListResponse_BackgroundTaskOut_)
async def list_tasks(
    context: Ctx,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    app_id: Annotated[str | None, Query(description="With `endpoint_id`: only tasks of this app's endpoint.")] = None,
    endpoint_id: Annotated[str | None, Query(description="With `app_id`: only tasks of this endpoint.")] = None,
) -> Response:
    """List what was and is done in the background, the newest first."""
    at = pagination.cursor(iterator, "qtask")
    wanted = pagination.narrow(at, limit)
    if (app_id is None) != (endpoint_id is None):
        raise Unprocessable(Fault(("query", "endpoint_id"), "app_id and endpoint_id go together"))
    if app_id is not None and endpoint_id is not None:
        wanted = msgspec.structs.replace(wanted, endpoint=context.endpoint(context.app(app_id), endpoint_id).key)
    found = await context.store.list_tasks(wanted)
    return await pagination.page(
        pagination.of_store(found, at), at, "qtask", lambda task: task.id, lambda task: document(context, task)
    )


@noun.get("/background-task/{task_id}", operation_id="v1.background-task.get", response_model=BackgroundTaskOut)
async def get_task(context: Ctx, name: Annotated[str, Path(alias="task_id", description="The task's id.")]) -> Response:
    """Get one task, with how far it is."""
    identifier = ids.decode("qtask", name)
    task = None if identifier is None else await context.store.task(identifier)
    if task is None:
        raise not_found("background task", name)
    return answer(document(context, task))


def short(task: BackgroundTask) -> BackgroundTaskShort:
    return BackgroundTaskShort(
        id=ids.encode("qtask", task.id),
        status=task.state,
        task=KINDS[task.kind],
        updatedAt=moment(task.updated),
    )


def document(context: Context, task: BackgroundTask) -> BackgroundTaskOut:
    app = context.directory.apps.get(task.app)
    data: dict[str, Any] = {
        "appId": None if app is None else ids.encode("app", app.id),
        "endpointId": context.endpoint_id(task.endpoint),
        "since": moment(task.since),
        "until": moment(task.until),
        "messagesLooked": task.looked,
        "messagesSent": task.done,
        "progress": round(task.progress, 4),
    }
    if task.error:
        data["error"] = task.error
    return BackgroundTaskOut(**short(task), data=data)


async def _begin(
    context: Context, kind: str, app_name: str, name: str, wanted: RecoverIn, states: tuple[State, ...], **narrow: Any
) -> Response:
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    since = _moment("since", wanted.since)
    until = context.clock.now() if wanted.until is None else _moment("until", wanted.until)
    if until < since:
        raise Unprocessable(Fault(("body", "since"), "since must be before until, and not in the future"))
    task = a_task(kind, endpoint, since, until, states, **narrow)
    return answer(short(await context.begin(task)), 202)


def _moment(field: str, text: str) -> float:
    try:
        seconds = _seconds_of(datetime.fromisoformat(text))
    except ValueError:
        seconds = None
    if seconds is None:
        raise Unprocessable(Fault(("body", field), f"{field} must be a moment: 2027-01-31T12:00:00Z"))
    return seconds
