"""JSON Schemas, compiled: what is wrong with a value, every violation with its place.

Patterns run in an engine whose time is linear in the text. Those that need to look around or back run in one that
backtracks, up to a limit; a text that reaches it is refused, also inside of `not`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

import jsonschema_rs

from gatepost.policies.states import States

BACKTRACKS: Final = 20_000
LONGEST: Final = 300  # characters of a sentence

_LINEAR: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20)
_BOUNDED: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS, size_limit=1 << 20)


class Violation(NamedTuple):
    pointer: str  # RFC 6901, "" for the whole value
    detail: str


class Schema:
    """One compiled schema. Shared by every snapshot that has the same text."""

    __slots__ = ("__weakref__", "_validator", "is_valid", "shape")

    def __init__(self, text: str, *, formats: bool, masked: bool = False) -> None:
        """`masked`: violations hold no values. Raises ValueError, with its reason, for what is no schema."""
        schema = json.loads(text)
        self._validator = _compiled(schema, formats, "value" if masked else None)
        self.is_valid = self._validator.is_valid
        self.shape = Shape(schema)

    def violations(self, value: Any, most: int) -> list[Violation]:
        return [
            Violation("".join(f"/{_escaped(key)}" for key in error.instance_path), _short(error.message))
            for error in islice(self._validator.iter_errors(value), most)
        ]


def shared_schema(text: str, states: States, *, formats: bool, masked: bool = False) -> Schema:
    """Raises ValueError."""
    key = ("json schema", formats, masked, text)
    return states.get(key, lambda: Schema(text, formats=formats, masked=masked))


def _compiled(schema: Any, formats: bool, mask: str | None) -> Any:
    refusal: ValueError | None = None
    for options in (_LINEAR, _BOUNDED):
        try:
            return jsonschema_rs.validator_for(
                schema,
                validate_formats=formats,
                mask=mask,
                pattern_options=options,
                offline=True,  # nothing is ever fetched
            )
        except jsonschema_rs.ValidationError as error:
            where = "".join(f"/{_escaped(key)}" for key in error.instance_path)
            refusal = ValueError(f"is no JSON Schema{', at ' + where if where else ''}: {_short(error.message)}")
            if error.kind.name not in ("format", "pattern"):
                break
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            refusal = ValueError(f"is no JSON Schema: {_short(str(error))}")
    assert refusal is not None
    raise refusal


class Shape:
    """Which types a value may have, as far as its schema says; empty where it does not say. The same for the items of
    a list and the members of an object: what reads texts must know it."""

    __slots__ = ("items", "members", "types")

    def __init__(self, schema: Any) -> None:
        self.types: frozenset[str] = frozenset()
        self.items: frozenset[str] = frozenset()
        self.members: dict[str, frozenset[str]] = {}
        for part in _parts(schema, schema, frozenset()):
            self.types |= _named(part)
            self.items |= _types(part.get("items"), schema)
            properties = part.get("properties")
            for name, each in properties.items() if isinstance(properties, dict) else ():
                self.members[name] = self.members.get(name, frozenset()) | _types(each, schema)


def _types(schema: Any, root: Any) -> frozenset[str]:
    return frozenset().union(*(_named(part) for part in _parts(schema, root, frozenset())))


def _parts(schema: Any, root: Any, seen: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A schema and what it is put together from."""
    if not isinstance(schema, dict):
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#") and reference not in seen:
        target = root
        for key in reference[2:].split("/") if reference != "#" else ():
            target = target.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        yield from _parts(target, root, seen | {reference})
    for keyword in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(keyword, ()):
            yield from _parts(each, root, seen)


def _named(schema: dict[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    if isinstance(named, list):
        return frozenset(named)
    if isinstance(named, str):
        return frozenset((named,))
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return frozenset(_type_of(value) for value in values)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", Decimal: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _escaped(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
