"""A value for a schema: what a mock answers where the description gives no example."""

from __future__ import annotations

from typing import Any, Final

from gatepost.config.documents import Documents, Place

_DEEPEST: Final = 8

_BY_FORMAT: Final = {
    "date-time": "2024-01-31T12:00:00Z",
    "date": "2024-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "uuid": "6f1c7d0e-3b7a-4c55-9d4e-0a8f5b2c1d3e",
    "email": "someone@example.com",
    "hostname": "host.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/",
    "byte": "dGV4dA==",
}


def example_of(documents: Documents, schema: Any, place: Place, deep: int = 0) -> Any:
    """Its own example, or one made to fit. A `pattern` is not looked at. Raises Fault."""
    schema, place = documents.follow(schema, place)
    if not isinstance(schema, dict):
        return None
    if "example" in schema:
        return schema["example"]
    for several in ("examples", "enum"):
        if isinstance(schema.get(several), list) and schema[several]:
            return schema[several][0]
    for one in ("const", "default"):
        if one in schema:
            return schema[one]
    for choice in ("oneOf", "anyOf"):
        if isinstance(schema.get(choice), list) and schema[choice]:
            return example_of(documents, schema[choice][0], place.below(choice, 0), deep + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(schema.get("allOf"), list):
        return _merged(documents, schema, place, deep)
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(documents, schema, place, deep)
    if kind == "array":
        return _array(documents, schema, place, deep)
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "string":
        return _text(schema)
    return {"boolean": True}.get(str(kind))


def _object(documents: Documents, schema: dict[str, Any], place: Place, deep: int) -> dict[str, Any]:
    """Every property; once it is deep (or goes in circles), those that must be there."""
    value: dict[str, Any] = {}
    properties = schema.get("properties")
    required = schema.get("required", [])
    for name, each in properties.items() if isinstance(properties, dict) else ():
        meant, _ = documents.follow(each, place)
        if isinstance(meant, dict) and meant.get("writeOnly") is True:
            continue
        if deep < _DEEPEST // 2 or (name in required and deep < _DEEPEST):
            value[name] = example_of(documents, each, place.below("properties", name), deep + 1)
    return value


def _array(documents: Documents, schema: dict[str, Any], place: Place, deep: int) -> list[Any]:
    least = schema.get("minItems", 1 if deep < _DEEPEST // 2 else 0)
    if not isinstance(least, int) or deep >= _DEEPEST:
        return []
    item = example_of(documents, schema.get("items", {}), place.below("items"), deep + 1)
    return [item] * min(least, 10)


def _merged(documents: Documents, schema: dict[str, Any], place: Place, deep: int) -> Any:
    value: Any = _object(documents, schema, place, deep)
    if deep < _DEEPEST:
        for at, part in enumerate(schema["allOf"]):
            each = example_of(documents, part, place.below("allOf", at), deep + 1)
            if isinstance(each, dict) and isinstance(value, dict):
                value |= each
            elif each is not None and not value:
                value = each
    return value


def _number(schema: dict[str, Any]) -> Any:
    step = schema.get("multipleOf", 1 if schema.get("type") == "integer" else 0)
    least = schema.get("minimum", 0)
    above = schema.get("exclusiveMinimum")
    if above is True:  # OpenAPI 3.0
        least += step or 1
    elif isinstance(above, (int, float)) and not isinstance(above, bool):
        least = above + (step or 1)
    most = schema.get("maximum")
    if isinstance(most, (int, float)) and least > most:
        least = most
    return -(-least // step) * step if step else least


def _text(schema: dict[str, Any]) -> str:
    text = _BY_FORMAT.get(str(schema.get("format")), "text")
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if isinstance(least, int) and len(text) < least <= 10_000:
        text = (text + " " + "text " * least)[:least]
    return text[:most] if isinstance(most, int) else text
