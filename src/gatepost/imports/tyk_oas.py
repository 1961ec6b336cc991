"""Tyk's OpenAPI definitions: an OpenAPI document with `x-tyk-api-gateway`."""

from __future__ import annotations

from typing import Any

from gatepost.imports.api import Api, Endpoint, Version
from gatepost.imports.foreign import Foreign
from gatepost.imports.tyk_auth import api_key, close, jwt
from gatepost.imports.tyk_words import (
    cached,
    constant,
    cors,
    decoded,
    header_key,
    headers,
    ip,
    leave_unread,
    mock,
    rate_limit,
    refusal,
    rewrite,
    seconds,
)

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def read_oas(document: dict[str, Any], where: str) -> Api:
    """An API that is switched off has no versions, so that no route is made of it."""
    extension = document["x-tyk-api-gateway"]
    info = extension.get("info") if isinstance(extension.get("info"), dict) else {}
    name = str(info.get("name") or (document.get("info") or {}).get("title") or where)
    api = Api(id=str(info.get("id") or name), name=name)
    it = Foreign(extension, name, api.left)
    about = it.below("info")
    about.ignore("id", "dbId", "orgId", "name")
    state = about.below("state")
    if info.get("state") and not state.flag("active"):
        api.note("info.state.active", "It is switched off: no route is made.")
        return api
    if state.flag("internal"):
        api.note("info.state.internal", "There are no routes for other routes alone.", "a listener of its own")
    versioning = about.below("versioning")
    if versioning.flag("enabled"):
        api.note("info.versioning", "Each version is an API: its route is not put under one.", "`version`")
        versioning.ignore(*versioning.names())
    versioning.ignore(*versioning.names())
    if about.text("expiration"):
        api.note("info.expiration", "An API does not end by itself.", "`version.versions.NAME.sunset`")
    _upstream(it.below("upstream"), api)
    server = it.below("server")
    listen = server.below("listenPath")
    api.listen_path, api.strip = listen.text("value", "/"), listen.flag("strip")
    domain = server.below("customDomain")
    if domain.flag("enabled") and (host := domain.text("name")):
        api.hosts = [host.partition(":")[0]]
    domain.ignore("name")
    domain.leave("certificates", "A listener has its certificates.", "`listen.traffic.tls.certificates`")
    access = server.below("ipAccessControl")
    if access.flag("enabled"):
        ip(api, "server.ipAccessControl", access.texts("allow"), access.texts("block"))
    access.ignore("allow", "block")
    server.ignore("slug", "protocol")
    middleware = it.below("middleware")
    version = Version("")
    api.versions.append(version)
    _global(middleware.below("global"), api, version)
    _authentication(server.below("authentication"), document, api)
    operations = middleware.below("operations")
    known = _operations(document)
    for key in operations.names():
        method, path = known.get(key, ("", ""))
        if not path:
            api.note(f"middleware.operations.{key}", "The document has no operation of this name.")
            operations.ignore(key)
            continue
        endpoint = Endpoint(path, method)
        _operation(operations.below(key), endpoint, api)
        version.endpoints.append(endpoint)
    if not api.open:
        api.limits += [{"plan_rate": {}}, {"plan_quota": {}}]
    leave_unread(api, it.unread())
    return api


def _upstream(it: Foreign, api: Api) -> None:
    targets: list[Any] = [it.text("url")]
    balancing = it.below("loadBalancing")
    if balancing.flag("enabled"):
        weighted = [(each.text("url"), max(1, int(each.number("weight")))) for each in balancing.each("targets")]
        same = len({weight for _, weight in weighted}) == 1
        targets = [url if same else {"url": url, "weight": weight} for url, weight in weighted if url] or targets
    balancing.leave("skipUnavailableHosts", "Targets that fail rest by themselves.", "`services.NAME.health`")
    balancing.ignore("targets")
    api.service["targets"] = [target for target in targets if target]
    if it.below("preserveHostHeader").flag("enabled"):
        api.service["host"] = "preserve"
    transport = it.below("tlsTransport")
    if transport.flag("insecureSkipVerify"):
        api.service["tls"] = {"verify": False}
    transport.ignore("minVersion", "maxVersion", "forceCommonNameCheck")
    transport.leave("ciphers", "Ciphers are Mozilla's intermediate ones.")
    rate = it.below("rateLimit")
    if rate.flag("enabled") and rate.number("rate") > 0:
        api.limits.append(
            rate_limit(rate.number("rate"), _duration(rate.text("per")), by=constant(api.id), name="api", shared=True)
        )
    rate.ignore("rate", "per")
    it.below("preserveTrailingSlash").flag("enabled")
    it.ignore_what_is_off()


def _global(it: Foreign, api: Api, version: Version) -> None:
    c = it.below("cors")
    if c.flag("enabled"):
        cors(
            api,
            "middleware.global.cors",
            origins=c.texts("allowedOrigins"),
            methods=c.texts("allowedMethods"),
            allowed=c.texts("allowedHeaders"),
            exposed=c.texts("exposedHeaders"),
            credentials=c.flag("allowCredentials"),
            max_age=c.number("maxAge"),
        )
        c.leave("optionsPassthrough", "A preflight is answered here.", "a route for OPTIONS without `cors`")
        c.ignore("debug")
    else:
        c.ignore(*c.names())
    cache = it.below("cache")
    if cache.flag("enabled") and (cache.flag("cacheAllSafeRequests") or cache.flag("enableUpstreamCacheControl")):
        use: dict[str, Any] = {"identified": "own"}
        if not cache.flag("enableUpstreamCacheControl") and cache.number("timeout") >= 1:
            use["ttl"] = seconds(cache.number("timeout"))
        if names := cache.texts("cacheByHeaders"):
            use["key"] = header_key(names)
        api.policies.append({"cache": use})
        cache.leave("cacheResponseCodes", "What may be cached follows RFC 9111.", "`cache`")
    else:
        cache.ignore(*cache.names())
    cache.ignore("timeout", "cacheAllSafeRequests", "enableUpstreamCacheControl", "controlTTLHeaderName")
    for key, where in (("transformRequestHeaders", "request"), ("transformResponseHeaders", "response")):
        version.policies += _headers(it.below(key), api, f"middleware.global.{key}", where)
    size = it.below("requestSizeLimit")
    if size.flag("enabled") and size.number("value") > 0:
        version.settings["body_bytes"] = int(size.number("value"))
    size.ignore("value")
    logs = it.below("trafficLogs")
    if logs.names() and not logs.flag("enabled"):
        api.settings["access_log"] = False
    it.below("contextVariables").flag("enabled")
    it.below("ignoreCase").flag("enabled")
    it.ignore("skipQuotaReset")
    plugins = [key for key in it.names() if "lugin" in key]
    for key in plugins:
        it.leave(key, "Plugins are not carried over.", "`policy: package.module:Class`, in Python")


def _authentication(it: Foreign, document: dict[str, Any], api: Api) -> None:
    api.open = not it.flag("enabled")
    if api.open:
        it.ignore(*it.names())
        return
    it.ignore("stripAuthorizationData", "baseIdentityProvider", "securityProcessingMode")
    known = ((document.get("components") or {}).get("securitySchemes")) or {}
    schemes = it.below("securitySchemes")
    for name in schemes.names():
        scheme = schemes.below(name)
        if not scheme.flag("enabled"):
            scheme.ignore(*scheme.names())
            continue
        described = known.get(name) if isinstance(known.get(name), dict) else {}
        _scheme(name, scheme, described or {}, api)
    for key, why, nearest in (
        ("hmac", "Its signatures are of another scheme.", "`http_signature` (RFC 9421)"),
        ("oidc", "Discovery is not done.", "`jwt: {jwks_url, issuers, audiences}`"),
        ("custom", "Plugins are not carried over.", "`policy: package.module:Class`, in Python"),
    ):
        child = it.below(key)
        if child.flag("enabled"):
            close(api, f"server.authentication.{key}", why, nearest)
        child.ignore(*child.names())
    if not api.auth:
        close(api, "server.authentication", "No way to identify callers was found in it.", "`api_key`")


def _scheme(name: str, it: Foreign, described: dict[str, Any], api: Api) -> None:
    kind, scheme = described.get("type"), str(described.get("scheme", "")).lower()
    header, query, cookie = (_source(it.below(each)) for each in ("header", "query", "cookie"))
    where, described_name = described.get("in"), str(described.get("name") or "")
    if "source" in it or "signingMethod" in it or "jwksURIs" in it or (kind == "http" and scheme == "bearer"):
        scopes = it.below("scopes")
        scopes.leave("scopeToPolicyMapping", "A scope gives no plan.", "a claim with the plan: `jwt.plan`")
        claims = [*it.texts("subjectClaims"), it.text("identityBaseField")]
        plans = [*it.texts("basePolicyClaims"), it.text("policyFieldName")]
        it.leave("defaultPolicies", "A token without a plan has none.", "`rate_limit` and `quota` of the route")
        jwt(
            api,
            it.path,
            header=header,
            cookie=cookie,
            query=query,
            signing=it.text("signingMethod"),
            source=decoded(it.text("source")),
            urls=[each.text("url") for each in it.each("jwksURIs")],
            identity=claims[0],
            plan=plans[0],
            issuers=it.texts("allowedIssuers"),
            audiences=it.texts("allowedAudiences"),
            skew=max(it.number("expiresAtValidationSkew"), it.number("notBeforeValidationSkew")),
            scope_claim=scopes.text("claimName"),
        )
        it.ignore("skipKid", "clientBaseField", "issuedAtValidationSkew", "idpClientIdMappingDisabled")
    elif kind == "http" and scheme == "basic":
        api.auth.append({"basic": {}})
        api.note(f"{it.path} (passwords)", "Tyk keeps them in Redis.", "`consumers.NAME.basic`, hashed by argon2id")
        if header.lower() not in ("", "authorization") or query or cookie:
            api.note(f"{it.path} (place)", "Logins are read from Authorization.", "`basic`")
        it.ignore("disableCaching", "cacheTTL")
        it.leave("extractCredentialsFromBody", "Logins are read from the header.", "`basic`")
    elif kind == "apiKey":
        api_key(
            api,
            it.path,
            header=header or (described_name if where == "header" else ""),
            query=query or (described_name if where == "query" else ""),
            cookie=cookie or (described_name if where == "cookie" else ""),
        )
        it.leave("enableClientCertificate", "A certificate is no key.", "`any_of: [{api_key: …}, {mtls: …}]`")
        it.leave("signatureValidation", "A signature beside the key is not checked.", "`http_signature`")
    else:
        close(api, it.path, f"`{kind or name}` has no equal here.", "`jwt` or `oauth2_introspection`")
        it.ignore(*it.names())


def _source(it: Foreign) -> str:
    name = it.text("name")
    return name if it.flag("enabled") else ""


def _operations(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    paths = document.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, dict) else None
            if isinstance(operation, dict):
                # Tyk's own name for an operation without one: its path and method.
                found[str(operation.get("operationId") or path.lstrip("/") + method)] = (method.upper(), path)
    return found


def _operation(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    if it.below("ignoreAuthentication").flag("enabled"):
        endpoint.open = True
    if it.below("allow").flag("enabled"):
        endpoint.allowed = True
    if it.below("block").flag("enabled"):
        endpoint.answer = refusal()
    for key in ("allow", "block", "ignoreAuthentication"):
        it.below(key).ignore("ignoreCase")
    for key in ("trackEndpoint",):
        it.below(key).flag("enabled")
    if it.below("doNotTrackEndpoint").flag("enabled"):
        endpoint.settings["access_log"] = False
    method = it.below("transformRequestMethod")
    if method.flag("enabled") and method.text("toMethod"):
        endpoint.policies.append({"method": {"to": method.text("toMethod").upper()}})
    for key, where in (("transformRequestHeaders", "request"), ("transformResponseHeaders", "response")):
        endpoint.policies += _headers(it.below(key), api, f"{it.path}.{key}", where)
    rewriting = it.below("urlRewrite")
    if rewriting.flag("enabled"):
        rewrite(endpoint, api, rewriting.text("pattern"), rewriting.text("rewriteTo"), rewriting.path)
        rewriting.leave("triggers", "A rewrite has no triggers.", "a route with `match.headers`, or `split`")
    cache = it.below("cache")
    if cache.flag("enabled"):
        endpoint.policies.append(cached(cache.number("timeout")))
        cache.leave("cacheByRegex", "A key is an expression here.", "`cache.key`")
        cache.leave("cacheResponseCodes", "What may be cached follows RFC 9111.", "`cache`")
    timeout = it.below("enforceTimeout")
    if timeout.flag("enabled") and timeout.number("value") > 0:
        endpoint.settings["timeouts"] = {"total": seconds(timeout.number("value"))}
    breaker = it.below("circuitBreaker")
    if breaker.flag("enabled"):
        endpoint.service["breaker"] = {
            "share": min(1.0, breaker.number("threshold")) or 0.5,
            "minimum": max(1, int(breaker.number("sampleSize"))),
            "open": seconds(breaker.number("coolDownPeriod") or 10),
        }
    breaker.ignore("halfOpenStateEnabled", "threshold", "sampleSize", "coolDownPeriod")
    size = it.below("requestSizeLimit")
    if size.flag("enabled") and size.number("value") > 0:
        endpoint.settings["body_bytes"] = int(size.number("value"))
    rate = it.below("rateLimit")
    if rate.flag("enabled") and rate.number("rate") > 0:
        endpoint.policies.append(
            rate_limit(rate.number("rate"), _duration(rate.text("per")), by="route.name", name="endpoint")
        )
    answer = it.below("mockResponse")
    if answer.flag("enabled"):
        examples = answer.below("fromOASExamples")
        if examples.flag("enabled"):
            examples.ignore(*examples.names())
            api.note(
                f"{answer.path}.fromOASExamples", "An import has no description at hand.", "`openapi: {mock: true}`"
            )
        fields = {each.text("name"): each.text("value") for each in answer.each("headers")}
        endpoint.answer = mock(int(answer.number("code")), answer.text("body"), fields)
    answer.ignore("code", "body", "headers", "fromOASExamples")
    it.ignore_what_is_off()


def _headers(it: Foreign, api: Api, setting: str, where: str) -> list[dict[str, Any]]:
    if not it.flag("enabled"):
        it.ignore(*it.names())
        return []
    add = {each.text("name"): each.text("value") for each in it.each("add")}
    return headers(api, setting, where, add, it.texts("remove"))


def _duration(text: str) -> float:
    """`1h30m10s` as seconds."""
    total, digits = 0.0, ""
    for character in text:
        if character.isdigit() or character == ".":
            digits += character
        else:
            total += float(digits or 0) * {"h": 3600, "m": 60, "s": 1}.get(character, 0)
            digits = ""
    return total or 1.0
