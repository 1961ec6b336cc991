"""Finds the expressions in a text: `/orders/${response.body.id}` is a text and one expression."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gatepost.errors import ExpressionError
from gatepost.expressions.runtime import MAX_TEXT


class Text(NamedTuple):
    text: str


class Hole(NamedTuple):
    """An expression, without its `${` and `}`."""

    text: str


def split(template: str) -> list[Text | Hole]:
    """The parts in their order. `$${` is a plain `${`. Raises ExpressionError where a `${` is not closed."""
    parts: list[Text | Hole] = []
    plain = ""
    at = 0
    while (opening := template.find("${", at)) >= 0:
        if opening > at and template[opening - 1] == "$":
            plain += template[at : opening - 1] + "${"
            at = opening + 2
            continue
        plain += template[at:opening]
        if plain:
            parts.append(Text(plain))
            plain = ""
        end = _closing(template, opening + 2)
        parts.append(Hole(template[opening + 2 : end]))
        at = end + 1
    plain += template[at:]
    if plain:
        parts.append(Text(plain))
    return parts


# What may hold a brace that does not count: CEL's texts (raw ones know no escape) and comments.
_SKIPPED: Final = re.compile(
    r"""
      [rR][bB]?(?: '''.*?''' | \"\"\".*?\"\"\" | '[^'\n]*' | "[^"\n]*" )
    | [bB][rR](?: '''.*?''' | \"\"\".*?\"\"\" | '[^'\n]*' | "[^"\n]*" )
    | '''(?:\\.|[^\\])*?''' | \"\"\"(?:\\.|[^\\])*?\"\"\"
    | '(?:\\.|[^'\\\n])*' | "(?:\\.|[^"\\\n])*"
    | //[^\n]*
    | [A-Za-z_][A-Za-z0-9_]*
    """,
    re.VERBOSE | re.DOTALL,
)


def _closing(template: str, start: int) -> int:
    """The place of the `}` that closes the expression which begins at `start`."""
    depth = 0
    at = start
    end = min(len(template), start + MAX_TEXT + 1)  # what is never closed costs the square of this, not of the text
    while at < end:
        skipped = _SKIPPED.match(template, at, end)
        if skipped is not None:
            at = skipped.end()
            continue
        character = template[at]
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    if end < len(template):
        raise ExpressionError(f"at character {start - 1}: this `${{` has no `}}` within {MAX_TEXT} characters")
    raise ExpressionError(f"at character {start - 1}: this `${{` has no `}}` that closes it")
