"""The operations of an OpenAPI document, each with what it inherits from its path and its document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gatepost.config.documents import Documents, Fault, Place

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME: Final = 63


class Operation(NamedTuple):
    """`path` is a path pattern of ours, with its base path; its parameters have names that a pattern may hold."""

    name: str
    method: str  # in capitals
    path: str
    value: dict[str, Any]
    place: Place
    parameters: dict[tuple[str, str], tuple[dict[str, Any], Place]]  # by where and name
    names: dict[str, str]  # of the path's parameters: as described → as in `path`
    security: list[dict[str, Any]]


class Description:
    """One document. Raises Fault where it is none of ours."""

    def __init__(self, documents: Documents, file: str) -> None:
        self.documents = documents
        self.root = Place(file, "")
        self.value: dict[str, Any] = mapping(documents.load(file), self.root)
        version = self.value.get("openapi")
        if not isinstance(version, (str, float)) or str(version)[:3] not in ("3.0", "3.1"):
            said = (
                f"`openapi: {version}`" if version else "`swagger: 2.0`" if "swagger" in self.value else "no `openapi`"
            )
            raise Fault(self.root, f"has {said}: descriptions of OpenAPI 3.0 and 3.1 are read")
        self.v30 = str(version).startswith("3.0")

    def servers(self) -> list[str]:
        """The URLs of its servers, their variables at their defaults."""
        return _servers(self.value.get("servers"))

    def paths(self) -> Iterator[tuple[str, Any, Place]]:
        place = self.root.below("paths")
        for path, item in mapping(self.value.get("paths", {}), place).items():
            if not path.startswith("x-"):
                yield path, item, place.below(path)

    def operations(self, path: str, item: Any, place: Place, base: str | None) -> Iterator[Operation]:
        """Raises Fault."""
        value, place = self.documents.follow(item, place)
        shared = self._parameters(mapping(value, place).get("parameters", []), place)
        for method in METHODS:
            if method not in value:
                continue
            below = place.below(method)
            operation = mapping(value[method], below)
            servers = operation.get("servers") or value.get("servers") or self.value.get("servers")
            prefix = base_path(_servers(servers)) if base is None else base.rstrip("/")
            pattern, names = _pattern(prefix + path)
            security = operation.get("security", self.value.get("security", []))
            if not isinstance(security, list):
                raise Fault(below, "`security` is a list")
            yield Operation(
                _name(operation.get("operationId"), method, path),
                method.upper(),
                pattern,
                operation,
                below,
                shared | self._parameters(operation.get("parameters", []), below),
                names,
                [each for each in security if isinstance(each, dict)],
            )

    def _parameters(self, value: Any, place: Place) -> dict[tuple[str, str], tuple[dict[str, Any], Place]]:
        place = place.below("parameters")
        if not isinstance(value, list):
            raise Fault(place, "is a list")
        found = {}
        for at, each in enumerate(value):
            parameter, where = self.documents.follow(each, place.below(at))
            kind, name = mapping(parameter, where).get("in"), parameter.get("name")
            if kind not in ("path", "query", "header", "cookie") or not isinstance(name, str):
                raise Fault(where, "a parameter has a `name`, and an `in` of path, query, header or cookie")
            found[kind, name] = (parameter, where)
        return found


def mapping(value: Any, place: Place) -> dict[str, Any]:
    """Raises Fault."""
    if not isinstance(value, dict):
        raise Fault(place, "is a mapping")
    return value


def base_path(servers: list[str]) -> str:
    """The path of the first server, "" for the root."""
    return urlsplit(servers[0]).path.rstrip("/") if servers else ""


def _servers(value: Any) -> list[str]:
    urls = []
    for server in value if isinstance(value, list) else []:
        if isinstance(server, dict) and isinstance(server.get("url"), str):
            variables = server.get("variables", {})

            def default(match: re.Match[str], known: Any = variables) -> str:
                variable = known.get(match[1]) if isinstance(known, dict) else None
                return str(variable.get("default", match[1])) if isinstance(variable, dict) else match[1]

            urls.append(_VARIABLE.sub(default, server["url"]))
    return urls


def _pattern(path: str) -> tuple[str, dict[str, str]]:
    """Our parameters have names of letters, digits and `_`: `{order-id}` is `{order_id}` here."""
    names: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        name = re.sub(r"\W", "_", match[1], flags=re.ASCII)
        name = f"_{name}" if not name or name[0].isdigit() else name
        while name in names.values():
            name += "_"
        names[match[1]] = name
        return f"{{{name}}}"

    return _PARAMETER.sub(renamed, path), names


def _name(operation_id: Any, method: str, path: str) -> str:
    name = operation_id if isinstance(operation_id, str) and operation_id else f"{method}{path}"
    return _NO_NAME.sub("-", name).strip("-.")[:_LONGEST_NAME].rstrip("-.") or method
