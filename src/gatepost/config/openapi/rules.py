"""One operation of a description as the settings of policies."""

from __future__ import annotations

from typing import Any, Literal

from gatepost.config.documents import Documents, Fault, Place
from gatepost.config.json_schema import Direction, openapi_schema_text
from gatepost.config.openapi.examples import example_of
from gatepost.config.openapi.operations import Operation, mapping
from gatepost.config.policies.mock import Answer, MockPolicy
from gatepost.config.policies.validate import MEDIA_TYPE, Body, Parameter, ValidatePolicy
from gatepost.config.policies.validate_response import ResponseRule, ValidateResponsePolicy

# OpenAPI 3.1 §4.8.12.1: header parameters of these names say nothing.
_NOT_PARAMETERS = frozenset(("accept", "authorization", "content-type"))


class Rules:
    """What a description says, as ours. Every method raises Fault."""

    def __init__(self, documents: Documents, *, v30: bool) -> None:
        self._documents = documents
        self._v30 = v30

    # requests

    def request(self, operation: Operation) -> ValidatePolicy | None:
        """None where nothing is described."""
        places: dict[str, dict[str, Parameter]] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
        for (where, name), (value, place) in operation.parameters.items():
            if where == "header" and name.lower() in _NOT_PARAMETERS:
                continue
            known = operation.names.get(name) if where == "path" else name
            if known is None:
                raise Fault(place, f"`{{{name}}}` is not in the path")
            places[where][known] = self._parameter(value, place)
        body = None
        if "requestBody" in operation.value:
            value, place = self._documents.follow(operation.value["requestBody"], operation.place.below("requestBody"))
            content = self._content(mapping(value, place).get("content"), place.below("content"), "request")
            if content:
                body = Body(content=content, required=value.get("required") is True)
        if body is None and not any(places.values()):
            return None
        return ValidatePolicy(
            path=places["path"],
            query=places["query"],
            headers=places["header"],
            cookies=places["cookie"],
            body=body,
        )

    def _parameter(self, value: dict[str, Any], place: Place) -> Parameter:
        required = value.get("required") is True
        if "content" in value:
            ((media, each),) = mapping(value["content"], place).items() or (("", None),)
            schema = mapping(each, place).get("schema", {})
            text = self._text(schema, place.below("content", media, "schema"), "request")
            return Parameter(schema=text, required=required, json=media.endswith("json"))
        schema, below = value.get("schema", {}), place.below("schema")
        if value.get("allowEmptyValue") is True:
            # The schema moves a step down; what it refers to is found by its file, not by its place.
            schema = {"anyOf": [schema, {"enum": [""]}]}
        try:
            return Parameter(
                schema=self._text(schema, below, "request"),
                required=required,
                style=value.get("style"),
                explode=value.get("explode"),
            )
        except ValueError as error:
            raise _as_fault(error, place) from None

    # responses

    def responses(self, operation: Operation, *, refuse: bool) -> ValidateResponsePolicy | None:
        rules = {}
        for status, value, place in self._responses(operation):
            content = self._content(value.get("content", {}), place.below("content"), "response")
            headers = {}
            for name, each in mapping(value.get("headers", {}), place).items():
                header, below = self._documents.follow(each, place.below("headers", name))
                if name.lower() != "content-type":
                    headers[name] = self._parameter(mapping(header, below), below)
            rules[status] = ResponseRule(content=content, headers=headers)
        if not rules:
            return None
        on_violation: Literal["refuse", "log"] = "refuse" if refuse else "log"
        try:
            return ValidateResponsePolicy(responses=rules, on_violation=on_violation)
        except ValueError as error:
            raise _as_fault(error, operation.place.below("responses")) from None

    def mock(self, operation: Operation) -> MockPolicy:
        answers: list[Answer] = []
        described = sorted(self._responses(operation), key=lambda each: (not each[0].startswith("2"), each[0]))
        for status, value, place in described:
            number = 500 if status == "default" else int(status.replace("XX", "00"))
            if number < 200:
                continue
            headers = {}
            for name, each in mapping(value.get("headers", {}), place).items():
                header, below = self._documents.follow(each, place.below("headers", name))
                if name.lower() != "content-type":
                    headers[name] = _text_of(self._header_example(mapping(header, below), below))
            content = mapping(value.get("content", {}), place)
            if not content:
                answers.append(Answer(status=number, headers=headers))
            for media, each in content.items():
                below = place.below("content", media)
                for label, example in self._examples(mapping(each, below), below):
                    answers.append(_answer(number, headers, media, label, example))
        return MockPolicy(answers=tuple(answers) or (Answer(status=204),))

    def _responses(self, operation: Operation) -> list[tuple[str, dict[str, Any], Place]]:
        place = operation.place.below("responses")
        found = []
        for status, each in mapping(operation.value.get("responses", {}), place).items():
            if not status.startswith("x-"):
                value, below = self._documents.follow(each, place.below(status))
                found.append((status.upper() if status != "default" else status, mapping(value, below), below))
        return found

    def _header_example(self, header: dict[str, Any], place: Place) -> Any:
        if "example" in header:
            return header["example"]
        return example_of(self._documents, header.get("schema", {}), place.below("schema"))

    def _examples(self, media: dict[str, Any], place: Place) -> list[tuple[str | None, Any]]:
        named = media.get("examples")
        if isinstance(named, dict) and named:
            found: list[tuple[str | None, Any]] = []
            for name, each in named.items():
                example, below = self._documents.follow(each, place.below("examples", name))
                if isinstance(example, dict) and "externalValue" in example:
                    continue  # nothing is fetched
                found.append((name, mapping(example, below).get("value")))
            if found:
                return found
        if "example" in media:
            return [(None, media["example"])]
        return [(None, example_of(self._documents, media.get("schema", {}), place.below("schema")))]

    # schemas

    def _content(self, value: Any, place: Place, direction: Direction) -> dict[str, str]:
        content = {}
        for media, each in mapping(value, place).items():
            kind = media.partition(";")[0].strip().lower()
            if not MEDIA_TYPE.fullmatch(kind):
                raise Fault(place, f"`{media}` is not a media type")
            schema = mapping(each, place.below(media)).get("schema", {})
            content[kind] = self._text(schema, place.below(media, "schema"), direction)
        return content

    def _text(self, schema: Any, place: Place, direction: Direction) -> str:
        return openapi_schema_text(self._documents, schema, place, v30=self._v30, direction=direction)


def _answer(status: int, headers: dict[str, str], media: str, name: str | None, example: Any) -> Answer:
    headers = {**headers, "Content-Type": media}
    kind = media.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        # A null is a body too, and `json: null` in a file is none.
        if example is None:
            return Answer(status=status, headers=headers, body="null", name=name)
        return Answer(status=status, headers=headers, json=_plain(example), name=name)
    return Answer(status=status, headers=headers, body=_text_of(example), name=name)


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    return _escaped(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    """An example holds no expressions, whatever it looks like."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _escaped(value) if isinstance(value, str) else value


def _escaped(text: str) -> str:
    return text.replace("${", "$${")


def _as_fault(error: ValueError, place: Place) -> Fault:
    return error if isinstance(error, Fault) else Fault(place, str(error))
