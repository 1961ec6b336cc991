"""Refusals of the paths that are Gatepost's own: RFC 9457 problem documents with the request's id.

The webhook part of the API refuses as Svix does (`errors.py`). Everything under `paths.OWN` refuses as the gateway
does: `type` stays the same over versions, and `errors` lists every fault of a request that is not valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NotRequired

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from typing_extensions import TypedDict

from gatepost.api.paths import own
from gatepost.errors import PROBLEM_PREFIX, GatepostError

MEDIA_TYPE: Final = "application/problem+json"


class ErrorOut(TypedDict):
    detail: str
    pointer: NotRequired[str]  # RFC 6901, into the body
    parameter: NotRequired[str]


class ProblemOut(TypedDict):
    type: str
    title: str
    status: int
    request_id: NotRequired[str]
    detail: NotRequired[str]
    errors: NotRequired[list[ErrorOut]]


class Kind(NamedTuple):
    """One kind of refusal: its slug makes the `type`."""

    status: int
    slug: str
    title: str


NOT_FOUND: Final = Kind(404, "not-found", "There is no such thing")
METHOD: Final = Kind(405, "method-not-allowed", "The path is known, with other methods")
TAKEN: Final = Kind(409, "name-taken", "The name is taken")
DECLARED: Final = Kind(409, "declared", "It is declared in gatepost.yaml, and can only be changed there")
INVALID: Final = Kind(422, "request-invalid", "The request is not valid")
BROKEN: Final = Kind(500, "internal-error", "Something went wrong in Gatepost; its log says what")
UNAVAILABLE: Final = Kind(503, "store-unavailable", "The store cannot take writes now")

# What any route may answer, for the OpenAPI document.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ProblemOut, "description": "The admin token is missing or wrong"},
    404: {"model": ProblemOut, "description": NOT_FOUND.title},
    409: {"model": ProblemOut, "description": "It is in the way of something that exists"},
    422: {"model": ProblemOut, "description": INVALID.title},
    503: {"model": ProblemOut, "description": UNAVAILABLE.title},
}


class Refused(GatepostError):
    """A refusal on one of these paths."""

    def __init__(self, kind: Kind, detail: str = "", errors: Sequence[ErrorOut] = ()) -> None:
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        super().__init__(detail or kind.title)


def router(prefix: str, tag: str) -> APIRouter:
    """As `router.router`, for a noun of these paths."""
    return APIRouter(prefix=prefix, tags=[tag], responses=RESPONSES, strict_content_type=False)


def describe(paths: dict[str, Any]) -> None:
    """Say of `paths` of an OpenAPI document that what these refuse is a problem document."""
    for path, operations in paths.items():
        if own(path):
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status[0] in "45" and "content" in response:
                        response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


def document(request: Request, refused: Refused, headers: dict[str, str] | None = None) -> Response:
    kind = refused.kind
    out = ProblemOut(type=PROBLEM_PREFIX + kind.slug, title=kind.title, status=kind.status)
    identifier = request.headers.get("x-request-id")  # the gateway's own listener has put it there
    if identifier is not None:
        out["request_id"] = identifier
    if refused.detail:
        out["detail"] = refused.detail
    if refused.errors:
        out["errors"] = refused.errors
    return Response(msgspec.json.encode(out), kind.status, headers, media_type=MEDIA_TYPE)


def not_found(what: str, name: str) -> Refused:
    return Refused(NOT_FOUND, f"There is no {what} {name!r}.")


def fault(pointer: str, detail: str) -> ErrorOut:
    """One thing wrong with the body: `fault("/plans/0", "there is no plan 'gold'")`."""
    return ErrorOut(detail=detail, pointer="#" + pointer)


def of_validation(error: RequestValidationError) -> Refused:
    return Refused(INVALID, errors=[_fault(item) for item in error.errors()])


def _fault(item: dict[str, Any]) -> ErrorOut:
    place, *below = (str(step) for step in item["loc"])
    if item["type"] == "json_invalid":
        reason = item.get("ctx", {}).get("error", "")
        return fault("", f"the body is not JSON: {reason}, at character {below[0] if below else 0}")
    if place == "body" and not below and isinstance(item.get("input"), bytes):
        return ErrorOut(detail="send the body as application/json", parameter="Content-Type")
    detail = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        detail = "is required"
    elif item["type"] == "extra_forbidden":
        detail = "is not known here"
    if place == "body":
        return fault("".join("/" + step.replace("~", "~0").replace("/", "~1") for step in below), detail)
    return ErrorOut(detail=detail, parameter=below[0] if below else place)
