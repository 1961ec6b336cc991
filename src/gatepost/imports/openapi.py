"""An OpenAPI description as the beginning of a gatepost.yaml: a service that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gatepost.config.documents import Documents, Fault
from gatepost.config.openapi.operations import Description, Operation
from gatepost.config.openapi.rules import Rules
from gatepost.config.units import name as check_name
from gatepost.config.units import path_pattern
from gatepost.imports.result import Imported, Left, NotImportable
from gatepost.imports.yaml_text import yaml_text

_HEADING: Final = """Made from {file} by `gatepost import openapi`. The description makes the routes, and a change of it
is a reload. The import's report lists what could not be carried over."""

_SECURITY: Final = {
    "oauth2": "`jwt` or `oauth2_introspection`",
    "openIdConnect": "`jwt: {jwks_url, issuers, audiences}`",
    "mutualTLS": "`mtls`, and `listen.traffic.tls.client_ca`",
}


def import_openapi(file: str) -> Imported:
    """Reads the file and those that it refers to, and nothing else. Raises NotImportable."""
    path = Path(file)
    documents = Documents()
    left: list[Left] = []
    try:
        description = Description(documents, str(path.absolute()))
        found = list(description.paths())
    except Fault as fault:
        raise NotImportable(documents.told(fault)) from None
    use: dict[str, Any] = {"spec": file}
    title = description.value.get("info", {}).get("title") if isinstance(description.value.get("info"), dict) else None
    service = (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in str(title or path.stem).lower()).strip("-") or "api"
    )
    urls = [url for url in description.servers() if url.startswith(("http://", "https://"))]
    origins = list(dict.fromkeys(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in urls))
    if not origins:
        left.append(
            Left(path.name, "servers", "It names no server: requests would go nowhere.", "`services.NAME.targets`")
        )
    left += [
        Left(path.name, f"servers ({url})", "Routes have the path of the first.", "`openapi.base_path`")
        for url in urls[1:]
        if urlsplit(url).path.rstrip("/") != urlsplit(urls[0]).path.rstrip("/")
    ]
    rules = Rules(documents, v30=description.v30)
    operations: dict[str, Any] = {}
    asked: set[str] = set()
    for pattern, item, place in found:
        try:
            each_path = list(description.operations(pattern, item, place, None))
        except Fault as fault:
            raise NotImportable(documents.told(fault)) from None
        for operation in each_path:
            _look_at(operation, rules, documents, path.name, operations, left)
            asked |= {scheme for way in operation.security for scheme in way}
    security = _security(description, asked, path.name, left)
    if security:
        use["security"] = security
    if operations:
        use["operations"] = operations
    for key in ("webhooks", "x-tyk-api-gateway", "x-amazon-apigateway-policy", "x-kong-name"):
        if key in description.value:
            nearest = (
                "`gatepost import tyk`" if "tyk" in key else "`apps` and `event_types`" if key == "webhooks" else ""
            )
            left.append(Left(path.name, key, "It says nothing of requests to this API.", nearest))
    settings = {"targets": origins[:1] or ["http://127.0.0.1:9000"], "openapi": use if len(use) > 1 else file}
    heading = _HEADING.format(file=path.name)
    return Imported(yaml_text({"services": {service[:60].strip("-"): settings}}, heading), left, {})


def _look_at(
    operation: Operation, rules: Rules, documents: Documents, file: str, operations: dict[str, Any], left: list[Left]
) -> None:
    where = operation.place.pointer
    try:
        check_name(operation.name)
        path_pattern(operation.path)
        rules.request(operation)
    except Fault as fault:
        operations[operation.name] = {"skip": True}
        left.append(Left(file, where, documents.told(fault), "`openapi.operations`, or a route of your own"))
        return
    except ValueError as error:
        operations[operation.name] = {"skip": True}
        left.append(Left(file, where, f"{operation.method} {operation.path} {error}", "a route of your own"))
        return
    for key, why, nearest in (
        ("callbacks", "It says nothing of requests to this API.", "`emit`"),
        ("x-rate-limit", "It is no part of OpenAPI.", "`rate_limit` under `openapi.operations`"),
    ):
        if key in operation.value:
            left.append(Left(file, f"{where}/{key}", why, nearest))


def _security(description: Description, asked: set[str], file: str, left: list[Left]) -> dict[str, Any]:
    """Policies for the schemes that can be mapped. Where one cannot, nothing is mapped: an operation must not be open
    because its scheme was left out, so that is said instead."""
    components = description.value.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, dict) else None
    found: dict[str, Any] = {}
    for name in sorted(asked):
        scheme = schemes.get(name) if isinstance(schemes, dict) else None
        kind = scheme.get("type") if isinstance(scheme, dict) else None
        where = f"/components/securitySchemes/{name}"
        if isinstance(scheme, dict) and kind == "apiKey" and scheme.get("in") in ("header", "query", "cookie"):
            found[name] = {"api_key": {scheme["in"]: str(scheme.get("name"))}}
            left.append(Left(file, where, "It says where keys stand, not which.", "`consumers`, `gatepost key new`"))
            continue
        if isinstance(scheme, dict) and kind == "http" and str(scheme.get("scheme")).lower() == "basic":
            found[name] = {"basic": {}}
            left.append(Left(file, where, "It says nothing of logins.", "`consumers.NAME.basic`"))
            continue
        bearer = isinstance(scheme, dict) and kind == "http"
        nearest = "`jwt`" if bearer else _SECURITY.get(str(kind), "`api_key`, `basic` or `jwt`")
        found[name] = {"mock": {"status": 403, "json": {"title": "Not open yet: see the list of its import"}}}
        why = f"`{json.dumps(kind)}` needs to know whom to trust. Its operations answer 403 until you decide."
        left.append(
            Left(file, where, why.replace('`"', "`").replace('"`', "`"), f"{nearest}, under `openapi.security`")
        )
    return found
