"""`validate`: a request must look as described, in its path, query, header, cookies and body.

    415  the body's type is none of those described
    400  it cannot be read: not JSON, badly encoded, sent twice
    422  it can be read and is not as described; every violation is told, with its place

The body goes on byte for byte as it came. A compiled schema is shared by all that have the same text, over reloads too.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gatepost import log
from gatepost.config.policies.validate import Parameter, ValidatePolicy
from gatepost.errors import PROBLEM_PREFIX, Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.bodies import Bodies, body_violations
from gatepost.policies.json_schema import Violation, shared_schema
from gatepost.policies.json_value import NotJson
from gatepost.policies.parameters import ParameterCheck, Unreadable, Where, Wire

_INVALID: Final = Problem(422, "request-invalid", "The request is not as described", "`errors` names every violation.")
_MISSING: Final = Problem(400, "body-missing", "A body is needed")
_UNREADABLE: Final = "The body cannot be read"
_FAILED: Final = Problem(500, "validation-failed", "The request could not be checked", "The gateway's log says why.")

_SETTINGS: Final[dict[Where, str]] = {"path": "path", "query": "query", "header": "headers", "cookie": "cookies"}


def build(use: ValidatePolicy, context: PolicyContext) -> Validate:
    checks = []
    by_place: dict[Where, dict[str, Parameter]] = {
        "path": use.path,
        "query": use.query,
        "header": use.headers,
        "cookie": use.cookies,
    }
    for where, rules in by_place.items():
        for name, rule in rules.items():
            try:
                schema = shared_schema(rule.schema, context.states, formats=use.formats)
                checks.append(ParameterCheck(name, where, rule, schema))
            except ValueError as error:
                raise SettingFault(f"{_SETTINGS[where]}.{name}", str(error)) from None
    bodies = None
    if use.body is not None:
        try:
            bodies = Bodies(use.body.content, context.states, json=use.body.schema, formats=use.formats)
        except ValueError as error:
            raise SettingFault("body", str(error)) from None
    return Validate(checks, bodies, required=use.body is not None and use.body.required, most=use.violations)


class Validate(Policy):
    name = "validate"
    phase = Phase.VALIDATE

    def __init__(self, checks: list[ParameterCheck], bodies: Bodies | None, *, required: bool, most: int) -> None:
        self._checks = checks
        self._bodies = bodies
        self._required = required
        self._most = most
        self.needs_request_body = bodies is not None

    def on_request(self, x: Exchange) -> Response | None:
        try:
            return self._check(x)
        except Exception as error:
            # Whatever fails here lets nothing pass.
            return _failed(x, error)
        except BaseException as error:
            # A panic of the validator is no Exception; Ctrl-C and the end of a task are not ours to stop.
            if type(error).__name__ != "PanicException":
                raise
            return _failed(x, error)

    def _check(self, x: Exchange) -> Response | None:
        errors: list[dict[str, str]] = []
        most = self._most
        if self._checks:
            wire = Wire(x)
            for check in self._checks:
                try:
                    found = check.violations(wire, most)
                except Unreadable as error:
                    reason = f"The {check.where} parameter {check.name} {error}."
                    return problem(x.id, Problem(400, "parameter-unreadable", "A parameter cannot be read", reason))
                if found:
                    errors += [_parameter_error(check, violation) for violation in found]
        bodies = self._bodies
        if bodies is not None:
            body = x.body
            if body:
                head = x.head
                content_type = head.get(b"content-type") or b""
                known = bodies.find(content_type)
                if known is None or head.get(b"content-encoding") is not None:
                    return _unsupported(x, bodies, coded=known is not None)
                try:
                    found = body_violations(*known, body, most)
                except NotJson as error:
                    return problem(x.id, Problem(400, "body-unreadable", _UNREADABLE, f"It is not JSON: {error}"))
                except Unreadable as error:
                    return problem(x.id, Problem(400, "body-unreadable", _UNREADABLE, f"The form {error}."))
                if found:
                    errors += [_body_error(violation) for violation in found]
            elif self._required:
                return problem(x.id, _MISSING)
        return _refusal(x, errors[:most]) if errors else None


def _parameter_error(check: ParameterCheck, violation: Violation) -> dict[str, str]:
    error = {"parameter": check.name, "in": check.where, "detail": violation.detail}
    if violation.pointer:
        error["pointer"] = "#" + violation.pointer
    return error


def _body_error(violation: Violation) -> dict[str, str]:
    return {"pointer": "#" + violation.pointer, "detail": violation.detail}  # as RFC 9457 §3 writes it


def _refusal(x: Exchange, errors: list[dict[str, str]]) -> Response:
    document: dict[str, Any] = {
        "type": PROBLEM_PREFIX + _INVALID.slug,
        "title": _INVALID.title,
        "status": _INVALID.status,
        "detail": _INVALID.detail,
        "request_id": x.id.decode("latin-1"),
        "errors": errors,
    }
    fields = [(b"content-type", b"application/problem+json")]
    return Response(_INVALID.status, fields, msgspec.json.encode(document), _INVALID.slug)


def _unsupported(x: Exchange, bodies: Bodies, *, coded: bool) -> Response:
    """RFC 9110 §15.5.16: what would have been taken is told in Accept, or in Accept-Encoding."""
    if coded:
        detail = "Send it without Content-Encoding."
        field = (b"accept-encoding", b"identity")
    else:
        detail = f"The Content-Type may be {bodies.accept.decode()}."
        field = (b"accept", bodies.accept)
    return problem(x.id, Problem(415, "content-type-unknown", "The body has a type that is not taken", detail), [field])


def _failed(x: Exchange, error: BaseException) -> Response:
    log.event(
        "validation_failed",
        level="error",
        request_id=x.id,
        route=x.route.name,
        reason=f"{type(error).__name__}: {str(error)[:200]}",
    )
    return problem(x.id, _FAILED)
