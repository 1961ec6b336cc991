"""`validate_response`: what the service answers must look as described, before the client sees it.

The body is held back until it has been checked. It stands next to the handler: what the gateway answers itself is not
checked, and what a cache keeps has been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost import log
from gatepost.config.policies.validate_response import ResponseRule, ValidateResponsePolicy
from gatepost.errors import Problem
from gatepost.exchange import Downstream, Exchange, Phase, Policy, Source, Through, problem
from gatepost.http1.messages import Fields
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.bodies import Bodies, body_violations
from gatepost.policies.json_schema import Violation, shared_schema
from gatepost.policies.json_value import NotJson
from gatepost.policies.parameters import ParameterCheck, Unreadable

_REFUSED: Final = Problem(
    502, "response-invalid", "The service's answer is not as described", "The gateway's log says what is wrong with it."
)
_BROKEN_OFF: Final = Problem(502, "upstream-closed", "The upstream closed the connection", "before its response ended")
_TOO_LARGE: Final = "it is larger than %d bytes"
_QUIET: Final = 1.0  # seconds
_NOTE: Final = "validate_response"
_TOLD: Final = 10  # violations in one line of the log
_BODILESS: Final = frozenset((204, 304))


def build(use: ValidateResponsePolicy, context: PolicyContext) -> ValidateResponse:
    rules = {}
    for status, rule in use.responses.items():
        try:
            rules[status] = _Rule(rule, context, formats=use.formats)
        except ValueError as error:
            raise SettingFault(f"responses.{status}", str(error)) from None
    return ValidateResponse(rules, refuse=use.on_violation == "refuse", limit=use.response_bytes)


class _Rule:
    """What holds for one status."""

    __slots__ = ("_bodies", "_headers")

    def __init__(self, rule: ResponseRule, context: PolicyContext, *, formats: bool) -> None:
        self._bodies = Bodies(rule.content, context.states, formats=formats, masked=True) if rule.content else None
        self._headers = []
        for name, parameter in rule.headers.items():
            schema = shared_schema(parameter.schema, context.states, formats=formats, masked=True)
            self._headers.append((name.lower().encode(), ParameterCheck(name, "header", parameter, schema)))

    def head(self, status: int, fields: Fields) -> list[str]:
        """What is wrong with it, as sentences without values: they are the service's, not the log's."""
        wrong = []
        for wanted, check in self._headers:
            try:
                found = check.of_values([value for name, value in fields if name == wanted], _TOLD)
            except Unreadable as error:
                wrong.append(f"the header {check.name} {error}")
                continue
            wrong += [_line(f"the header {check.name}", violation) for violation in found]
        return wrong

    def reads(self, x: Exchange, status: int, fields: Fields) -> bool:
        return self._bodies is not None and status not in _BODILESS and x.head.method != b"HEAD"

    def body(self, x: Exchange, fields: Fields, body: bytes) -> list[str]:
        assert self._bodies is not None
        content_type = _field(fields, b"content-type")
        known = self._bodies.find(content_type)
        if known is None:
            return [f"its Content-Type is {content_type.decode('latin-1')[:80] or 'missing'}"]
        try:
            return [_line("#", violation) for violation in body_violations(*known, body, _TOLD)]
        except NotJson as error:
            return [f"it is not JSON: {error}"]
        except Unreadable as error:
            return [f"the form {error}"]


class _Undescribed(_Rule):
    """The rule of a status of which nothing is said."""

    def __init__(self) -> None:
        pass

    def head(self, status: int, fields: Fields) -> list[str]:
        return ["the status is not described"]

    def reads(self, x: Exchange, status: int, fields: Fields) -> bool:
        return False


class ValidateResponse(Policy):
    name = "validate_response"
    phase = Phase.EMIT
    identity_encoding = True

    def __init__(self, rules: dict[str, _Rule], *, refuse: bool, limit: int) -> None:
        self.rules = rules
        self.refuse = refuse
        self.limit = limit
        self.report = _Reports().report

    def on_request(self, x: Exchange) -> None:
        x.note(_NOTE, True)  # everybody else let it pass: what comes now is the service's

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        return _Stage(self, downstream)

    def rule(self, x: Exchange, status: int) -> _Rule | None:
        """What is to hold; None where nothing is, or where the gateway answers itself."""
        if x.outcome or x.notes is None or _NOTE not in x.notes:
            return None
        rules = self.rules
        return rules.get(str(status)) or rules.get(f"{status // 100}XX") or rules.get("default") or _UNDESCRIBED


class _Reports:
    """Lines of the log, one a second and route at most: a service that is wrong is wrong each time."""

    __slots__ = ("_quiet_until", "_unsaid")

    def __init__(self) -> None:
        self._quiet_until = float("-inf")
        self._unsaid = 0

    def report(self, x: Exchange, status: int, wrong: Sequence[str]) -> None:
        if x.started < self._quiet_until:
            self._unsaid += 1
            return
        log.event(
            "response_invalid",
            level="warning",
            request_id=x.id,
            route=x.route.name,
            status=status,
            violations="; ".join(wrong[:_TOLD]),
            more=self._unsaid,
        )
        self._quiet_until, self._unsaid = x.started + _QUIET, 0


class _Stage(Through):
    """Between the handler and the client of one exchange."""

    __slots__ = (
        "_fields",
        "_length",
        "_parts",
        "_policy",
        "_reading",
        "_rule",
        "_size",
        "_source",
        "_status",
        "_x",
    )

    _x: Exchange
    _status: int
    _fields: Fields
    _length: int | None
    _source: Source
    _rule: _Rule

    def __init__(self, policy: ValidateResponse, downstream: Downstream) -> None:
        self._policy = policy
        super().__init__(downstream)
        self._reading = False
        self._parts: list[bytes] = []
        self._size = 0

    # ResponseSink: the handler's side

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        rule = self._policy.rule(x, status)
        if rule is None:
            self._downstream.begin(x, status, fields, length, source)
            return
        self._x, self._status, self._fields, self._length, self._source = x, status, fields, length, source
        self._rule = rule
        wrong = rule.head(status, fields)
        reads = not wrong and rule.reads(x, status, fields)
        if reads:
            wrong = _unreadable(fields, length, self._policy.limit)
        if wrong:
            self._violates(wrong)
        elif reads:
            self._reading = True
        else:
            self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        rule = self._policy.rule(x, status)
        if rule is not None:
            wrong = rule.head(status, fields)
            if not wrong and rule.reads(x, status, fields):
                wrong = _unreadable(fields, len(body), self._policy.limit) or rule.body(x, fields, body)
            if wrong:
                self._policy.report(x, status, wrong)
                if self._policy.refuse:
                    self._refuse(x)
                    return
        self._downstream.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        if not self._reading:
            self._downstream.send(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._policy.limit:
            self._violates([_TOO_LARGE % self._policy.limit])

    def finish(self) -> None:
        if not self._reading:
            self._downstream.finish()
            return
        self._reading = False
        self.respond(self._x, self._status, self._fields, b"".join(self._parts))

    def abort(self) -> None:
        if not self._reading:
            self._downstream.abort()
            return
        self._reading = False
        self._answer(self._x, _BROKEN_OFF)

    # What is not as described

    def _violates(self, wrong: Sequence[str]) -> None:
        """While the response still comes."""
        self._reading = False
        self._policy.report(self._x, self._status, wrong)
        if self._policy.refuse:
            self._source.cancel()
            self._refuse(self._x)
            return
        self._downstream.begin(self._x, self._status, self._fields, self._length, self._source)
        parts, self._parts = self._parts, []
        for part in parts:
            self._downstream.send(part)

    def _refuse(self, x: Exchange) -> None:
        self._answer(x, _REFUSED)

    def _answer(self, x: Exchange, p: Problem) -> None:
        answer = problem(x.id, p)
        x.outcome = answer.outcome
        self._downstream.respond(x, answer.status, answer.fields, answer.body)


def _unreadable(fields: Fields, length: int | None, limit: int) -> list[str]:
    """Why a body cannot be checked: what cannot be checked is not let through as if it had been."""
    if length is not None and length > limit:
        return [_TOO_LARGE % limit]
    return [
        f"its Content-Encoding is {value.decode('latin-1')[:40]}, which is not read"
        for name, value in fields
        if name == b"content-encoding" and value.lower() != b"identity"
    ]


def _field(fields: Fields, wanted: bytes) -> bytes:
    return next((value.strip() for name, value in fields if name == wanted), b"")


def _line(where: str, violation: Violation) -> str:
    return f"{where}{violation.pointer}: {violation.detail}" if violation.pointer else f"{where}: {violation.detail}"


_UNDESCRIBED: Final = _Undescribed()
