"""The CEL runtime (Google's, through cel-expr-python): it checks every expression, and evaluates what `nodes.py`
does not know.

Bounds. The runtime itself refuses nesting over 32 and more than 10,000 iterations an evaluation. What it costs
besides is converting its input (1 µs a value) and growing lists (`map` and `filter` are quadratic: 500 items 7 ms,
1,000 26 ms, 5,000 1.4 s). So what goes in is counted first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from cel_expr_python import cel
from cel_expr_python.ext import ext_encoders, ext_math, ext_strings

from gatepost.errors import ExpressionError
from gatepost.expressions.nodes import Environment, Node, Scope, Variable
from gatepost.expressions.payload import Steps

Type: TypeAlias = Literal["string", "int", "bool", "strings", "json"]  # `strings` maps text to text

MAX_TEXT: Final = 4_096  # characters of an expression
MAX_LOOPS: Final = 2  # one inside another

# What one evaluation may be given: (items of lists and objects, characters of text), by how deep its loops nest.
INPUT_BOUNDS: Final = ((10_000, 1_048_576), (1_000, 65_536), (300, 65_536))


class Source:
    """One expression, checked against the variables it may use."""

    __slots__ = ("_env", "_expression", "returns", "serialized")

    def __init__(self, env: cel.Env, expression: cel.Expression) -> None:
        self._env = env
        self._expression = expression
        # BOOL, STRING, INT, DYN, MAP, LIST …: what the items are does not matter here
        self.returns: str = expression.return_type().name().partition("<")[0].upper()
        self.serialized: bytes = expression.serialize()

    def whole(self) -> cel.Expression:
        return self._expression

    def part(self, serialized: bytes) -> cel.Expression:
        return self._env.deserialize(serialized)


def check(text: str, variables: Mapping[str, Type]) -> Source:
    """Parse and type-check. Raises ExpressionError with the place and the reason."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"longer than {MAX_TEXT} characters")
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if "\0" in text or not _is_utf8(text):
        raise ExpressionError("holds a character that is not text")
    env = _environment(tuple(variables.items()))
    try:
        return Source(env, env.compile(text))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExpressionError(_explained(str(error), text, variables)) from None


class Evaluation(Node):
    """A part of an expression that the runtime evaluates, on the values it refers to and no others."""

    __slots__ = ("_expression", "_inputs", "_max_items", "_max_text")

    def __init__(self, expression: cel.Expression, paths: Iterable[tuple[str, tuple[str, ...]]], loops: int) -> None:
        self._expression = expression
        self._inputs = _by_variable(paths)
        self._max_items, self._max_text = INPUT_BOUNDS[loops]

    def value(self, env: Environment) -> Any:
        data = {}
        for variable, paths in self._inputs:
            value = variable.value(env)
            data[variable.name] = _narrowed(value, paths) if paths else _mapping(value)
        steps = self._measure(data)
        if type(env) is Scope:
            env.spend(steps)
        try:
            result = self._expression.eval(data=data)
            failed = result.type() == _ERROR
            value = result.plain_value()
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExpressionError(_shortened(str(error))) from None
        if failed:
            raise ExpressionError(_shortened(str(value)))
        return _python(value)

    def _measure(self, data: dict[str, Any]) -> int:
        """What the evaluation costs, in steps of about a microsecond. Refuses what would cost too much, and what the
        runtime would take for something else: it cuts a text at its first NUL, and knows integers of 64 bits only."""
        items, text = -len(data), 0
        waiting: list[Any] = [data]
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind is str:
                text += len(value)
                if "\0" in value:
                    raise ExpressionError("a text with a NUL character cannot be evaluated")
            elif kind is dict:
                items += len(value)
                waiting += value
                waiting += value.values()
            elif kind is list:
                items += len(value)
                waiting += value
            elif kind is int and not _MIN_INT <= value <= _MAX_UINT:
                raise ExpressionError("an integer of more than 64 bits can be passed on, but not be evaluated")
            if items > self._max_items:
                raise ExpressionError(f"too costly: more than {self._max_items} values go in")
        if text > self._max_text:
            raise ExpressionError(f"too costly: more than {self._max_text} characters go in")
        return _CALL_STEPS + items + text // 100


def _by_variable(
    paths: Iterable[tuple[str, tuple[str, ...]]],
) -> tuple[tuple[Variable, tuple[tuple[str, ...], ...]], ...]:
    """The shortest paths of each variable; none where the whole of it is meant."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name, steps in paths:
        found.setdefault(name, set()).add(steps)
    inputs = []
    for name, several in found.items():
        shortest = tuple(p for p in sorted(several) if not any(p[:n] in several for n in range(len(p))))
        inputs.append((Variable(name), () if shortest == ((),) else shortest))
    return tuple(inputs)


def _narrowed(value: Any, paths: tuple[Steps, ...]) -> Any:
    """Only what lies on the paths. What is missing stays missing, what is no object stays itself: an expression
    cannot tell the difference."""
    if not isinstance(value, Mapping):
        return value
    out: dict[str, Any] = {}
    for path in paths:
        inner, target = value, out
        for place, step in enumerate(path):
            if step not in inner:
                break
            child = inner[step]
            if place == len(path) - 1 or type(child) is not dict:
                target[step] = child  # type: ignore[index]
                break
            inner, target = child, target.setdefault(step, {})  # type: ignore[arg-type]
    return out


def _mapping(value: Any) -> Any:
    return dict(value) if type(value) is not dict and isinstance(value, Mapping) else value


def _python(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_python(item) for item in value]
    if kind is dict:
        # The runtime's order is random, another one each time; a message made twice must be the same twice.
        return {_python(key): _python(value[key]) for key in sorted(value, key=str)}
    if kind is bytearray:
        return bytes(value)
    if kind is cel.Type:
        raise ExpressionError("the result is a type, which is no value outside of an expression")
    return value


@lru_cache(maxsize=64)
def _environment(variables: tuple[tuple[str, Type], ...]) -> cel.Env:
    # 90 µs; the few sets of variables that there are serve every expression of a configuration.
    return cel.NewEnv(
        variables={name: _TYPES[kind] for name, kind in variables},
        extensions=[ext_strings.ExtStrings(), ext_math.ExtMath(), ext_encoders.ExtEncoders()],
    )


def _explained(message: str, text: str, variables: Mapping[str, Type]) -> str:
    """The runtime's first complaint, with its place in the text and in words that say what to do."""
    match = _COMPLAINT.search(message)
    if match is None or "recursion" in message:
        return "nested too deep, or too many operators in a row" if "recursion" in message else _shortened(message)
    line, column, reason = int(match[1]), int(match[2]), match[3].removesuffix(" [INVALID_ARGUMENT]")
    lines = text.split("\n")
    at = sum(len(each) + 1 for each in lines[: line - 1]) + column if 0 < line <= len(lines) else 0
    unknown = _UNKNOWN.match(reason)
    if unknown is not None:
        reason = f"there is no `{unknown[1]}`{_near(unknown[1], variables)}"
    elif (overload := _OVERLOAD.match(reason)) is not None:
        reason = f"`{overload[1].strip('_').replace('_', ' … ')}` does not take {overload[2]}"
    elif reason.startswith("Syntax error: "):
        reason = reason.partition(" expecting ")[0]
        if reason == "Syntax error: mismatched input '<EOF>'":
            reason = "it ends too early"
    return f"at character {at}: {reason}" if at else reason


def _near(name: str, variables: Mapping[str, Type]) -> str:
    siblings = [known for known in variables if known.startswith(name.split(".")[0] + ".")]
    if siblings:
        return f"; there are {', '.join(siblings)}"
    return f"; the names are {', '.join(sorted({known.split('.')[0] for known in variables}))}" if "." in name else ""


def _shortened(message: str) -> str:
    reason = _STATUS.sub("", message)
    return reason if len(reason) <= 200 else reason[:200] + "…"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_TYPES: Final[dict[Type, cel.Type]] = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "bool": cel.Type.BOOL,
    "strings": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "json": cel.Type.DYN,
}
_ERROR: Final = cel.Type.ERROR
_CALL_STEPS: Final = 5
_MIN_INT: Final = -(1 << 63)
_MAX_UINT: Final = (1 << 64) - 1
_COMPLAINT: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNKNOWN: Final = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_STATUS: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
