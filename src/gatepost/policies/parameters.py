"""Parameters of a request, read as OpenAPI describes them (3.1 §4.8.12): which texts make one value, and which type.

On the wire everything is text. What a text means is what its schema allows: `7` is a number where the schema knows
numbers, and a text where it knows only those. Where it allows both, either reading may satisfy it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from gatepost.config.policies.validate import Parameter
from gatepost.exchange import Exchange
from gatepost.policies.json_schema import Schema, Shape, Violation
from gatepost.policies.json_value import NotJson, json_value

Where: TypeAlias = Literal["path", "query", "header", "cookie"]

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # RFC 8259 §6
_LONGEST_NUMBER: Final = 1_000  # digits
_SEPARATORS: Final = {"spaceDelimited": " ", "pipeDelimited": "|"}
_STYLES: Final[dict[Where, tuple[str, ...]]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}


class Unreadable(ValueError):
    """A parameter that has no reading: badly encoded, or sent twice where one is meant."""


class Wire:
    """The parameters of one exchange as they came, each place split at most once."""

    __slots__ = ("_cookies", "_query", "x")

    def __init__(self, x: Exchange) -> None:
        self.x = x
        self._query: list[tuple[str, str]] | None = None
        self._cookies: list[tuple[str, str]] | None = None

    @property
    def query(self) -> list[tuple[str, str]]:
        """Names and values as sent, still encoded where that tells `,` from `%2C`; names decoded."""
        if self._query is None:
            self._query = query_pairs(self.x.query)
        return self._query

    @property
    def cookies(self) -> list[tuple[str, str]]:
        if self._cookies is None:
            parts = b";".join(self.x.head.all(b"cookie")).split(b";")
            pairs = (part.strip().partition(b"=") for part in parts if part.strip())
            self._cookies = [(name.decode("latin-1"), value.strip(b'"').decode("latin-1")) for name, _, value in pairs]
        return self._cookies


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """`a=1&b` as names, decoded, and values, not yet decoded. Raises Unreadable."""
    pairs = []
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((decoded(name.decode("latin-1")), value.decode("latin-1")))
    return pairs


def decoded(text: str, *, plus: bool = True) -> str:
    """Raises Unreadable where the octets are not UTF-8."""
    if plus and "+" in text:
        text = text.replace("+", " ")
    try:
        return unquote_to_bytes(text).decode() if "%" in text or not text.isascii() else text
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 once it is decoded") from None


class ParameterCheck:
    """One parameter of one place, compiled."""

    __slots__ = ("_explode", "_field", "_json", "_prefix", "_required", "_schema", "_style", "name", "where")

    def __init__(self, name: str, where: Where, rule: Parameter, schema: Schema) -> None:
        """Raises ValueError where its style is none of its place."""
        styles = _STYLES[where]
        self.name = name
        self.where = where
        self._style = rule.style or styles[0]
        if self._style not in styles:
            raise ValueError(f"`style: {self._style}` is none of a {where} parameter ({', '.join(styles)})")
        self._explode = self._style == "form" if rule.explode is None else rule.explode
        self._json = rule.json
        self._required = rule.required or where == "path"
        self._schema = schema
        self._field = name.lower().encode()
        self._prefix = name + "["

    def violations(self, wire: Wire, most: int) -> Sequence[Violation]:
        """Raises Unreadable."""
        sent = _SENT[self.where](self, wire)
        if sent is None:
            return (Violation("", "is required and missing"),) if self._required else ()
        if self._json:
            try:
                value = json_value(sent.encode())
            except NotJson as error:
                raise Unreadable(f"is not JSON: {error}") from None
            return () if self._schema.is_valid(value) else self._schema.violations(value, most)
        return check_text(self._schema, sent, most)

    def of_values(self, values: list[bytes], most: int) -> Sequence[Violation]:
        """The same for the field of a response."""
        if not values:
            return (Violation("", "is required and missing"),) if self._required else ()
        return check_text(self._schema, self._simple(b",".join(values).decode("latin-1"), plus=False), most)

    # Where its value stands.

    def _path(self, wire: Wire) -> Any:
        text = wire.x.params.get(self.name)
        if text is None:
            return None
        if self._style == "label":
            return self._split(text.removeprefix("."), "." if self._explode else ",")
        if self._style == "matrix":
            return self._matrix(text)
        return self._simple(text, plus=False)

    def _query(self, wire: Wire) -> Any:
        pairs = wire.query
        if self._style == "deepObject":
            prefix = self._prefix
            found = {n[len(prefix) : -1]: decoded(v) for n, v in pairs if n.startswith(prefix) and n.endswith("]")}
            return found or None
        types = self._schema.shape.types
        if self._style == "form" and self._explode and not self._json and "object" in types:
            known = {name: decoded(value) for name, value in pairs}
            return known or None
        values = [value for name, value in pairs if name == self.name]
        if not values:
            return None
        if self._explode and not self._json and "array" in types:
            return [decoded(value) for value in values]
        if len(values) > 1:
            raise Unreadable("was sent more than once")
        if self._style == "form":
            return self._simple(values[0], plus=True)
        # These separators are no part of a URI unencoded: RFC 6570 leaves them to OpenAPI, which decodes first.
        return self._split(decoded(values[0]), _SEPARATORS[self._style])

    def _header(self, wire: Wire) -> Any:
        values = wire.x.head.all(self._field)
        return self._simple(b",".join(values).decode("latin-1"), plus=False) if values else None

    def _cookie(self, wire: Wire) -> Any:
        values = [value for name, value in wire.cookies if name == self.name]
        if not values:
            return None
        if len(values) > 1:
            raise Unreadable("was sent more than once")
        return self._simple(values[0], plus=False)

    # What a text is split into.

    def _simple(self, text: str, *, plus: bool) -> Any:
        """`a,b` and `k,v` or `k=v`: split first, then decoded, so that an encoded comma is part of a value."""
        decode: Callable[[str], str] = (lambda part: decoded(part, plus=True)) if plus else _stripped(self.where)
        types = self._schema.shape.types
        if self._json:
            return decode(text)
        if "array" in types:
            return [decode(part) for part in text.split(",")] if text else []
        if "object" in types:
            return self._object([decode(part) for part in text.split(",")] if text else [])
        return decode(text)

    def _split(self, text: str, separator: str) -> Any:
        types = self._schema.shape.types
        parts = text.split(separator) if text else []
        if "array" in types:
            return parts
        return self._object(parts) if "object" in types else text

    def _matrix(self, text: str) -> Any:
        pairs = [part.partition("=") for part in text.split(";") if part]
        types = self._schema.shape.types
        if "object" in types and self._explode:
            return {name: value for name, _, value in pairs}
        values = [value for name, _, value in pairs if name == self.name]
        if "array" in types:
            return values if self._explode else [part for value in values for part in value.split(",")]
        if len(values) != 1:
            raise Unreadable(f"must be written ;{self.name}=value")
        return self._object(values[0].split(",")) if "object" in types else values[0]

    def _object(self, parts: list[str]) -> dict[str, str]:
        if self._explode:
            return {name: value for name, _, value in (part.partition("=") for part in parts)}
        return dict(zip(parts[::2], parts[1::2], strict=False))


_SENT: Final[Mapping[Where, Callable[[ParameterCheck, Wire], Any]]] = {
    "path": ParameterCheck._path,
    "query": ParameterCheck._query,
    "header": ParameterCheck._header,
    "cookie": ParameterCheck._cookie,
}


def check_text(schema: Schema, sent: Any, most: int) -> Sequence[Violation]:
    """What is wrong with texts that may stand for other types."""
    value = _typed(sent, schema.shape)
    if schema.is_valid(value) or (value != sent and schema.is_valid(sent)):
        return ()
    return schema.violations(value, most)


def _typed(sent: Any, shape: Shape) -> Any:
    """The value with its numbers, truth values and nothings."""
    if isinstance(sent, str):
        return _primitive(sent, shape.types)
    if isinstance(sent, list):
        return [_primitive(each, shape.items) for each in sent]
    return {name: _primitive(each, shape.members.get(name, _NO_TYPES)) for name, each in sent.items()}


_NO_TYPES: Final[frozenset[str]] = frozenset()


def _primitive(text: str, types: frozenset[str]) -> Any:
    if ("integer" in types or "number" in types) and _NUMBER.fullmatch(text) and len(text) < _LONGEST_NUMBER:
        if text.lstrip("-").isdigit():
            return int(text)
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    if "null" in types and text in ("", "null"):
        return None
    return text


def _stripped(where: Where) -> Callable[[str], str]:
    if where == "header":
        return str.strip
    if where == "cookie":
        return lambda part: decoded(part, plus=False)
    return str  # of the path: routing has decoded it
