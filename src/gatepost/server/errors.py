"""Error templates: what stands in the body of an answer that the gateway makes itself, by status and by `Accept`.

    errors:
      "404": {text/html: "<h1>${problem.title}</h1>"}
      5xx: {text/html: …, application/json: …}
      default: …

Only the body is another one, and its type: status and fields (`Retry-After`, `WWW-Authenticate`) stay. A client that
asks for nothing, or for anything, gets the problem document (RFC 9457), and so does everybody where a template fails.
What a service answered is never touched.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from gatepost import log
from gatepost.errors import ExpressionError
from gatepost.exchange import Exchange, is_problem
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, Program, compile_expression
from gatepost.expressions.runtime import Type
from gatepost.expressions.templates import Text, split
from gatepost.http1.accept import preferred
from gatepost.http1.messages import Fields

LOG_EVERY: Final = 10.0  # seconds between two lines about templates that fail

PROBLEM_VARIABLES: Final[Mapping[str, Type]] = {
    "problem.status": "int",
    "problem.type": "string",
    "problem.title": "string",
    "problem.detail": "string",  # "" where there is none
    "problem.request_id": "string",
    **{name: kind for name, kind in REQUEST_VARIABLES.items() if name != "request.body"},
}

_PROBLEM_JSON: Final = b"application/problem+json"
_Part: TypeAlias = str | Program


class ErrorTemplate:
    """One body of one media type."""

    __slots__ = ("_escape", "_parts", "_whole", "content_type")

    def __init__(self, media_type: str, text: str) -> None:
        """Raises ExpressionError."""
        self._escape = _escape(media_type)
        self.content_type = (media_type + ("; charset=utf-8" if media_type.startswith("text/") else "")).encode()
        self._parts: list[_Part] = []
        self._whole: Program | None = None  # a JSON body that is one expression
        pieces = split(text)
        holes = [piece for piece in pieces if not isinstance(piece, Text)]
        if (
            self._escape is _in_json
            and len(holes) == 1
            and not "".join(p.text for p in pieces if p not in holes).strip()
        ):
            self._whole = compile_expression(holes[0].text, variables=PROBLEM_VARIABLES)
            return
        for piece in pieces:
            if isinstance(piece, Text):
                self._parts.append(piece.text)
            else:
                self._parts.append(compile_expression(piece.text, variables=PROBLEM_VARIABLES, result="string"))
        if self._escape is _in_json:
            _check_json("".join(part if isinstance(part, str) else "0" for part in self._parts))

    def render(self, env: Any) -> bytes:
        """Raises ExpressionError."""
        if self._whole is not None:
            return self._whole.evaluate_json(env)
        escape = self._escape
        out = "".join(part if isinstance(part, str) else escape(part.evaluate(env)) for part in self._parts)
        if escape is _in_json:
            _check_json(out)  # a text that stands outside quotes is seen only now
        return out.encode()


class ErrorTemplates:
    """All templates of a configuration, by status, class of statuses, and default. Owned by a snapshot."""

    __slots__ = ("_by_status", "_quiet_until")

    def __init__(self, by_status: dict[str, dict[str, ErrorTemplate]]) -> None:
        self._by_status = {
            status: {media_type.encode(): template for media_type, template in templates.items()}
            for status, templates in by_status.items()
        }
        self._quiet_until = 0.0

    def answer(self, x: Exchange, status: int, fields: Fields, body: bytes) -> tuple[Fields, bytes]:
        """Fields and body as the client wants them; as they are where the gateway did not make them."""
        if not is_problem(body):
            return fields, body
        known = self._by_status
        templates = known.get(str(status)) or known.get(f"{status // 100}xx") or known.get("default")
        if not templates:
            return fields, body
        accept = b",".join(x.head.all(b"accept"))
        wanted = preferred(accept, (_PROBLEM_JSON, *templates))
        if wanted is None or wanted == _PROBLEM_JSON:
            return [*fields, _VARY], body
        template = templates[wanted]
        try:
            body = template.render(_Environment(x, msgspec.json.decode(body)))
        except ExpressionError as error:
            if x.started >= self._quiet_until:
                self._quiet_until = x.started + LOG_EVERY
                media_type = wanted.decode()
                log.event(
                    "error_template_failed",
                    level="error",
                    request_id=x.id,
                    status=status,
                    media_type=media_type,
                    reason=str(error),
                )
            return [*fields, _VARY], body
        kept = [field for field in fields if field[0] != b"content-type"]
        return [*kept, (b"content-type", template.content_type), _VARY], body


class _Environment:
    """The problem's members, and what there is to say of the request."""

    __slots__ = ("_exchange", "_problem")

    def __init__(self, x: Exchange, problem: dict[str, Any]) -> None:
        self._exchange = ExchangeEnvironment(x)
        self._problem = problem

    def __getitem__(self, name: str, /) -> Any:
        if name.startswith("problem."):
            return self._problem.get(name[8:], "")
        return self._exchange[name]


def _escape(media_type: str) -> Callable[[str], str]:
    """What a value needs to stand in a text of this type and be nothing but a value."""
    subtype = media_type.partition("/")[2]
    if subtype in ("html", "xml") or subtype.endswith("+xml"):
        return html.escape
    if subtype == "json" or subtype.endswith("+json"):
        return _in_json
    return str


def _in_json(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


def _check_json(example: str) -> None:
    try:
        msgspec.json.decode(example)
    except msgspec.DecodeError as error:
        raise ExpressionError(f"is not JSON once its expressions are filled in: {error}") from None


_VARY: Final = (b"vary", b"accept")
