"""The checked tree of an expression, as the CEL runtime hands it out.

The runtime parses and checks; `Expression.serialize()` gives its result as a protobuf `cel.expr.CheckedExpr`
(github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto; the field numbers below are theirs).
Reading those few messages here saves a second CEL parser, which could only disagree with the first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias


class Const(NamedTuple):
    """`kind` is null, bool, int, uint, double, string or bytes."""

    raw: bytes
    kind: str
    value: object


class Ident(NamedTuple):
    raw: bytes
    name: str


class Select(NamedTuple):
    """`operand.field`, or `has(operand.field)` where `test` is set."""

    raw: bytes
    operand: Expr
    field: str
    test: bool


class Call(NamedTuple):
    """A function or operator (`_==_`, `_[_]`, `startsWith`); `overloads` are those that the types leave open."""

    raw: bytes
    function: str
    target: Expr | None
    arguments: tuple[Expr, ...]
    overloads: tuple[str, ...]


class ListLiteral(NamedTuple):
    raw: bytes
    items: tuple[Expr, ...]


class MapLiteral(NamedTuple):
    """Entries in the order written. `message` names a protobuf message, and is "" for a plain map."""

    raw: bytes
    message: str
    entries: tuple[tuple[Expr, Expr], ...]


class Comprehension(NamedTuple):
    """What `map`, `filter`, `all`, `exists` and `exists_one` become: a loop over `range`."""

    raw: bytes
    range: Expr
    name: str  # of the item
    result_name: str  # of what is collected
    bound: frozenset[str]  # all names that exist inside of it
    start: Expr
    condition: Expr
    step: Expr
    result: Expr

    @property
    def inside(self) -> tuple[Expr, ...]:
        return self.start, self.condition, self.step, self.result


Expr: TypeAlias = Const | Ident | Select | Call | ListLiteral | MapLiteral | Comprehension


class Checked:
    """A whole checked expression; `root` is its tree."""

    def __init__(self, serialized: bytes) -> None:
        self._type_url = b""
        checked = b""
        for number, value in _fields(serialized):  # google.protobuf.Any
            if number == 1:
                self._type_url = _bytes(value)
            elif number == 2:
                checked = _bytes(value)
        self._around = b""
        expr = b""
        self._overloads: dict[int, tuple[str, ...]] = {}
        for number, value in _fields(checked):
            if number == 4:
                expr = _bytes(value)
                continue
            self._around += _field(number, _bytes(value)) if isinstance(value, bytes) else b""
            if number == 2:
                self._reference(_bytes(value))
        self.root = self._expr(expr)

    def only(self, expr: Expr) -> bytes:
        """A serialized checked expression whose root is `expr`, a part of this one."""
        return _field(1, self._type_url) + _field(2, self._around + _field(4, expr.raw))

    def _reference(self, entry: bytes) -> None:
        pair = dict(_fields(entry))
        key = pair.get(1, 0)
        names = [_text(value) for number, value in _fields(_bytes(pair[2])) if number == 3]
        if names and isinstance(key, int):
            self._overloads[key] = tuple(names)

    def _expr(self, raw: bytes) -> Expr:
        identifier = 0
        for number, value in _fields(raw):
            if number == 2 and isinstance(value, int):
                identifier = value
            elif number == 3:
                return _constant(raw, _bytes(value))
            elif number == 4:
                return Ident(raw, _text(dict(_fields(_bytes(value)))[1]))
            elif number == 5:
                select = dict(_fields(_bytes(value)))
                return Select(raw, self._expr(_bytes(select[1])), _text(select[2]), bool(select.get(3)))
            elif number == 6:
                return self._call(raw, _bytes(value), self._overloads.get(identifier, ()))
            elif number == 7:
                items = [self._expr(_bytes(item)) for field, item in _fields(_bytes(value)) if field == 1]
                return ListLiteral(raw, tuple(items))
            elif number == 8:
                return self._map(raw, _bytes(value))
            elif number == 9:
                return self._comprehension(raw, _bytes(value))
        raise ValueError("an expression of a kind that is not known")

    def _call(self, raw: bytes, message: bytes, overloads: tuple[str, ...]) -> Call:
        target: Expr | None = None
        function = ""
        arguments: list[Expr] = []
        for number, value in _fields(message):
            if number == 1:
                target = self._expr(_bytes(value))
            elif number == 2:
                function = _text(value)
            elif number == 3:
                arguments.append(self._expr(_bytes(value)))
        return Call(raw, function, target, tuple(arguments), overloads)

    def _map(self, raw: bytes, message: bytes) -> MapLiteral:
        name = ""
        entries: list[tuple[Expr, Expr]] = []
        for number, value in _fields(message):
            if number == 1:
                name = _text(value)
            elif number == 2:
                entry = dict(_fields(_bytes(value)))
                key = self._expr(_bytes(entry[3])) if 3 in entry else Const(b"", "string", _text(entry[2]))
                entries.append((key, self._expr(_bytes(entry[4]))))
        return MapLiteral(raw, name, tuple(entries))

    def _comprehension(self, raw: bytes, message: bytes) -> Comprehension:
        parts = dict(_fields(message))
        bound = frozenset(_text(parts[number]) for number in (1, 3, 8) if number in parts)
        start, condition, step, result = (self._expr(_bytes(parts[number])) for number in (4, 5, 6, 7))
        range_ = self._expr(_bytes(parts[2]))
        return Comprehension(raw, range_, _text(parts[1]), _text(parts[3]), bound, start, condition, step, result)


def _constant(raw: bytes, message: bytes) -> Const:
    for number, value in _fields(message):
        if number == 1:
            return Const(raw, "null", None)
        if number == 2:
            return Const(raw, "bool", bool(value))
        if number == 3 and isinstance(value, int):
            return Const(raw, "int", value - (1 << 64) if value >> 63 else value)
        if number == 4:
            return Const(raw, "uint", value)
        if number == 5:
            return Const(raw, "double", struct.unpack("<d", _bytes(value))[0])
        if number == 6:
            return Const(raw, "string", _text(value))
        if number == 7:
            return Const(raw, "bytes", value)
    raise ValueError("a constant of a kind that is not known")


# The protobuf wire format (protobuf.dev/programming-guides/encoding): a tag, then a varint, 8 bytes or a length and
# bytes.

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
        elif kind == _LENGTH:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == _FIXED64:
            yield tag >> 3, message[at : at + 8]
            at += 8
        else:
            raise ValueError(f"protobuf wire type {kind} is not known")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH]) + _to_varint(len(value)) + value


def _to_varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()
