"""The routes that the descriptions of services make.

What the file declares wins: where a route of the file has the name of an operation, or takes its method on its path,
the operation makes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from gatepost.config import units
from gatepost.config.documents import Documents, Fault, Place
from gatepost.config.openapi.operations import Description, Operation
from gatepost.config.openapi.rules import Rules
from gatepost.config.openapi.settings import OpenApi, OperationUse
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.anonymous import AnonymousPolicy
from gatepost.config.policies.combined import AllOfPolicy, AlternativeUse, AnyOfPolicy, CredentialUse
from gatepost.config.schema import Config, Match, Route
from gatepost.errors import ConfigIssue

MAX_FAULTS: Final = 50  # of one description

_PARAMETER: Final = re.compile(r"\{[^{}]*\}")


class Expanded(NamedTuple):
    config: Config
    made: dict[str, str]  # the name of a route that was made → the path of the setting that made it
    issues: list[ConfigIssue]  # without lines


def expand(config: Config, documents: Documents) -> Expanded:
    """`config` with a route for each operation of each description. Reads what `documents` has not read yet."""
    routes = dict(config.routes)
    made: dict[str, str] = {}
    issues: list[ConfigIssue] = []
    for name, service in config.services.items():
        if service.openapi is None:
            continue
        where = f"services.{name}.openapi"
        faults: list[Fault] = []
        taken = _Taken(config.routes)
        answers = bool(service.targets) or getattr(service, "asgi", None) is not None
        for route_name, route in _routes(name, service.openapi, documents, taken, faults):
            if not answers and not any(use.mock is not None for use in route.policies):
                faults.append(
                    Fault(Place(service.openapi.spec, ""), f"`{route_name}` is not mocked: `targets` are needed")
                )
            if route_name in routes:
                faults.append(_twice(service.openapi, route_name, made.get(route_name)))
                continue
            routes[route_name] = route
            made[route_name] = where
        issues += [ConfigIssue(where, 0, documents.told(fault)) for fault in faults[:MAX_FAULTS]]
    return Expanded(msgspec.structs.replace(config, routes=routes) if made else config, made, issues)


class _Taken:
    """What the routes of the file take."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self._names = frozenset(routes)
        self._matches = {
            (host, _shape(route.match.path), method)
            for route in routes.values()
            if not route.match.headers
            for host in route.match.hosts or ("",)
            for method in route.match.methods
        }

    def has(self, name: str, route: Route) -> bool:
        match = route.match
        return name in self._names or any(
            (host, _shape(match.path), method) in self._matches
            for host in match.hosts or ("",)
            for method in match.methods
        )


def _shape(path: str) -> str:
    return _PARAMETER.sub("{}", path)


def _routes(
    service: str, use: OpenApi, documents: Documents, taken: _Taken, faults: list[Fault]
) -> Iterator[tuple[str, Route]]:
    try:
        description = Description(documents, use.spec)
        paths = list(description.paths())
    except Fault as fault:
        faults.append(fault)
        return
    rules = Rules(documents, v30=description.v30)
    seen: set[str] = set()
    for path, item, place in paths:
        try:
            operations = list(description.operations(path, item, place, use.base_path))
        except Fault as fault:
            faults.append(fault)
            continue
        for operation in operations:
            name = use.prefix + operation.name
            seen.add(operation.name)
            own = use.operations.get(operation.name) or use.operations.get(name) or OperationUse()
            if own.skip:
                continue
            try:
                route = _route(service, use, own, rules, operation)
            except Fault as fault:
                faults.append(fault)
                continue
            if not taken.has(name, route):
                yield name, route
    unknown = [name for name in use.operations if name not in seen and name.removeprefix(use.prefix) not in seen]
    faults += [Fault(description.root, f"has no operation `{name}`, which `operations` names") for name in unknown]


def _route(service: str, use: OpenApi, own: OperationUse, rules: Rules, operation: Operation) -> Route:
    """Raises Fault."""
    try:
        units.name(use.prefix + operation.name)
        units.path_pattern(operation.path)
    except ValueError as error:
        raise Fault(operation.place, f"its route {operation.method} {operation.path} {error}; `skip` it") from None
    policies = [*_security(use, operation), *use.policies, *own.policies]
    if use.validate_requests and (request := rules.request(operation)) is not None:
        policies.append(PolicyUse(validate=request))
    if use.mock if own.mock is None else own.mock:
        policies.append(PolicyUse(mock=rules.mock(operation)))
    elif use.validate_responses != "false":
        responses = rules.responses(operation, refuse=use.validate_responses == "true")
        if responses is not None:
            policies.append(PolicyUse(validate_response=responses))
    match = Match(path=operation.path, methods=(operation.method,), hosts=use.hosts)
    return Route(match=match, service=service, policies=tuple(policies))


def _security(use: OpenApi, operation: Operation) -> list[PolicyUse]:
    """The policies of the schemes that the operation asks for, if the file says what stands for them: one below the
    other where all are needed, an `any_of` where one of several ways will do. Raises Fault."""
    ways = operation.security
    if not use.security or not any(ways):
        return []
    found = [[_stands_for(use, operation, scheme) for scheme in way] for way in ways]
    if len(found) == 1:
        return found[0]
    return [PolicyUse(any_of=AnyOfPolicy(policies=tuple(_alternative(operation, each) for each in found)))]


def _stands_for(use: OpenApi, operation: Operation, scheme: str) -> PolicyUse:
    if scheme not in use.security:
        raise Fault(operation.place, f"asks for `{scheme}`, of which `security` says nothing")
    return use.security[scheme]


def _alternative(operation: Operation, uses: list[PolicyUse]) -> AlternativeUse:
    """One way of several. OpenAPI 3.1 §4.8.2: an empty one is that of nobody in particular."""
    if not uses:
        return AlternativeUse(anonymous=AnonymousPolicy())
    credentials = []
    for use in uses:
        ((name, value),) = ((name, v) for name in use.__struct_fields__ if (v := getattr(use, name)) is not None)
        if name not in CredentialUse.__struct_fields__:
            raise Fault(operation.place, f"may be called in several ways, of which `{name}` can be none")
        credentials.append({name: value})
    if len(credentials) == 1:
        return AlternativeUse(**credentials[0])
    return AlternativeUse(all_of=AllOfPolicy(policies=tuple(CredentialUse(**each) for each in credentials)))


def _twice(use: OpenApi, name: str, other: str | None) -> Fault:
    by = f" ({other} makes one too)" if other else ""
    return Fault(Place(use.spec, ""), f"makes a second route `{name}`{by}; give one of them a `prefix`")
