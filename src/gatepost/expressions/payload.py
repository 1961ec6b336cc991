"""JSON that passes through: decoded when an expression looks inside, spliced byte for byte when it does not."""

from __future__ import annotations

import datetime
import math
from typing import Any, Final, TypeAlias

import msgspec

from gatepost.errors import ExpressionError

Steps: TypeAlias = "tuple[str | int, ...]"


class Json:
    """The text of one JSON document, as the value of a variable. Each piece of work is done once, when first needed:
    an exchange may hold several expressions over the same body."""

    __slots__ = ("_name", "_parts", "_raw", "_text", "_value")

    def __init__(self, text: bytes, name: str = "the body") -> None:
        self._text = text
        self._name = name  # for errors
        self._raw: bytes | None = None
        self._value: Any = _UNSET
        self._parts: dict[Steps, dict[str, msgspec.Raw] | list[msgspec.Raw]] | None = None

    @property
    def value(self) -> Any:
        """The document as dict, list, str, int, float, bool and None. Raises ExpressionError if it is not JSON."""
        if self._value is _UNSET:
            try:
                self._value = _decode(self._text)
            except _NOT_JSON as error:
                raise self._refused(error) from None
        return self._value

    @property
    def raw(self) -> bytes:
        """The document's bytes as they came, without the white space around it. Raises ExpressionError if it is not
        JSON; 30 µs for 29 KB, where decoding takes 200."""
        if self._raw is None:
            try:
                self._raw = bytes(_decode_raw(self._text))
                if not self._raw.isascii():
                    self._raw.decode()  # the structural check does not look at the bytes of a text
            except _NOT_JSON as error:
                raise self._refused(error) from None
        return self._raw

    def part(self, steps: Steps) -> bytes:
        """The bytes of the value at `steps`, as they came: numbers keep every digit. Raises ExpressionError where
        there is none."""
        if not steps:
            return self.raw
        if self._parts is None:
            self._parts = {}
        container = self._parts.get(steps[:-1])
        if container is None:
            container = self._parts[steps[:-1]] = self._split(self.part(steps[:-1]), steps)
        step = steps[-1]
        try:
            if type(step) is str and type(container) is dict:
                return bytes(container[step])
            if type(step) is int and type(container) is list and step >= 0:
                return bytes(container[step])
        except (KeyError, IndexError):
            pass
        raise self._missing(steps)

    def items(self, steps: Steps) -> list[Json] | None:
        """The items of the list at `steps`, each a document of its own; None where no list is."""
        text = self.part(steps)
        if text[:1] != b"[":
            return None
        parts = self._split(text, steps)
        name = ".".join([self._name, *map(str, steps)])
        return [Json(bytes(part), f"{name}[{place}]") for place, part in enumerate(parts)]  # type: ignore[arg-type]

    def _split(self, text: bytes, steps: Steps) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
        try:
            if text[:1] == b"{":
                return _decode_object(text)
            if text[:1] == b"[":
                return _decode_array(text)
        except _NOT_JSON as error:
            raise self._refused(error) from None
        raise self._missing(steps)

    def _missing(self, steps: Steps) -> ExpressionError:
        return ExpressionError(f"{self._name} has nothing at {'.'.join(map(str, steps))}")

    def _refused(self, error: Exception) -> ExpressionError:
        return ExpressionError(f"{self._name} is not JSON: {_why(error)}")


def encode(value: Any) -> bytes:
    """A value of an expression as JSON. Raises ExpressionError where it has no JSON form."""
    try:
        return _encode(_plain(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ExpressionError(f"the result cannot be written as JSON: {_why(error)}") from None


def text_of(value: Any) -> str:
    """A value as it stands in a text: numbers and truth values as in JSON. Raises ExpressionError for the others."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return encode(value).decode()
    raise ExpressionError(f"{_kind(value)} cannot stand in a text; it must be a text, a number or a truth value")


def _plain(value: Any) -> Any:
    """Where msgspec's rules are not those of CEL and JSON: it writes NaN as null and durations as ISO 8601."""
    kind = type(value)
    if kind is dict:
        return {_key(key): _plain(item) for key, item in value.items()}
    if kind is list:
        return [_plain(item) for item in value]
    if kind is float and not math.isfinite(value):
        raise ValueError("it holds a number that is not finite")
    if kind is Json:
        return msgspec.Raw(value.raw)
    if kind is datetime.timedelta:
        return f"{value.total_seconds():.9f}".rstrip("0").rstrip(".") + "s"  # as protobuf's JSON does
    return value


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is bool or type(key) is int:
        return text_of(key)
    raise ValueError(f"{_kind(key)} cannot be a key")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "this value")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error).removeprefix("JSON is malformed: ")


_UNSET: Final = object()
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # ValidationError is a DecodeError
_KINDS: Final = {type(None): "null", dict: "an object", list: "a list", bytes: "a byte string"}
_decode: Final = msgspec.json.Decoder().decode
_decode_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
