"""The published contract that our webhook API speaks, as a checker of requests and replies.

The document is OpenAPI 3.0 and uses a small part of it. What this checker does not know is an error, not a pass.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.asgi import Reply

FILE = Path(__file__).parents[3] / "shared" / "compat" / "svix-openapi.json"
# Where we mean to differ, with the reason for each.
OVERLAY = Path(__file__).parents[1] / "data" / "svix-overlay.json"

_KNOWN = {
    "$ref", "type", "nullable", "properties", "required", "items", "pattern", "enum", "minLength", "maxLength",
    "minimum", "maximum", "minItems", "maxItems", "uniqueItems", "additionalProperties", "format",
    # of no consequence for a value
    "description", "example", "default", "title", "x-enum-varnames",
}  # fmt: skip


class Contract:
    """Collects what was exercised, and raises AssertionError at the first thing that the contract does not allow."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._paths = [
            (re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", template)), template) for template in document["paths"]
        ]
        # A path without parameters wins: `/app/{app_id}` would match `/app/x` only.
        self._paths.sort(key=lambda pair: pair[1].count("{"))
        self.exercised: set[tuple[str, str, int]] = set()

    def operation(self, method: str, path: str) -> tuple[str, dict[str, Any]]:
        for pattern, template in self._paths:
            if pattern.fullmatch(path) and method.lower() in self._document["paths"][template]:
                return template, self._document["paths"][template][method.lower()]
        raise AssertionError(f"the contract has no {method} {path}")

    def check(self, method: str, path: str, sent: Any, reply: Reply) -> None:
        template, operation = self.operation(method, path)
        where = f"{method} {template} {reply.status}"
        self.exercised.add((method, template, reply.status))
        if reply.status < 300 and sent is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self._value(sent, schema, f"{where} request")
        response = operation["responses"].get(str(reply.status))
        assert response is not None, f"{where}: the contract has no such status"
        if "content" not in response:
            assert reply.body == b"", f"{where}: a body where the contract has none"
            return
        assert reply.headers["content-type"] == "application/json", where
        self._value(reply.json, response["content"]["application/json"]["schema"], where)

    def _value(self, value: Any, schema: dict[str, Any], where: str) -> None:
        unknown = set(schema) - _KNOWN
        assert not unknown, f"{where}: the checker does not know {unknown}"
        if value is None:
            assert schema.get("nullable"), f"{where}: null"
            return
        if "$ref" in schema:
            self._value(value, self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], where)
            return
        kind = schema.get("type")
        check = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "boolean": self._boolean,
        }[str(kind)]
        check(value, schema, where)
        if "enum" in schema:
            assert value in schema["enum"], f"{where}: {value!r}"

    def _object(self, value: Any, schema: dict[str, Any], where: str) -> None:
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        missing = set(schema.get("required", ())) - set(value)
        assert not missing, f"{where}: lacks {missing}"
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for name, item in value.items():
            if name in properties:
                self._value(item, properties[name], f"{where}.{name}")
            elif isinstance(rest, dict):
                self._value(item, rest, f"{where}.{name}")

    def _array(self, value: Any, schema: dict[str, Any], where: str) -> None:
        assert isinstance(value, list), f"{where}: {value!r} is no array"
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 30), (
            f"{where}: {len(value)} items"
        )
        if schema.get("uniqueItems"):
            assert len({json.dumps(item) for item in value}) == len(value), f"{where}: an item twice"
        for place, item in enumerate(value):
            self._value(item, schema["items"], f"{where}[{place}]")

    def _string(self, value: Any, schema: dict[str, Any], where: str) -> None:
        assert isinstance(value, str), f"{where}: {value!r} is no string"
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 30), f"{where}: {value!r}"
        if "pattern" in schema:
            assert re.search(schema["pattern"], value), f"{where}: {value!r}"
        if schema.get("format") == "date-time":
            assert datetime.fromisoformat(value).tzinfo is not None, f"{where}: {value!r}"

    def _integer(self, value: Any, schema: dict[str, Any], where: str) -> None:
        assert isinstance(value, int), f"{where}: {value!r} is no integer"
        assert not isinstance(value, bool), f"{where}: {value!r} is no integer"
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where}: {value!r}"

    def _boolean(self, value: Any, schema: dict[str, Any], where: str) -> None:
        assert isinstance(value, bool), f"{where}: {value!r} is no boolean"


def load() -> Contract:
    return Contract(document())


def document() -> dict[str, Any]:
    """The contract, with our deviations laid over it."""
    published: dict[str, Any] = json.loads(FILE.read_text())
    for deviation in json.loads(OVERLAY.read_text()):
        assert deviation["why"]
        if "at" in deviation:
            place = published
            for step in deviation["at"]:
                place = place[step]
            for name in deviation.get("drop", ()):
                del place[name]
            place.update(deviation["add"])
        else:
            for schema in deviation["schemas"]:
                properties = published["components"]["schemas"][schema]["properties"]
                for name in deviation["properties"]:
                    if name in properties:
                        properties[name]["items"].update(deviation["items"])
    return published
