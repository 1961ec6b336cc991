"""`mock`: the gateway answers by itself, after the policies before it had their say.

Of several answers the first is given, unless the client asks for another: by status or name (`Prefer: code=404`,
`Prefer: example=empty`; RFC 7240) or by media type (`Accept`; RFC 9110 §12.5.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from gatepost.config.policies.mock import Answer as Settings
from gatepost.config.policies.mock import MockPolicy
from gatepost.errors import ExpressionError, Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_template
from gatepost.http1.framing import SPECIAL_IN_RESPONSES
from gatepost.http1.messages import Fields
from gatepost.policies.base import PolicyContext

_BAD_OCTETS: Final = (frozenset(range(32)) - {9}) | {127}


def build(use: MockPolicy, context: PolicyContext) -> Mock:
    """Raises ValueError."""
    alone = Settings(status=use.status, headers=use.headers, body=use.body, json=use.json)
    return Mock([_Answer(answer) for answer in use.answers or (alone,)], use.delay)


class Mock(Policy):
    name = "mock"
    phase = Phase.CACHE  # the last before the handler, in whose place it answers

    def __init__(self, answers: Sequence[_Answer], delay: float) -> None:
        self._answers = answers
        self._delay = delay
        self._kinds = ", ".join(dict.fromkeys(answer.media for answer in answers if answer.media))
        self.needs_request_body = any(answer.reads_body for answer in answers)

    def on_request(self, x: Exchange) -> Response | Awaitable[Response]:
        response = self._response(x)
        return _later(self._delay, response) if self._delay else response

    def _response(self, x: Exchange) -> Response:
        answers, applied = self._answers, b""
        if len(answers) > 1:
            answers, applied = _preferred(x, answers)
        accept = b",".join(x.head.all(b"accept")).decode("latin-1").lower()
        answer = answers[0] if not accept else _acceptable(accept, answers)
        if answer is None:
            return problem(
                x.id, Problem(406, "not-acceptable", "There is no answer of that type", f"There is: {self._kinds}.")
            )
        try:
            response = answer.response(x)
        except ExpressionError as error:
            return problem(x.id, Problem(500, "mock-failed", "The answer could not be made", str(error)))
        if applied:
            response.fields = [*response.fields, (b"preference-applied", applied)]
        return response


class _Parts:
    """Bytes, and what becomes bytes with an exchange in hand."""

    __slots__ = ("parts", "references")

    def __init__(self) -> None:
        self.parts: list[bytes | Callable[[ExchangeEnvironment], bytes]] = []
        self.references: frozenset[str] = frozenset()

    def add(self, data: bytes) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, bytes):
            self.parts[-1] = last + data
        else:
            self.parts.append(data)

    def add_text(self, setting: str, template: str) -> None:
        """Raises ValueError."""
        self._add_template(setting, template, json=False)

    def add_json(self, value: Any) -> None:
        """A document whose texts may be templates: one that is a single `${…}` keeps its value's type. Raises
        ValueError."""
        if isinstance(value, dict):
            for at, (name, each) in enumerate(value.items()):
                self.add((b"," if at else b"{") + msgspec.json.encode(name) + b":")
                self.add_json(each)
            self.add(b"}" if value else b"{}")
        elif isinstance(value, list):
            for at, each in enumerate(value):
                self.add(b"," if at else b"[")
                self.add_json(each)
            self.add(b"]" if value else b"[]")
        elif isinstance(value, str) and "${" in value:
            self._add_template("json", value, json=True)
        else:
            self.add(msgspec.json.encode(value))

    def _add_template(self, setting: str, template: str, *, json: bool) -> None:
        if "${" not in template:
            self.add(template.encode())
            return
        try:
            program = compile_template(template, REQUEST_VARIABLES, result="any" if json else "string")
            made = program.evaluate_json if json else lambda env: str(program.evaluate(env)).encode()
            if program.constant:
                self.add(made({}))  # `$${` is a plain `${`
                return
        except ExpressionError as error:
            raise ValueError(f"{setting}: {error}") from None
        self.references |= program.references
        self.parts.append(made)

    def bytes_for(self, env: ExchangeEnvironment) -> bytes:
        """Raises ExpressionError."""
        return b"".join([part if isinstance(part, bytes) else part(env) for part in self.parts])

    @property
    def fixed(self) -> bytes | None:
        if not self.parts:
            return b""
        only = self.parts[0]
        return only if len(self.parts) == 1 and isinstance(only, bytes) else None


class _Answer:
    """One answer, compiled."""

    __slots__ = ("_body", "_fields", "_fixed", "media", "name", "reads_body", "status")

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError."""
        self.status = settings.status
        self.name = settings.name
        headers = {name.lower(): value for name, value in settings.headers.items()}
        self._body = _Parts()
        if settings.json is not None:
            headers.setdefault("content-type", "application/json")
            self._body.add_json(settings.json)
        elif settings.body:
            headers.setdefault("content-type", "text/plain; charset=utf-8")
            self._body.add_text("body", settings.body)
        self._fields: list[tuple[bytes, _Parts]] = []
        for name, value in headers.items():
            if name.encode() in SPECIAL_IN_RESPONSES:
                raise ValueError(f"headers: {name} is the gateway's own to set")
            parts = _Parts()
            parts.add_text(f"headers.{name}", value)
            self._fields.append((name.encode(), parts))
        every = [self._body, *(parts for _, parts in self._fields)]
        self.reads_body = any("request.body" in parts.references for parts in every)
        self.media = headers.get("content-type", "").partition(";")[0].strip()
        self._fixed: tuple[Fields, bytes] | None = None
        if all(parts.fixed is not None for parts in every):
            self._fixed = (
                [(name, _checked(name, parts.fixed or b"")) for name, parts in self._fields],
                (self._body.fixed or b""),
            )

    def response(self, x: Exchange) -> Response:
        """Raises ExpressionError."""
        if self._fixed is not None:
            return Response(self.status, list(self._fixed[0]), self._fixed[1])
        env = ExchangeEnvironment(x)
        fields = [(name, _checked(name, parts.bytes_for(env))) for name, parts in self._fields]
        return Response(self.status, fields, self._body.bytes_for(env))


async def _later(delay: float, response: Response) -> Response:
    await asyncio.sleep(delay)
    return response


def _checked(name: bytes, value: bytes) -> bytes:
    """RFC 9110 §5.5: what came with a request must not end a line of the response. Raises ExpressionError."""
    if any(octet in _BAD_OCTETS for octet in value):
        raise ExpressionError(f"the header {name.decode()} would hold a line end or another control character")
    return value


def _preferred(x: Exchange, answers: Sequence[_Answer]) -> tuple[Sequence[_Answer], bytes]:
    """What `Prefer` leaves of the answers, and what of it was followed. RFC 7240 §2: what cannot be followed is
    ignored."""
    applied = []
    for preference in b",".join(x.head.all(b"prefer")).decode("latin-1").split(","):
        name, _, value = (part.strip().strip('"') for part in preference.partition("="))
        if name.lower() == "code":
            chosen = [answer for answer in answers if str(answer.status) == value]
        elif name.lower() == "example":
            chosen = [answer for answer in answers if answer.name == value]
        else:
            continue
        if chosen:
            answers = chosen
            applied.append(f"{name.lower()}={value}")
    return answers, ", ".join(applied).encode("latin-1")


def _acceptable(accept: str, answers: Sequence[_Answer]) -> _Answer | None:
    """The answer that the client likes best, the first of equals; one without a type suits everybody. A client's
    wish for a type chooses among answers of one status: it never turns a success into an error."""
    wishes = [_wish(part) for part in accept.split(",") if part.strip()]
    best, weight = None, 0.0
    for answer in answers:
        if answer.status != answers[0].status:
            continue
        quality = _quality(answer.media.lower(), wishes)
        if quality > weight:
            best, weight = answer, quality
    return best


def _wish(part: str) -> tuple[str, float]:
    media, *parameters = (each.strip() for each in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media, float(parameter[2:])
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media: str, wishes: list[tuple[str, float]]) -> float:
    """RFC 9110 §12.5.1: the most specific range counts."""
    if not media or not wishes:
        return 1.0
    for name in (media, media.partition("/")[0] + "/*", "*/*"):
        for wish, quality in wishes:
            if wish == name:
                return quality
    return 0.0
