"""Bodies by their media type: which schema is theirs, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gatepost.policies.json_schema import Schema, Violation, shared_schema
from gatepost.policies.json_value import json_value
from gatepost.policies.parameters import check_text, decoded, query_pairs
from gatepost.policies.states import States

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


class Bodies:
    """The schemas of a body, by media type or range (`text/*`, `*/*`)."""

    __slots__ = ("_by_type", "_known", "accept")

    def __init__(
        self,
        content: Mapping[str, str],
        states: States,
        *,
        json: str | None = None,
        formats: bool,
        masked: bool = False,
    ) -> None:
        """`json`: the schema of application/json and of every type that ends in +json; `masked`: violations hold no
        values. Raises ValueError."""
        self._by_type: dict[str, Schema] = {}
        for media, text in {JSON: json, "+json": json}.items() if json is not None else ():
            self._by_type[media] = self._schema("schema", text, states, formats, masked)
        for media, text in content.items():
            self._by_type[media.lower()] = self._schema(f"content: {media}", text, states, formats, masked)
        self.accept = ", ".join(name for name in self._by_type if not name.startswith("+")).encode()
        self._known: dict[bytes, tuple[str, Schema]] = {}

    @staticmethod
    def _schema(where: str, text: str, states: States, formats: bool, masked: bool) -> Schema:
        try:
            return shared_schema(text, states, formats=formats, masked=masked)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def find(self, content_type: bytes) -> tuple[str, Schema] | None:
        """The media type that a Content-Type names, and its schema; None where it is none of ours."""
        known = self._known.get(content_type)
        if known is None:
            known = self._find(content_type)
            if known is not None and len(self._known) < _KEPT:
                self._known[content_type] = known
        return known

    def _find(self, content_type: bytes) -> tuple[str, Schema] | None:
        media, _, parameters = content_type.decode("latin-1").partition(";")
        media = media.strip().lower()
        if is_json(media) and _charset(parameters) not in ("", "utf-8", "us-ascii"):
            return None  # RFC 8259 §8.1: JSON is UTF-8
        kind = media.partition("/")[0]
        names = (media, "+json" if media.endswith("+json") else "", f"{kind}/*", "*/*")
        schema = next((self._by_type[name] for name in names if name in self._by_type), None)
        return None if schema is None else (media, schema)


_KEPT: Final = 64  # spellings of Content-Type: a client chooses them


def is_json(media: str) -> bool:
    return media == JSON or media.endswith("+json")


def body_violations(media: str, schema: Schema, body: bytes, most: int) -> Sequence[Violation]:
    """Raises NotJson and Unreadable. What is neither JSON nor a form is not looked into."""
    if is_json(media):
        value = json_value(body)
        return () if schema.is_valid(value) else schema.violations(value, most)
    if media == FORM:
        return check_text(schema, _form(schema, body), most)
    return ()


def _form(schema: Schema, body: bytes) -> dict[str, Any]:
    """A form as an object: a name that stands several times is a list, as one is that the schema knows as a list."""
    pairs = query_pairs(body)
    value: dict[str, Any] = {}
    for name, text in pairs:
        value.setdefault(name, []).append(decoded(text))
    members = schema.shape.members
    return {n: each if len(each) > 1 or "array" in members.get(n, ()) else each[0] for n, each in value.items()}


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
