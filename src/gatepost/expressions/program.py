"""Compiling: a text becomes a `Program`, or an ExpressionError that says where and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from gatepost.errors import ExpressionError
from gatepost.expressions import nodes, runtime, templates
from gatepost.expressions.builder import Builder
from gatepost.expressions.nodes import Environment, Node
from gatepost.expressions.runtime import Type

Result: TypeAlias = Literal["bool", "string", "any"]

MAX_TEMPLATE: Final = 65_536  # characters; each expression in it is bounded by itself
_KEPT: Final = 16_384  # programs: a reload of 10,000 routes compiles only what changed


class Program:
    """A compiled expression or template; immutable, shared by everyone who wrote the same text.

    - `evaluate(env)`: the value. Raises ExpressionError.
    - `evaluate_json(env)`: the value as JSON. Keys stand in the order written; a part of a `Json` variable that only
      passes through keeps its bytes. Raises ExpressionError.
    - `references`: the variables that it may ask `env` for.
    - `constant`: it holds no variable, so that its value is always the same.
    """

    __slots__ = ("constant", "evaluate", "evaluate_json", "references", "text")

    def __init__(self, text: str, root: Node, references: frozenset[str]) -> None:
        self.text = text
        self.references = references
        self.constant = not references
        self.evaluate: Callable[[Environment], Any] = root.value
        self.evaluate_json: Callable[[Environment], bytes] = root.json

    def __repr__(self) -> str:
        return f"Program({self.text!r})"


def compile_expression(text: str, *, variables: Mapping[str, Type], result: Result = "any") -> Program:
    """Compile CEL. `result` "bool" and "string" are checked here as far as the types tell, else at each evaluation;
    "string" takes numbers and truth values and makes them text. Raises ExpressionError with the place in `text`.

    About 150 µs for a new text; one that was seen before costs a look-up.
    """
    return _expression(text, tuple(variables.items()), result)


def compile_template(text: str, variables: Mapping[str, Type], *, result: Literal["string", "any"] = "any") -> Program:
    """Compile text that may hold `${…}`. With `result` "any", a text that is one `${…}` (white space around it does
    not count) keeps its value's type; every other is a text. Raises ExpressionError with the place in `text`."""
    return _template(text, tuple(variables.items()), result)


@lru_cache(maxsize=_KEPT)
def _expression(text: str, variables: tuple[tuple[str, Type], ...], result: Result) -> Program:
    root, references = _compiled(text, dict(variables), result)
    return Program(text, root, references)


@lru_cache(maxsize=_KEPT)
def _template(text: str, variables: tuple[tuple[str, Type], ...], result: Literal["string", "any"]) -> Program:
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(f"longer than {MAX_TEMPLATE} characters")
    parts = templates.split(text)
    holes = [part for part in parts if isinstance(part, templates.Hole)]
    alone = len(holes) == 1 and all(part is holes[0] or not part.text.strip() for part in parts)
    if alone:
        parts = [holes[0]]
    known = dict(variables)
    compiled: list[Node] = []
    references: frozenset[str] = frozenset()
    for part in parts:
        if isinstance(part, templates.Text):
            compiled.append(nodes.Constant(part.text))
            continue
        try:
            node, used = _compiled(part.text, known, result if alone else "string")
        except ExpressionError as error:
            shown = part.text if len(part.text) <= 60 else part.text[:60] + "…"
            raise ExpressionError(f"in `${{{shown}}}`: {error}") from None
        compiled.append(node)
        references |= used
    if alone:
        return Program(text, compiled[0], references)
    if not holes:
        return Program(text, nodes.Constant("".join(part.text for part in parts)), references)
    return Program(text, nodes.Template(tuple(compiled)), references)


def _compiled(text: str, variables: Mapping[str, Type], result: Result) -> tuple[Node, frozenset[str]]:
    source = runtime.check(text, variables)
    returns = source.returns
    if result == "bool" and returns not in ("BOOL", "DYN"):
        raise ExpressionError(f"must be true or false, but is {_TYPE_NAMES.get(returns, returns.lower())}")
    if result == "string" and returns not in ("STRING", "INT", "UINT", "DOUBLE", "BOOL", "DYN"):
        raise ExpressionError(f"must be a text, but is {_TYPE_NAMES.get(returns, returns.lower())}")
    builder = Builder(source, variables)
    root = builder.build()
    if result == "bool" and returns != "BOOL":
        root = nodes.AsTruth(root)
    elif result == "string" and returns != "STRING":
        root = nodes.AsText(root)
    elif result == "any" and returns in ("MAP", "DYN", "ANY"):
        root = nodes.Whole(root)
    return root, builder.references


_TYPE_NAMES: Final = {"MAP": "an object", "LIST": "a list", "STRING": "a text", "INT": "a number", "NULL": "null"}
