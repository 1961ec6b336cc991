"""The parts of an expression that need no runtime: each answers what CEL would, in plain Python.

`tests/unit/expressions/test_differential.py` holds every node against the CEL runtime. Two ways lead through a node:
`value` gives a Python value, `json` the bytes of it as JSON; what only passes through keeps its bytes that way.
A node that fails raises ExpressionError.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from gatepost.errors import ExpressionError
from gatepost.expressions.payload import Json, Steps, encode, text_of


class Environment(Protocol):
    """The values of variables, by their whole dotted name; asked only for those that an expression uses. A `Json` is
    decoded when it must be. KeyError and ExpressionError mean that there is no value."""

    def __getitem__(self, name: str, /) -> Any: ...


class Node:
    __slots__ = ()

    def value(self, env: Environment) -> Any:
        raise NotImplementedError

    def json(self, env: Environment) -> bytes:
        return encode(self.value(env))


class Constant(Node):
    __slots__ = ("_json", "_value")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._json = encode(value)

    def value(self, env: Environment) -> Any:
        return self._value

    def json(self, env: Environment) -> bytes:
        return self._json


class Variable(Node):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self, env: Environment) -> Any:
        try:
            value = env[self.name]
        except KeyError:
            raise ExpressionError(f"`{self.name}` has no value here") from None
        return value.value if type(value) is Json else value

    def json(self, env: Environment) -> bytes:
        try:
            value = env[self.name]
        except KeyError:
            raise ExpressionError(f"`{self.name}` has no value here") from None
        return value.raw if type(value) is Json else encode(_whole(value))

    def parts(self, env: Environment) -> Any:
        return _parts(self, env, self.name, ())


class Path(Node):
    """`variable.key['key'][0]`."""

    __slots__ = ("_name", "_steps", "_variable")

    def __init__(self, variable: Variable, steps: Steps) -> None:
        self._variable = variable
        self._name = variable.name
        self._steps = steps

    def value(self, env: Environment) -> Any:
        value = self._variable.value(env)
        for step in self._steps:
            try:
                if type(step) is str and (type(value) is dict or isinstance(value, Mapping)):
                    value = value[step]
                    continue
                if type(step) is int and type(value) is list and step >= 0:
                    value = value[step]
                    continue
            except (KeyError, IndexError):
                pass
            raise ExpressionError(f"`{self._name}` has nothing at `{'.'.join(map(str, self._steps))}`")
        return value

    def json(self, env: Environment) -> bytes:
        try:
            root = env[self._name]
        except KeyError:
            raise ExpressionError(f"`{self._name}` has no value here") from None
        return root.part(self._steps) if type(root) is Json else encode(self.value(env))

    def parts(self, env: Environment) -> Any:
        return _parts(self, env, self._name, self._steps)


class Has(Node):
    """`has(operand.key)`."""

    __slots__ = ("_key", "_operand")

    def __init__(self, operand: Node, key: str) -> None:
        self._operand = operand
        self._key = key

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        if isinstance(value, Mapping):
            return self._key in value
        raise ExpressionError(f"has(….{self._key}) looks for a key in what is not an object")


class Equals(Node):
    """`path == literal` for a text, a small number, a truth value or null; values of different kinds differ."""

    __slots__ = ("_expected", "_kinds", "_operand")

    def __init__(self, operand: Node, expected: str | int | float | bool | None) -> None:
        self._operand = operand
        self._expected = expected
        # Python's True == 1 is not CEL's; its 1 == 1.0 is.
        self._kinds = _NUMBERS if type(expected) in _NUMBERS else (type(expected),)

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        return type(value) in self._kinds and bool(value == self._expected)


class Compares(Node):
    """`path < literal` and the like, for a text or a small number."""

    __slots__ = ("_bound", "_holds", "_kinds", "_operand", "_symbol")

    def __init__(self, operand: Node, symbol: str, bound: str | int | float) -> None:
        self._operand = operand
        self._symbol = symbol
        self._holds: Callable[[Any, Any], bool] = ORDERS[symbol]
        self._bound = bound
        self._kinds = _NUMBERS if type(bound) in _NUMBERS else (type(bound),)

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        if type(value) in self._kinds:
            return self._holds(value, self._bound)
        raise ExpressionError(f"`{self._symbol.strip('_')}` cannot compare values of these kinds")


class OneOf(Node):
    """`path in ['a', 'b']`."""

    __slots__ = ("_operand", "_texts")

    def __init__(self, operand: Node, texts: frozenset[str]) -> None:
        self._operand = operand
        self._texts = texts

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        return type(value) is str and value in self._texts


class Contains(Node):
    """`'text' in path`: a key of an object, an item of a list."""

    __slots__ = ("_operand", "_text")

    def __init__(self, text: str, operand: Node) -> None:
        self._operand = operand
        self._text = text

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        if isinstance(value, (Mapping, list)):
            return self._text in value
        raise ExpressionError("`in` looks into what is neither a list nor an object")


class TextTest(Node):
    """`path.startsWith('a')`, `endsWith`, `contains`."""

    __slots__ = ("_function", "_holds", "_operand", "_text")

    def __init__(self, function: str, operand: Node, text: str) -> None:
        self._function = function
        self._holds: Callable[[str, str], bool] = TEXT_TESTS[function]
        self._operand = operand
        self._text = text

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        if type(value) is str:
            return self._holds(value, self._text)
        raise ExpressionError(f"{self._function}() needs a text")


class Joined(Node):
    """`text + text`."""

    __slots__ = ("_left", "_right")

    def __init__(self, left: Node, right: Node) -> None:
        self._left = left
        self._right = right

    def value(self, env: Environment) -> str:
        left, right = self._left.value(env), self._right.value(env)
        if type(left) is str and type(right) is str:
            return left + right
        raise ExpressionError("`+` cannot join a text with another kind of value")


class Not(Node):
    __slots__ = ("_operand",)

    def __init__(self, operand: Node) -> None:
        self._operand = operand

    def value(self, env: Environment) -> bool:
        return not _truth(self._operand.value(env), "!")


class Either(Node):
    """`left && right` (`decides` is False) and `left || right` (True): the side that decides wins, even where the
    other one fails (cel-spec, langdef.md, "Logical Operators")."""

    __slots__ = ("_decides", "_left", "_right")

    def __init__(self, decides: bool, left: Node, right: Node) -> None:
        self._decides = decides
        self._left = left
        self._right = right

    def value(self, env: Environment) -> bool:
        right: object
        try:
            left: object = self._left.value(env)
        except ExpressionError:
            right = self._right.value(env)
            if right is self._decides:
                return self._decides
            raise
        if left is self._decides:
            return self._decides
        right = self._right.value(env)
        if right is not self._decides:
            _truth(left, "||" if self._decides else "&&")
        return _truth(right, "||" if self._decides else "&&")


class Choice(Node):
    """`condition ? one : other`."""

    __slots__ = ("_condition", "_one", "_other")

    def __init__(self, condition: Node, one: Node, other: Node) -> None:
        self._condition = condition
        self._one = one
        self._other = other

    def value(self, env: Environment) -> Any:
        return (self._one if _truth(self._condition.value(env), "?") else self._other).value(env)

    def json(self, env: Environment) -> bytes:
        return (self._one if _truth(self._condition.value(env), "?") else self._other).json(env)


class List(Node):
    __slots__ = ("_items",)

    def __init__(self, items: tuple[Node, ...]) -> None:
        self._items = items

    def value(self, env: Environment) -> list[Any]:
        return [_whole(item.value(env)) for item in self._items]

    def json(self, env: Environment) -> bytes:
        return b"[" + b",".join([item.json(env) for item in self._items]) + b"]"


class Object(Node):
    """`{'key': value}` in the order written."""

    __slots__ = ("_entries",)

    def __init__(self, entries: tuple[tuple[str | int, Node], ...]) -> None:
        self._entries = tuple((key, encode(str(key)) + b":", node) for key, node in entries)

    def value(self, env: Environment) -> dict[str | int, Any]:
        return {key: _whole(node.value(env)) for key, _, node in self._entries}

    def json(self, env: Environment) -> bytes:
        return b"{" + b",".join([key + node.json(env) for _, key, node in self._entries]) + b"}"


class Loop(Node):
    """`items.map(name, item)`, `items.filter(name, condition)` and `items.map(name, condition, item)`.

    The runtime's own loops take quadratic time and forget the order of keys; here 5,000 items take 3 ms, not 1.4 s.
    """

    __slots__ = ("_condition", "_item", "_items", "_name")

    def __init__(self, items: Node, name: str, condition: Node | None, item: Node) -> None:
        self._items = items
        self._name = name
        self._condition = condition
        self._item = item

    def value(self, env: Environment) -> list[Any]:
        return [_whole(self._item.value(scope)) for scope in self._scopes(env, self._items.value(env))]

    def json(self, env: Environment) -> bytes:
        items: Any = self._items.parts(env) if isinstance(self._items, Variable | Path) else self._items.value(env)
        return b"[" + b",".join([self._item.json(scope) for scope in self._scopes(env, items)]) + b"]"

    def _scopes(self, env: Environment, items: Any) -> Iterator[Scope]:
        """The environment of each item that the condition lets pass: one object, moved from item to item."""
        if not isinstance(items, list | Mapping):
            raise ExpressionError("a loop needs a list or an object")
        scope = Scope(env, self._name)
        for item in items:
            scope.item = item
            scope.spend(1)
            if self._condition is None or _truth(self._condition.value(scope), "filter"):
                yield scope


class Scope:
    """Inside a loop: its name means the item, all others mean what they mean outside."""

    __slots__ = ("_budget", "_env", "_name", "item")

    def __init__(self, env: Environment, name: str) -> None:
        self._env = env
        self._name = name
        self._budget: list[int] = env._budget if type(env) is Scope else [MAX_STEPS]
        self.item: Any = None

    def __getitem__(self, name: str, /) -> Any:
        return self.item if name == self._name else self._env[name]

    def spend(self, steps: int) -> None:
        """Loops inside of loops share one budget."""
        self._budget[0] -= steps
        if self._budget[0] < 0:
            raise ExpressionError(f"too costly: more than {MAX_STEPS} steps in loops")


class Template(Node):
    """Text with expressions in it."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[Node, ...]) -> None:
        self._parts = parts

    def value(self, env: Environment) -> str:
        return "".join([text_of(part.value(env)) for part in self._parts])


class AsText(Node):
    """Any scalar, as text."""

    __slots__ = ("_operand",)

    def __init__(self, operand: Node) -> None:
        self._operand = operand

    def value(self, env: Environment) -> str:
        return text_of(self._operand.value(env))


class AsTruth(Node):
    """What the types could not promise: the result is true or false."""

    __slots__ = ("_operand",)

    def __init__(self, operand: Node) -> None:
        self._operand = operand

    def value(self, env: Environment) -> bool:
        value = self._operand.value(env)
        if type(value) is bool:
            return value
        raise ExpressionError("the condition's result is neither true nor false")


class Whole(Node):
    """The outermost node of a program: lazy values do not leave it."""

    __slots__ = ("_operand",)

    def __init__(self, operand: Node) -> None:
        self._operand = operand

    def value(self, env: Environment) -> Any:
        return _whole(self._operand.value(env))

    def json(self, env: Environment) -> bytes:
        return self._operand.json(env)


def _parts(node: Node, env: Environment, name: str, steps: Steps) -> Any:
    """What a loop goes over, each item a `Json` where it can be, so that its numbers keep their digits."""
    try:
        root = env[name]
    except KeyError:
        raise ExpressionError(f"`{name}` has no value here") from None
    found = root.items(steps) if type(root) is Json else None
    return node.value(env) if found is None else found


def _whole(value: Any) -> Any:
    """Fields of a request are a lazy mapping inside, a dict outside."""
    if type(value) is not dict and isinstance(value, Mapping):
        return dict(value)
    return value


def _truth(value: Any, symbol: str) -> bool:
    if type(value) is bool:
        return value
    raise ExpressionError(f"`{symbol}` needs true or false")


MAX_STEPS: Final = 100_000  # of all loops of one evaluation; about 100 ms
_NUMBERS: Final = (int, float)
ORDERS: Final = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
TEXT_TESTS: Final = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}
