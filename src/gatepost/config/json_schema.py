"""JSON Schemas as the configuration keeps them: one JSON text each that stands by itself.

A schema may be spread over files and, in an OpenAPI document, over components. Here everything that it refers to is
gathered under its own `$defs`, so that it travels as a text, is compared as a text, and nothing is looked up later.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, TypeAlias

from gatepost.config.documents import Documents, Fault, Place

# Which way a body goes: a property that is `readOnly` cannot be required of a request, nor a `writeOnly` of a response.
Direction: TypeAlias = Literal["request", "response"]

DRAFT_4: Final = "http://json-schema.org/draft-04/schema#"
DRAFT_2020: Final = "https://json-schema.org/draft/2020-12/schema"

_ONE: Final = frozenset(
    (
        *("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_MANY: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED: Final = frozenset(("dependencies", "dependentSchemas", "patternProperties", "properties"))
_DEFINITIONS: Final = frozenset(("$defs", "definitions"))
# With these a `$ref` is no mere pointer: such a schema is left as it is.
_OWN_NAMES: Final = frozenset(("$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"))
_PROSE: Final = frozenset(("example", "examples", "externalDocs", "xml", "discriminator", "deprecated", "nullable"))


def schema_text(documents: Documents, place: Place) -> str:
    """A JSON Schema of its own. Raises Fault."""
    schema = documents.at(place)
    if not isinstance(schema, (dict, bool)):
        raise Fault(place, "a schema is a mapping")
    if isinstance(schema, dict) and _names_itself(schema):
        return json.dumps(schema)
    return json.dumps(Bundle(documents).of(schema, place))


def openapi_schema_text(documents: Documents, schema: Any, place: Place, *, v30: bool, direction: Direction) -> str:
    """A schema of an OpenAPI document: 3.1 speaks JSON Schema 2020-12, 3.0 a dialect of draft 4. Raises Fault."""
    bundle = Bundle(documents, v30=v30, direction=direction).of(schema, place)
    return json.dumps({"$schema": DRAFT_4 if v30 else DRAFT_2020, **bundle})


class Bundle:
    """One schema and what it refers to. `v30` reads OpenAPI 3.0's `nullable` as what it means."""

    def __init__(self, documents: Documents, *, v30: bool = False, direction: Direction | None = None) -> None:
        self._documents = documents
        self._v30 = v30
        self._direction = direction
        self._names: dict[Place, str] = {}
        self._definitions: dict[str, Any] = {}

    def of(self, schema: Any, place: Place) -> dict[str, Any]:
        """Raises Fault."""
        walked = self._walk(schema, place)
        whole: dict[str, Any] = ({} if walked else {"not": {}}) if isinstance(walked, bool) else walked
        if self._definitions:
            # Beside a `$ref` drafts 4 to 7 see nothing else.
            whole = {"allOf": [whole]} if "$ref" in whole else whole
            whole["$defs"] = self._definitions
        return whole

    def _walk(self, schema: Any, place: Place) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise Fault(place, "a schema is a mapping")
        out: dict[str, Any] = {}
        for key, value in schema.items():
            below = place.below(key)
            if key == "$ref":
                out[key] = self._reference(value, place)
            elif key in _ONE and isinstance(value, (dict, bool)):
                out[key] = self._walk(value, below)
            elif (key in _MANY or key == "items") and isinstance(value, list):
                out[key] = [self._walk(each, below.below(at)) for at, each in enumerate(value)]
            elif key in _NAMED and isinstance(value, dict):
                out[key] = {
                    name: each if isinstance(each, list) else self._walk(each, below.below(name))
                    for name, each in value.items()
                }
            elif key not in _DEFINITIONS and not (self._direction and (key in _PROSE or key.startswith("x-"))):
                out[key] = value
        if self._direction and "required" in out:
            self._require(out, schema, place)
        if self._v30 and schema.get("nullable") is True:
            return _nullable(out)
        return out

    def _reference(self, reference: Any, place: Place) -> str:
        if not isinstance(reference, str):
            raise Fault(place, "a $ref is a text")
        target = self._documents.refer(reference, place)
        name = self._names.get(target)
        if name is None:
            stem = "".join(c if c.isalnum() or c in "_.-" else "_" for c in target.pointer.rpartition("/")[2]) or "root"
            taken = set(self._names.values())
            name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, 100_000))) if n not in taken)
            self._names[target] = name
            try:
                schema = self._documents.at(target)
            except Fault as fault:
                raise Fault(place, f"$ref {reference}: {fault.reason}") from None
            self._definitions[name] = None  # in the order in which they are met
            self._definitions[name] = self._walk(schema, target)
        return f"#/$defs/{name}"

    def _require(self, out: dict[str, Any], schema: dict[str, Any], place: Place) -> None:
        other = "readOnly" if self._direction == "request" else "writeOnly"
        properties = schema.get("properties")
        if not isinstance(out["required"], list) or not isinstance(properties, dict):
            return
        kept = []
        for name in out["required"]:
            meant, _ = self._documents.follow(properties.get(name), place)
            if not (isinstance(meant, dict) and meant.get(other) is True):
                kept.append(name)
        if kept:
            out["required"] = kept
        else:
            del out["required"]  # draft 4 knows no empty list there


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0.3 §4.7.24.1: `nullable` adds null to what `type` allows; without a `type` it says nothing."""
    kind = schema.get("type")
    if not isinstance(kind, str):
        return schema
    out = {**schema, "type": [kind, "null"]}
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out


def _names_itself(schema: Any) -> bool:
    if isinstance(schema, dict):
        named = any(isinstance(schema.get(name), str) for name in _OWN_NAMES)
        return named or any(_names_itself(value) for value in schema.values())
    return isinstance(schema, list) and any(_names_itself(value) for value in schema)
