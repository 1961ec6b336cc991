"""Chooses, for each part of a checked expression, a node of plain Python or the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatepost.errors import ExpressionError
from gatepost.expressions import nodes, runtime
from gatepost.expressions.nodes import Node
from gatepost.expressions.payload import Steps
from gatepost.expressions.runtime import Type
from gatepost.expressions.syntax import (
    Call,
    Checked,
    Comprehension,
    Const,
    Expr,
    Ident,
    ListLiteral,
    MapLiteral,
    Select,
)


class Builder:
    """`build()` makes the node of a whole expression; `references` are the variables that it reads."""

    def __init__(self, source: runtime.Source, variables: Mapping[str, Type]) -> None:
        self._source = source
        self._variables = variables
        self._checked = Checked(source.serialized)
        self._loop_names: frozenset[str] = frozenset()  # of the loops around the part that is being built
        self.references: frozenset[str] = frozenset(name for name, _ in self._inputs(self._checked.root, frozenset()))

    def build(self) -> Node:
        root = self._checked.root
        loops = _loops(root)
        if loops > runtime.MAX_LOOPS:
            raise ExpressionError(f"too costly: loops nest {loops} deep, {runtime.MAX_LOOPS} are allowed")
        self._check_headers(root)
        return self._node(root)

    def _node(self, expr: Expr) -> Node:
        node = self._simple(expr)
        if node is not None:
            return node
        whole = expr is self._checked.root
        expression = self._source.whole() if whole else self._source.part(self._checked.only(expr))
        return runtime.Evaluation(expression, self._inputs(expr, frozenset()), _loops(expr))

    def _simple(self, expr: Expr) -> Node | None:
        """The node of `expr`, or None where the runtime must take it whole."""
        if isinstance(expr, Const):
            return nodes.Constant(expr.value) if expr.kind != "bytes" else None
        if isinstance(expr, Ident):
            return nodes.Variable(expr.name) if self._is_known(expr.name) else None
        if isinstance(expr, Select) and expr.test:
            operand = self._path(expr.operand)
            return None if operand is None else nodes.Has(operand, expr.field)
        if isinstance(expr, Select):
            return self._path(expr)
        if isinstance(expr, ListLiteral):
            return nodes.List(tuple(self._node(item) for item in expr.items))
        if isinstance(expr, MapLiteral):
            return self._object(expr)
        if isinstance(expr, Call):
            return self._path(expr) or self._call(expr)
        return self._loop(expr)

    def _is_known(self, name: str) -> bool:
        return name in self._variables or name in self._loop_names

    def _path(self, expr: Expr) -> Node | None:
        found = self._steps(expr)
        if found is None:
            return None
        name, steps = found
        return nodes.Path(nodes.Variable(name), steps) if steps else nodes.Variable(name)

    def _steps(self, expr: Expr) -> tuple[str, Steps] | None:
        """`variable.a['b'][0]` as its name and steps."""
        if isinstance(expr, Ident):
            return (expr.name, ()) if self._is_known(expr.name) else None
        if isinstance(expr, Select) and not expr.test:
            found = self._steps(expr.operand)
            return None if found is None else (found[0], (*found[1], expr.field))
        if isinstance(expr, Call) and expr.function == "_[_]":
            container, index = expr.arguments
            found = self._steps(container)
            if found is None or not isinstance(index, Const) or index.kind not in ("string", "int"):
                return None
            assert isinstance(index.value, str | int)
            return found[0], (*found[1], index.value)
        return None

    def _object(self, expr: MapLiteral) -> Node | None:
        keys = [key.value for key, _ in expr.entries if isinstance(key, Const) and key.kind in ("string", "int")]
        if expr.message or len(keys) != len(expr.entries):
            return None
        texts = [str(key) for key in keys]
        for text in texts:
            if texts.count(text) > 1:
                raise ExpressionError(f"the key `{text}` stands twice in one object")
        values = [self._node(value) for _, value in expr.entries]
        return nodes.Object(tuple(zip(keys, values, strict=True)))  # type: ignore[arg-type]

    def _loop(self, expr: Comprehension) -> Node | None:
        """`map` and `filter`: `collected + [item]`, or `condition ? collected + [item] : collected`."""
        if expr.name in self._variables:
            return None  # `.name` still means the variable: the runtime knows which is which
        step, condition = expr.step, None
        if isinstance(step, Call) and step.function == "_?_:_":
            condition, step, otherwise = step.arguments
            if not isinstance(otherwise, Ident) or otherwise.name != expr.result_name:
                return None
        if not (isinstance(step, Call) and step.function == "_+_" and isinstance(expr.start, ListLiteral)):
            return None
        collected, item = step.arguments
        if not (isinstance(collected, Ident) and collected.name == expr.result_name and isinstance(item, ListLiteral)):
            return None
        items = self._node(expr.range)
        outer, self._loop_names = self._loop_names, self._loop_names | {expr.name}
        try:
            test = None if condition is None else self._node(condition)
            return nodes.Loop(items, expr.name, test, self._node(item.items[0]))
        finally:
            self._loop_names = outer

    def _call(self, expr: Call) -> Node | None:
        function, arguments = expr.function, expr.arguments
        if expr.target is not None:
            if function in nodes.TEXT_TESTS and expr.overloads == _TEXT_TEST_OVERLOADS[function]:
                return self._text_test(function, expr.target, arguments[0])
            return None
        if function in ("_==_", "_!=_"):
            return self._equality(function == "_!=_", *arguments)
        if function in nodes.ORDERS:
            return self._order(function, *arguments)
        if function == "@in":
            return self._membership(*arguments)
        if function in ("_&&_", "_||_"):
            left, right = self._node(arguments[0]), self._node(arguments[1])
            if isinstance(left, runtime.Evaluation) and isinstance(right, runtime.Evaluation):
                return None  # one evaluation instead of two
            return nodes.Either(function == "_||_", left, right)
        if function == "!_":
            operand = self._simple(arguments[0])
            return None if operand is None else nodes.Not(operand)
        if function == "_?_:_":
            return nodes.Choice(*(self._node(argument) for argument in arguments))
        if function == "_+_" and expr.overloads == ("add_string",):
            left_text, right_text = self._simple(arguments[0]), self._simple(arguments[1])
            return None if left_text is None or right_text is None else nodes.Joined(left_text, right_text)
        return None

    def _equality(self, negated: bool, left: Expr, right: Expr) -> Node | None:
        if isinstance(left, Const):
            left, right = right, left
        operand = self._path(left)
        if operand is None or not _is_plain(right):
            return None
        node = nodes.Equals(operand, right.value)  # type: ignore[union-attr,arg-type]
        return nodes.Not(node) if negated else node

    def _order(self, function: str, left: Expr, right: Expr) -> Node | None:
        if isinstance(left, Const):
            left, right, function = right, left, _MIRRORED[function]
        operand = self._path(left)
        if operand is None or not isinstance(right, Const) or not _is_plain(right) or right.kind in ("bool", "null"):
            return None
        return nodes.Compares(operand, function, right.value)  # type: ignore[arg-type]

    def _membership(self, left: Expr, right: Expr) -> Node | None:
        if isinstance(right, ListLiteral) and all(isinstance(i, Const) and i.kind == "string" for i in right.items):
            operand = self._path(left)
            texts = frozenset(str(item.value) for item in right.items)  # type: ignore[union-attr]
            return None if operand is None else nodes.OneOf(operand, texts)
        if isinstance(left, Const) and left.kind == "string":
            container = self._path(right)
            return None if container is None else nodes.Contains(str(left.value), container)
        return None

    def _text_test(self, function: str, target: Expr, argument: Expr) -> Node | None:
        operand = self._path(target)
        if operand is None or not isinstance(argument, Const) or argument.kind != "string":
            return None
        return nodes.TextTest(function, operand, str(argument.value))

    def _inputs(self, expr: Expr, bound: frozenset[str]) -> set[tuple[str, tuple[str, ...]]]:
        """What `expr` reads: variables, and how far into each it goes by keys that are written out."""
        if isinstance(expr, Ident):
            name = expr.name.removeprefix(".")
            return {(name, ())} if self._is_known(name) and expr.name not in bound else set()
        if isinstance(expr, Const):
            return set()
        if isinstance(expr, Select) or (isinstance(expr, Call) and expr.function == "_[_]"):
            reached = self._reached(expr, bound)
            if reached is not None:
                return {reached}
        found: set[tuple[str, tuple[str, ...]]] = set()
        for child in _children(expr):
            inside = bound | expr.bound if isinstance(expr, Comprehension) and child is not expr.range else bound
            found |= self._inputs(child, inside)
        return found

    def _reached(self, expr: Expr, bound: frozenset[str]) -> tuple[str, tuple[str, ...]] | None:
        if isinstance(expr, Ident):
            name = expr.name.removeprefix(".")
            return (name, ()) if self._is_known(name) and expr.name not in bound else None
        if isinstance(expr, Select):
            reached = self._reached(expr.operand, bound)
            return None if reached is None else (reached[0], (*reached[1], expr.field))
        if isinstance(expr, Call) and expr.function == "_[_]":
            container, index = expr.arguments
            reached = self._reached(container, bound)
            if reached is not None and isinstance(index, Const) and index.kind == "string":
                return reached[0], (*reached[1], str(index.value))
        return None

    def _check_headers(self, expr: Expr) -> None:
        """Field names are lower-case; a key that is not can never be found."""
        found = self._steps(expr)
        if found is not None and found[1] and found[0].endswith(".headers"):
            key = found[1][0]
            if isinstance(key, str) and key != key.lower():
                raise ExpressionError(f"header names are lower-case here: write `{found[0]}['{key.lower()}']`")
        for child in _children(expr):
            self._check_headers(child)


def _children(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Select):
        return (expr.operand,)
    if isinstance(expr, Call):
        return expr.arguments if expr.target is None else (expr.target, *expr.arguments)
    if isinstance(expr, ListLiteral):
        return expr.items
    if isinstance(expr, MapLiteral):
        return tuple(part for entry in expr.entries for part in entry)
    if isinstance(expr, Comprehension):
        return (expr.range, *expr.inside)
    return ()


def _loops(expr: Expr) -> int:
    """How deep loops nest in it."""
    if isinstance(expr, Comprehension):
        return max(_loops(expr.range), 1 + max((_loops(part) for part in expr.inside), default=0))
    return max((_loops(child) for child in _children(expr)), default=0)


def _is_plain(expr: Expr) -> bool:
    """A literal that Python compares as CEL does. Beyond 2**53 CEL rounds integers to compare them with doubles."""
    if not isinstance(expr, Const) or expr.kind == "bytes":
        return False
    return not isinstance(expr.value, int | float) or abs(expr.value) < 1 << 53


_MIRRORED: Final = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_TEXT_TEST_OVERLOADS: Final = {
    "startsWith": ("starts_with_string",),
    "endsWith": ("ends_with_string",),
    "contains": ("contains_string",),
}
