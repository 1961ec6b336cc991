"""Words of Tyk that both formats share: how they are written here, and what comes next to those that are not."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final

from gatepost.imports.api import Api, Endpoint

# The last step of a setting's path → why it is not carried over, and what comes next to it.
NEAREST: Final[dict[str, tuple[str, str]]] = {
    "custom_middleware": ("Plugins are not carried over.", "`policy: package.module:Class`, in Python"),
    "custom_middleware_bundle": ("Plugins are not carried over.", "`policy: package.module:Class`, in Python"),
    "virtual": ("A virtual endpoint is JavaScript.", "`service: {asgi: …}`, `transform` or `mock`"),
    "virtualEndpoint": ("A virtual endpoint is JavaScript.", "`service: {asgi: …}`, `transform` or `mock`"),
    "go_plugin": ("Plugins are not carried over.", "`policy: package.module:Class`, in Python"),
    "postPlugins": ("Plugins are not carried over.", "`policy: package.module:Class`, in Python"),
    "transform": ("Its template is Go's.", "`transform: {request: …}`, an expression"),
    "transform_response": ("Its template is Go's.", "`transform: {response: …}`, an expression"),
    "transformRequestBody": ("Its template is Go's.", "`transform: {request: …}`, an expression"),
    "transformResponseBody": ("Its template is Go's.", "`transform: {response: …}`, an expression"),
    "transform_jq": ("It is a jq filter.", "`transform: {request: …}`, an expression"),
    "transform_jq_response": ("It is a jq filter.", "`transform: {response: …}`, an expression"),
    "event_handlers": ("Events go another way.", "endpoints of the app `gatepost` receive its events as webhooks"),
    "eventHandlers": ("Events go another way.", "endpoints of the app `gatepost` receive its events as webhooks"),
    "uptime_tests": ("Checks are described otherwise.", "`services.NAME.health`"),
    "uptimeTests": ("Checks are described otherwise.", "`services.NAME.health`"),
    "service_discovery": ("A discovery service is not asked.", "`services.NAME.discover: dns`"),
    "serviceDiscovery": ("A discovery service is not asked.", "`services.NAME.discover: dns`"),
    "graphql": ("GraphQL is passed on as any other request.", "a route with `validate`"),
    "persist_graphql": ("GraphQL is passed on as any other request.", "`rewrite` and `transform`"),
    "enable_batch_request_support": ("There are no batches.", "HTTP keeps connections: send the requests one by one"),
    "batchProcessing": ("There are no batches.", "HTTP keeps connections: send the requests one by one"),
    "certificates": ("A listener has its certificates.", "`listen.traffic.tls.certificates`"),
    "client_certificates": ("A listener says whose certificates it trusts.", "`listen.traffic.tls.client_ca`, `mtls`"),
    "clientCertificates": ("A listener says whose certificates it trusts.", "`listen.traffic.tls.client_ca`, `mtls`"),
    "upstream_certificates": ("Certificates stand in Tyk's store.", "`services.NAME.tls.cert` and `key`"),
    "mutualTLS": ("Certificates stand in Tyk's store.", "`services.NAME.tls.cert` and `key`"),
    "pinned_public_keys": ("Keys stand in Tyk's store.", "`services.NAME.tls.pins`"),
    "certificatePinning": ("Keys stand in Tyk's store.", "`services.NAME.tls.pins`"),
    "enable_detailed_recording": ("A share of them is kept, redacted.", "`routes.NAME.capture`: docs/capture.md"),
    "detailedActivityLogs": ("A share of them is kept, redacted.", "`routes.NAME.capture`: docs/capture.md"),
    "listen_port": ("An API has no port of its own.", "`listen.traffic`, several listeners"),
    "port": ("An API has no port of its own.", "`listen.traffic`, several listeners"),
    "tags": ("A node serves its whole file.", "one file for each group of nodes"),
    "gatewayTags": ("A node serves its whole file.", "one file for each group of nodes"),
    "internal": ("There are no routes for other routes alone.", "a listener of its own, or another node"),
    "response_processors": ("They are built in.", "`headers`, `transform`"),
    "authentication": ("What the service is shown is set by hand.", "`headers: {request: {set: …}}`"),
    "upstream_auth": ("What the service is shown is set by hand.", "`headers: {request: {set: …}}`"),
    "validate_request": ("The description itself does that.", "`services.NAME.openapi: spec.yaml`"),
    "validateRequest": ("The description itself does that.", "`services.NAME.openapi: spec.yaml`"),
    "proxy_url": ("There is no forward proxy.", "a target that is the proxy"),
    "config_data": ("It is for plugins.", "the settings of a policy in Python"),
    "hmac_allowed_algorithms": ("Signatures follow RFC 9421 here.", "`http_signature`"),
    "notifications": ("OAuth servers are not part of it.", "an authorisation server, and `jwt`"),
}
_UNKNOWN: Final = ("It has no equal here.", "")

_CONTEXT: Final = {
    "$tyk_context.remote_addr": "${client.address}",
    "$tyk_context.path": "${request.path}",
    "$tyk_context.jwt_claims_sub": "${consumer.id}",
}
_REGEX: Final = re.compile(r"[\\^$*+?()\[\]|]")
_WORD: Final = re.compile(r"[A-Za-z_]+")
_NAMED: Final = re.compile(r"\{([^{}]*)\}")


def leave_unread(api: Api, unread: Iterable[str]) -> None:
    """Notes each of these paths, with what its last known word says."""
    for path in unread:
        words = _WORD.findall(path)
        why, nearest = next((NEAREST[word] for word in reversed(words) if word in NEAREST), _UNKNOWN)
        api.note(path, why, nearest)


def seconds(value: float) -> str:
    return f"{value:g}s" if value < 1 or value != int(value) else f"{int(value)}s"


def rate_limit(limit: float, window: float, **more: Any) -> dict[str, Any]:
    return {"rate_limit": {"limit": max(1, int(limit)), "window": seconds(window), **more}}


def constant(text: str) -> str:
    """An expression that is always this text."""
    return "'" + "".join(c if c.isalnum() or c in "-_." else "_" for c in text) + "'"


def header_key(names: list[str]) -> str:
    """An expression that tells requests apart by these fields."""
    fields = [(name.lower(), f"request.headers['{name.lower()}']") for name in names]
    return " + '|' + ".join(f"('{name}' in request.headers ? {field} : '')" for name, field in fields)


def headers(api: Api, setting: str, where: str, add: dict[str, str], remove: list[str]) -> list[dict[str, Any]]:
    """Tyk's `add` replaces, as our `set` does."""
    kept: dict[str, str] = {}
    for name, value in add.items():
        for variable, ours in _CONTEXT.items():
            value = value.replace(variable, "\0" + ours[2:])
        if "$tyk" in value:
            api.note(f"{setting}.{name}", f"There is no variable like {value}.", "an expression: docs/expressions.md")
            continue
        kept[name] = value.replace("${", "$${").replace("\0", "${").strip()
    edits: dict[str, Any] = {}
    if kept:
        edits["set"] = kept
    if remove:
        edits["remove"] = remove
    return [{"headers": {where: edits}}] if edits else []


def cors(
    api: Api,
    setting: str,
    *,
    origins: list[str],
    methods: list[str],
    allowed: list[str],
    exposed: list[str],
    credentials: bool,
    max_age: float,
) -> None:
    sound = [origin.lower().rstrip("/") for origin in origins or ["*"]]
    use: dict[str, Any] = {"origins": [o for o in sound if o == "*" or re.match(r"[a-z][a-z0-9+.-]*://[^/]+$", o)]}
    if len(use["origins"]) < len(sound):
        api.note(f"{setting} (origins)", "An origin is written scheme://host.", "`cors.origins`")
    if not use["origins"]:
        return
    if methods:
        use["methods"] = [method.upper() for method in methods]
    if allowed:
        use["headers"] = allowed
    if exposed:
        use["expose"] = exposed
    if credentials and "*" in use["origins"]:
        api.note(f"{setting} (credentials)", "Credentials for every origin open everything.", "`origins` by name")
    elif credentials:
        use["credentials"] = True
    if max_age:
        use["max_age"] = seconds(max_age)
    api.policies.append({"cors": use})


def ip(api: Api, setting: str, allow: list[str], deny: list[str]) -> None:
    use = {}
    for name, addresses in (("allow", allow), ("deny", deny)):
        found = []
        for address in addresses:
            try:
                found.append(str(ipaddress.ip_network(address.strip(), strict=False)))
            except ValueError:
                api.note(f"{setting}.{address}", "This is no network.", "`ip`")
        if found:
            use[name] = found
        elif addresses and name == "allow":
            use[name] = ["192.0.2.0/32"]  # nobody: a list of which nothing could be read lets nobody in
    if use:
        api.policies.append({"ip": use})


def match_path(path: str) -> tuple[str, bool]:
    """A path of Tyk, which is a pattern that may stand anywhere at its beginning, as one of ours without the `/*` at
    its end, and whether it was meant exactly. Raises ValueError where it is more of a regular expression than that."""
    text = path.removeprefix("^")
    exact = text.endswith("$")
    text = text.removesuffix("$")
    for tail in ("/(.*)", "/.*", "(.*)", ".*", "/*", "*"):
        if text.endswith(tail):
            text, exact = text.removesuffix(tail), False
            break
    segments = []
    for at, segment in enumerate(text.strip("/").split("/")):
        if _NAMED.fullmatch(segment):
            name = re.sub(r"\W", "_", segment[1:-1].partition(":")[0], flags=re.ASCII) or f"part{at}"
            segments.append("{" + (f"_{name}" if name[0].isdigit() else name) + "}")
        elif _REGEX.search(segment) or "{" in segment or "}" in segment:
            raise ValueError(f"`{segment}` is a regular expression")
        else:
            segments.append(segment)
    return "/" + "/".join(segments) if segments != [""] else "/", exact


def plain_prefix(path: str) -> str:
    """What stands before the first regular expression of a path, in whole segments."""
    segments = []
    for segment in path.removeprefix("^").strip("/").split("/"):
        if _REGEX.search(segment) or ("{" in segment and not _NAMED.fullmatch(segment)):
            break
        segments.append(segment)
    return "/" + "/".join(segments)


def covers(wide: Endpoint, narrow: Endpoint) -> bool:
    """Whether whatever meets `narrow` meets `wide` too, as Tyk matches: by prefix."""
    if wide.method and wide.method != narrow.method:
        return False
    try:
        (one, exact), (other, _) = match_path(wide.path), match_path(narrow.path)
    except ValueError:
        return False
    ours, theirs = one.strip("/").split("/"), other.strip("/").split("/")
    if one == "/":
        return not exact or other == "/"
    if len(ours) > len(theirs) or (exact and len(ours) != len(theirs)):
        return False
    return all(a == b or a.startswith("{") for a, b in zip(ours, theirs, strict=False))


def refusal() -> dict[str, Any]:
    return {"status": 403, "json": {"title": "This endpoint may not be called"}}


def cached(ttl: float | None) -> dict[str, Any]:
    return {"cache": {"identified": "own", "ttl": seconds(ttl) if ttl and ttl >= 1 else "60s"}}


def mock(status: int, body: str, fields: dict[str, str]) -> dict[str, Any]:
    use: dict[str, Any] = {"status": status if 200 <= status <= 599 else 200}
    if fields:
        use["headers"] = {name: value.replace("${", "$${") for name, value in fields.items()}
    if body:
        use["body"] = body.replace("${", "$${")
    return use


def rewrite(endpoint: Endpoint, api: Api, pattern: str, to: str, setting: str) -> None:
    """Regular expressions are not carried over, but for `(.*)`, `(.+)` and `([^/]+)` as whole segments."""
    path = _rewritten(pattern, to, api.listen_path, strip=api.strip)
    if path is None:
        api.note(setting, f"The pattern {pattern} to {to} is a regular expression, or leads elsewhere.", "`rewrite`")
    else:
        endpoint.policies.append({"rewrite": path})


def _rewritten(pattern: str, to: str, listen_path: str, *, strip: bool) -> dict[str, str] | None:
    if not to or "://" in to or "$tyk" in to or "?" in to:
        return None
    captures = 0
    base = listen_path.strip("/")
    found = pattern.removeprefix("^").removesuffix("$").strip("/")
    if base and not strip and (found + "/").startswith(base + "/"):
        found = found[len(base) :].strip("/")
    segments = [base] if base else []
    for segment in found.split("/") if found else []:
        if segment in ("(.*)", "(.+)", "([^/]*)", "([^/]+)", "(\\w+)", "([0-9]+)", "(\\d+)"):
            captures += 1
            many = segment in ("(.*)", "(.+)")
            segments.append(f"{{p{captures}{'...' if many else ''}}}")
        elif any(character in segment for character in "\\^$*+?()[]|{}"):
            return None
        else:
            segments.append(segment)
    if any("..." in segment for segment in segments[:-1]):
        return None
    new = to if to.startswith("/") else f"/{to}"
    for number in range(captures, 0, -1):
        new = new.replace(f"${number}", f"${{match.p{number}}}")
    if "$" in new.replace("${match.", ""):
        return None
    return {"pattern": "/" + "/".join(segments), "path": f"/{base}{new}" if base and strip else new}


def decoded(source: str) -> str:
    try:
        return base64.b64decode(source, validate=True).decode()
    except (ValueError, binascii.Error):
        return source
