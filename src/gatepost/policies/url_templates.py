"""Templates that make paths and URLs: what fills a hole is data, and can never be more than that.

A value is percent-encoded for the place where it stands, its slashes too. Two holes are taken as they are, because they
are pieces of the normalised path already: `${request.path}` and `${match.NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from gatepost.errors import ExpressionError
from gatepost.exchange import Exchange
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_expression
from gatepost.expressions.templates import Text, split


class _Captured(NamedTuple):
    name: str


class _Value(NamedTuple):
    evaluate: Callable[[Any], Any]
    safe: str | None  # the characters that need no escape; None: it is escaped already


_Part: TypeAlias = str | _Captured | _Value


class UrlTemplate:
    """`example` is what it makes with an `x` in each hole; `needs_body`: the request's body must be there."""

    __slots__ = ("_parts", "example", "needs_body")

    def __init__(self, text: str, captures: frozenset[str] = frozenset()) -> None:
        """`captures` are the names that may stand in `${match.NAME}`. Raises ValueError."""
        self._parts: list[_Part] = []
        self.example = ""
        self.needs_body = False
        try:
            for piece in split(text):
                if isinstance(piece, Text):
                    self._parts.append(piece.text)
                    self.example += piece.text
                else:
                    self._add(piece.text, captures)
        except ExpressionError as error:
            raise ValueError(str(error)) from None

    def render(self, x: Exchange, captured: Mapping[str, str]) -> str:
        """Raises ExpressionError where a value is missing."""
        env = ExchangeEnvironment(x)
        out: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                out.append(part)
            elif isinstance(part, _Captured):
                out.append(captured[part.name])
            else:
                value: str = part.evaluate(env)
                out.append(value if part.safe is None else quote(value, safe=part.safe))
        return "".join(out)

    def _add(self, hole: str, captures: frozenset[str]) -> None:
        captured = _MATCH.fullmatch(hole)
        if captured is not None:
            if captured[1] not in captures:
                raise ValueError(f"`match.{captured[1]}` is no capture of a `pattern`")
            self._parts.append(_Captured(captured[1]))
            self.example += "x"
            return
        program = compile_expression(hole, variables=REQUEST_VARIABLES, result="string")
        self.needs_body = self.needs_body or "request.body" in program.references
        if "?" in self.example:
            self._parts.append(_Value(program.evaluate, _IN_QUERY))
            self.example += "x"
        elif hole.strip() == "request.path":
            if self.example.endswith("/"):
                raise ValueError("`${request.path}` begins with a / itself: leave out the one before it")
            self._parts.append(_Value(program.evaluate, None))
            self.example += "/x"
        else:
            self._parts.append(_Value(program.evaluate, _IN_SEGMENT))
            self.example += "x"


_MATCH: Final = re.compile(r"\s*match\.([A-Za-z_]\w*)\s*")
_IN_SEGMENT: Final = "!$&'()*+,;=:@~"  # RFC 3986 §3.3
_IN_QUERY: Final = "~"
