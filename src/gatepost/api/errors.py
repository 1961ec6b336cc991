"""Refusals, in Svix's shapes: `{"code", "detail"}`, and for 422 `{"detail": [{"loc", "msg", "type"}]}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from typing_extensions import TypedDict

from gatepost.api import problems
from gatepost.api.paths import own
from gatepost.errors import GatepostError, StoreUnavailable

RETRY_AFTER: Final = "1"  # seconds, when the store cannot write; it tries by itself every second


class HttpErrorOut(TypedDict):
    code: str
    detail: str


class ValidationErrorItem(TypedDict):
    loc: list[str]
    msg: str
    type: str


class HTTPValidationError(TypedDict):
    detail: list[ValidationErrorItem]


# What any route may answer, for the OpenAPI document.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": HttpErrorOut, "description": "The admin token is missing or wrong"},
    404: {"model": HttpErrorOut, "description": "There is no such thing"},
    409: {"model": HttpErrorOut, "description": "It is in the way of something that exists"},
    422: {"model": HTTPValidationError, "description": "The request is not valid"},
    503: {"model": HttpErrorOut, "description": "The store cannot take writes now"},
}


class ApiError(GatepostError):
    """A refusal with one reason."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(detail)


class Fault(NamedTuple):
    """One thing wrong with one field: `("body", "url")`."""

    loc: tuple[str, ...]
    message: str
    type: str = "value_error"


class Unprocessable(GatepostError):
    """A request that is not valid: every fault at once."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{'.'.join(fault.loc)}: {fault.message}" for fault in faults))


def not_found(what: str, name: str) -> ApiError:
    return ApiError(404, "not_found", f"There is no {what} {name!r}.")


def conflict(detail: str) -> ApiError:
    return ApiError(409, "conflict", detail)


def refusal(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode({"code": code, "detail": detail})
    return Response(body, status, headers, media_type="application/json")


def unprocessable(faults: Sequence[Fault]) -> Response:
    detail = [{"loc": fault.loc, "msg": fault.message, "type": fault.type} for fault in faults]
    return Response(msgspec.json.encode({"detail": detail}), 422, media_type="application/json")


def install(api: FastAPI) -> None:
    """Every refusal of the framework or of ours leaves in Svix's shapes."""

    @api.exception_handler(problems.Refused)
    async def of_problems(request: Request, error: problems.Refused) -> Response:
        return problems.document(request, error)

    @api.exception_handler(ApiError)
    async def of_ours(_: Request, error: ApiError) -> Response:
        return refusal(error.status, error.code, error.detail)

    @api.exception_handler(Unprocessable)
    async def of_faults(_: Request, error: Unprocessable) -> Response:
        return unprocessable(error.faults)

    @api.exception_handler(StoreUnavailable)
    async def of_store(request: Request, error: StoreUnavailable) -> Response:
        if own(request.url.path):
            refused = problems.Refused(problems.UNAVAILABLE, f"{error}. Nothing was changed; send the request again.")
            return problems.document(request, refused, {"retry-after": RETRY_AFTER})
        detail = f"The store cannot take writes now: {error}. Nothing was changed; send the request again."
        return refusal(503, "unavailable", detail, {"retry-after": RETRY_AFTER})

    @api.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> Response:
        if own(request.url.path):
            return problems.document(request, problems.of_validation(error))
        return unprocessable([_fault(item) for item in error.errors()])

    @api.exception_handler(HTTPException)
    async def of_framework(request: Request, error: HTTPException) -> Response:
        if own(request.url.path):
            return _own(api, request, error)
        if error.status_code == 404:
            return refusal(404, "not_found", f"The API has no path {request.url.path}.")
        if error.status_code == 405:
            allow = ", ".join(_methods(api, request.url.path))
            return refusal(405, "method_not_allowed", f"Allowed here: {allow}.", {"allow": allow})
        # What is left is a body that is not even text.
        return unprocessable([Fault(("body",), "the body is not JSON", "value_error.jsondecode")])

    @api.exception_handler(Exception)
    async def of_nobody(request: Request, __: Exception) -> Response:
        if own(request.url.path):
            return problems.document(request, problems.Refused(problems.BROKEN))
        # The framework raises it again after this answer, and the ASGI handler logs it.
        return refusal(500, "server_error", "Something went wrong in Gatepost; its log says what.")


def _own(api: FastAPI, request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return problems.document(request, problems.Refused(problems.NOT_FOUND, "The API has no such path."))
    if error.status_code == 405:
        allow = ", ".join(_methods(api, request.url.path))
        refused = problems.Refused(problems.METHOD, f"Allowed here: {allow}.")
        return problems.document(request, refused, {"allow": allow})
    return problems.document(
        request, problems.Refused(problems.INVALID, errors=[problems.fault("", "the body is not JSON")])
    )


def _methods(api: FastAPI, path: str) -> list[str]:
    """What RFC 9110 §15.5.6 wants of a 405: every method of this path. The framework names those of one route."""
    return sorted(
        {
            method
            for route in api.routes
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
            if route.matches({"type": "http", "path": path, "method": method, "root_path": ""})[0] is Match.FULL
        }
    )


def _fault(item: dict[str, Any]) -> Fault:
    """Pydantic's word for it in Svix's: a type that begins with `type_error` or `value_error`."""
    kind = item["type"]
    loc = tuple(str(place) for place in item["loc"])
    if kind == "json_invalid":
        reason = item.get("ctx", {}).get("error", "")
        return Fault(("body",), f"the body is not JSON: {reason}", "value_error.jsondecode")
    if kind == "missing":
        return Fault(loc, f"{loc[-1]} is required", "value_error.missing")
    if loc == ("body",) and isinstance(item.get("input"), bytes):
        return Fault(("header", "content-type"), "send the body as application/json", "type_error")
    message = item["msg"].removeprefix("Value error, ")
    return Fault(loc, message, "type_error" if kind.endswith(("_type", "_parsing")) else "value_error")
