"""Tyk's files, whatever each is: API definitions (classic, or OpenAPI with `x-tyk-api-gateway`) and policies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gatepost.imports.api import Api
from gatepost.imports.assemble import Assembly, Plan
from gatepost.imports.result import Imported, Left, NotImportable
from gatepost.imports.tyk_classic import read_classic
from gatepost.imports.tyk_oas import read_oas
from gatepost.imports.tyk_policies import is_policy, read_policy
from gatepost.imports.yaml_text import yaml_text

_HEADING = """Made from Tyk's files by `gatepost import tyk`. Its report lists what could not be carried over.
Tyk finds endpoints by prefix: so do these routes. A key is not in Tyk's files, so no consumer is here."""


def import_tyk(files: Iterable[tuple[str, str]]) -> Imported:
    """`files` are (name, text). Raises NotImportable for one that is neither."""
    apis: list[Api] = []
    plans: list[Plan] = []
    left: list[Left] = []
    for name, text in files:
        for kind, identifier, value in _parts(name, text):
            if kind == "oas":
                apis.append(read_oas(value, identifier))
            elif kind == "classic":
                apis.append(read_classic(value, identifier))
            elif (plan := read_policy(identifier, value, left)) is not None:
                plans.append(plan)
    if not apis:
        raise NotImportable("there is no API definition among them")
    assembly = Assembly(plans)
    environment: dict[str, str] = {}
    for api in apis:
        assembly.add(api)
        environment |= api.environment
    document = assembly.document()
    for api in reversed(apis):
        left[:0] = api.left
    known = {api.id for api in apis}
    for plan in plans:
        left += [
            Left(
                f"policy {plan.name}",
                f"access_rights.{api}",
                "There is no such API among the files.",
                "import it as well",
            )
            for api in plan.apis
            if api not in known
        ]
    return Imported(yaml_text(document, _HEADING), left, environment)


def _parts(name: str, text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(kind, name, value) of what a file holds. A dashboard's export wraps definitions in `api_definition`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotImportable(f"{name}: is not JSON: {error}") from None
    found = list(_found(name, value))
    if not found:
        raise NotImportable(f"{name}: is neither an API definition of Tyk nor a file of its policies")
    yield from found


def _found(name: str, value: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if isinstance(value, list):
        for each in value:
            yield from _found(name, each)
    elif isinstance(value, dict):
        if isinstance(value.get("api_definition"), dict):
            yield from _found(name, value["api_definition"])
        elif isinstance(value.get("apis"), list):
            yield from _found(name, value["apis"])
        elif isinstance(value.get("x-tyk-api-gateway"), dict):
            yield "oas", name, value
        elif isinstance(value.get("proxy"), dict):
            yield "classic", name, value
        elif is_policy(value):
            yield "policy", str(value.get("id") or value.get("_id") or name), value
        else:
            for key, each in value.items():
                if isinstance(each, dict) and is_policy(each):
                    yield "policy", key, each
