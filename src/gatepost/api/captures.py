"""Single exchanges that routes with `capture` kept, redacted."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Query, Response
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.fields import moment
from gatepost.api.problems import INVALID, Refused, not_found, router
from gatepost.stores.captures import Captured

PREFIX: Final = "cap"

noun = router("/api/v1/capture", "Captures")


class CapturedBody(TypedDict):
    size: int
    type: str
    text: str | None
    truncated: bool


class CapturedRequest(TypedDict):
    method: str
    scheme: str
    host: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: CapturedBody | None


class CapturedResponse(TypedDict):
    status: int
    headers: list[tuple[str, str]]
    body: CapturedBody | None


class CaptureLine(TypedDict):
    id: str
    time: str
    route: str
    status: int
    method: str
    path: str
    consumer: str
    outcome: str
    duration_ms: float


class CaptureList(TypedDict):
    data: list[CaptureLine]
    done: bool
    iterator: str


class CaptureOut(TypedDict):
    id: str
    time: str
    route: str
    status: int
    request_id: str
    client: str
    consumer: str
    target: str
    outcome: str
    duration_ms: float
    upstream_ms: float | None
    request: CapturedRequest
    response: CapturedResponse


_STATUS = Query(pattern="^([1-5]xx|[1-5][0-9][0-9]|0)$", description="`503`, or a class: `5xx`; 0: no response.")
_ITERATOR = Query(max_length=64, description="Go on behind what the page before gave as `iterator`.")


@noun.get("", operation_id="v1.capture.list", response_model=CaptureList)
async def list_captures(
    context: Ctx,
    route: Annotated[str | None, Query(max_length=256, description="Of this route only.")] = None,
    status: Annotated[str | None, _STATUS] = None,
    limit: Annotated[int, Query(ge=1, le=250)] = 50,
    iterator: Annotated[str | None, _ITERATOR] = None,
) -> Response:
    """The latest first."""
    before = None
    if iterator:
        before = ids.decode(PREFIX, iterator)
        if before is None:
            raise Refused(INVALID, f"iterator must be what another page gave ({PREFIX}_…).")
    low, high = (0, 1_000) if status is None else _range(status)
    found = await context.store.list_captures(route=route, low=low, high=high, before=before, limit=limit + 1)
    shown = found[:limit]
    last = ids.encode(PREFIX, shown[-1].id) if shown else iterator or ""
    return answer(CaptureList(data=[_line(each) for each in shown], done=len(found) <= limit, iterator=last))


@noun.get("/{capture_id}", operation_id="v1.capture.get", response_model=CaptureOut)
async def get(context: Ctx, capture_id: Annotated[str, Path(description="The capture's id.")]) -> Response:
    """All that was kept of it."""
    identifier = ids.decode(PREFIX, capture_id)
    found = await context.store.capture(identifier) if identifier is not None else None
    if found is None:
        raise not_found("capture", capture_id)
    document = {
        "id": ids.encode(PREFIX, found.id),
        "time": moment(found.time),
        "route": found.route,
        "status": found.status,
    }
    return answer(document | _document(found))


def _range(status: str) -> tuple[int, int]:
    if status.endswith("xx"):
        low = int(status[0]) * 100
        return low, low + 100
    return int(status), int(status) + 1


def _line(captured: Captured) -> CaptureLine:
    document = _document(captured)
    request = document["request"]
    return CaptureLine(
        id=ids.encode(PREFIX, captured.id),
        time=moment(captured.time),
        route=captured.route,
        status=captured.status,
        method=request["method"],
        path=request["path"],
        consumer=document["consumer"],
        outcome=document["outcome"],
        duration_ms=document["duration_ms"],
    )


def _document(captured: Captured) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(captured.document)
    return document
