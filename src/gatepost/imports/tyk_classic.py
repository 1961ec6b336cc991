"""Tyk's classic API definitions: one flat object each."""

from __future__ import annotations

import base64
import binascii
import json
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

_BOOKKEEPING = (
    *(
        "id",
        "_id",
        "org_id",
        "slug",
        "created_at",
        "updated_at",
        "session_provider",
        "auth_provider",
        "dont_set_quota_on_create",
    ),
    *(
        "enable_context_vars",
        "strip_auth_data",
        "enable_coprocess_auth",
        "proxy_protocol",
        "is_oas",
        "definition_id",
    ),
    *("session_lifetime", "session_lifetime_respects_key_expiration", "cache_options_migrated", "user_group_owners"),
    *("user_owners", "expire_analytics_after", "blacklisted_ips_migrated", "api_model", "version_name"),
)


def read_classic(value: dict[str, Any], where: str) -> Api:
    """An API that is switched off has no versions, so that no route is made of it."""
    api = Api(id=str(value.get("api_id") or value.get("id") or value.get("name") or where), name="")
    api.name = str(value.get("name") or value.get("slug") or api.id)
    it = Foreign(value, api.name, api.left)
    it.ignore("api_id", "name", *_BOOKKEEPING)
    if value.get("active") is False:
        api.note("active", "It is switched off: no route is made.")
        return api
    it.ignore("active")
    _proxy(it.below("proxy"), api)
    if (domain := it.text("domain")) and it.raw("domain_disabled") is not True:
        api.hosts = [domain.partition(":")[0]]
    it.ignore("domain_disabled")
    _auth(it, api)
    _global(it, api)
    _versions(it, api)
    leave_unread(api, it.unread())
    return api


def _proxy(proxy: Foreign, api: Api) -> None:
    api.listen_path = proxy.text("listen_path", "/")
    api.strip = proxy.flag("strip_listen_path")
    targets = [proxy.text("target_url")]
    if proxy.flag("enable_load_balancing"):
        targets = proxy.texts("target_list") or targets
    else:
        proxy.ignore("target_list")
    api.service["targets"] = [target for target in targets if target]
    if proxy.flag("preserve_host_header"):
        api.service["host"] = "preserve"
    if proxy.flag("check_host_against_uptime_tests"):
        api.note("proxy.check_host_against_uptime_tests", "Checks are described otherwise.", "`services.NAME.health`")
    proxy.ignore("disable_strip_slash")
    discovery = proxy.below("service_discovery")
    if discovery.flag("use_discovery_service"):
        api.note("proxy.service_discovery", "A discovery service is not asked.", "`services.NAME.discover: dns`")
    discovery.ignore(*discovery.names())
    transport = proxy.below("transport")
    if transport.flag("ssl_insecure_skip_verify"):
        api.service["tls"] = {"verify": False}
    minimum = transport.number("ssl_min_version")
    if minimum == 772:  # 0x0304
        api.service.setdefault("tls", {})["minimum"] = "1.3"
    transport.ignore("ssl_min_version", "ssl_max_version")
    transport.leave("ssl_ciphers", "Ciphers are Mozilla's intermediate ones.")
    transport.leave("proxy_url", "There is no forward proxy.", "a target that is the proxy")
    transport.ignore("ssl_force_common_name_check")


def _auth(it: Foreign, api: Api) -> None:
    shared, configs = it.below("auth"), it.below("auth_configs")
    settings = configs.below("authToken") if "authToken" in configs else shared
    shared.ignore(*shared.names())
    header = settings.text("auth_header_name", "Authorization")
    query = settings.text("param_name", header) if settings.flag("use_param") else ""
    cookie = settings.text("cookie_name", header) if settings.flag("use_cookie") else ""
    settings.ignore("param_name", "cookie_name", "name", "disable_header")
    signature = settings.below("signature")
    if settings.flag("validate_signature"):
        signature.ignore(*signature.names())
        api.note("auth.validate_signature", "A signature beside the key is not checked.", "`http_signature`")
    else:
        signature.ignore(*signature.names())
    it.ignore("base_identity_provided_by")
    if it.flag("use_keyless"):
        api.open = True
        for other in ("use_standard_auth", "use_basic_auth", "enable_jwt", "use_oauth2", "use_openid"):
            it.ignore(other)
        _unused_auth(it)
        return
    others = False
    if it.flag("enable_jwt"):
        others = True
        scopes = it.below("scopes").below("jwt")
        scope_claim = scopes.text("scope_claim_name") or it.text("jwt_scope_claim_name")
        scopes.leave("scope_to_policy", "A scope gives no plan.", "a claim with the plan: `jwt.plan`")
        it.leave("jwt_scope_to_policy_mapping", "A scope gives no plan.", "a claim with the plan: `jwt.plan`")
        it.leave("jwt_default_policies", "A token without a plan has none.", "`rate_limit` and `quota` of the route")
        place = configs.below("jwt") if "jwt" in configs else shared
        jwt(
            api,
            "enable_jwt",
            header=place.text("auth_header_name"),
            cookie=place.text("cookie_name") if place.flag("use_cookie") else "",
            query=place.text("param_name") if place.flag("use_param") else "",
            signing=it.text("jwt_signing_method"),
            source=decoded(it.text("jwt_source")),
            urls=[each.text("url") for each in it.each("jwt_jwks_uris")],
            identity=it.text("jwt_identity_base_field"),
            plan=it.text("jwt_policy_field_name"),
            skew=max(it.number("jwt_expires_at_validation_skew"), it.number("jwt_not_before_validation_skew")),
            scope_claim=scope_claim,
        )
        it.ignore("jwt_issued_at_validation_skew", "jwt_skip_kid", "jwt_client_base_field")
    if it.flag("use_basic_auth"):
        others = True
        api.auth.append({"basic": {}})
        api.note("use_basic_auth (passwords)", "Tyk keeps them in Redis.", "`consumers.NAME.basic`, hashed by argon2id")
        basic = it.below("basic_auth")
        basic.ignore("disable_caching", "cache_ttl", "body_user_regexp", "body_password_regexp")
        basic.leave("extract_from_body", "Logins are read from the header.", "`basic`")
    if it.flag("enable_signature_checking"):
        others = True
        close(api, "enable_signature_checking", "Its signatures are of another scheme.", "`http_signature` (RFC 9421)")
        it.ignore("hmac_allowed_clock_skew", "hmac_allowed_algorithms")
    if it.flag("use_oauth2"):
        others = True
        close(
            api,
            "use_oauth2",
            "The gateway issues no tokens.",
            "an authorisation server, and `jwt` or `oauth2_introspection`",
        )
        it.ignore("oauth_meta")
    if it.flag("use_openid"):
        others = True
        issuers = []
        for provider in it.below("openid_options").each("providers"):
            issuers.append(provider.text("issuer"))
            provider.ignore("client_ids")
        close(
            api,
            "use_openid",
            f"Discovery is not done ({', '.join(issuers)}).",
            "`jwt: {jwks_url: the provider's jwks_uri, issuers, audiences}`",
        )
        it.ignore("openid_options")
    external = it.below("external_oauth")
    if external.flag("enabled"):
        others = True
        close(api, "external_oauth", "Its providers are not carried over.", "`jwt` or `oauth2_introspection`")
    external.ignore(*external.names())
    for flag in ("use_go_plugin_auth", "enable_coprocess_auth", "custom_plugin_auth_enabled"):
        if it.raw(flag) is True:
            others = True
            close(api, flag, "Plugins are not carried over.", "`policy: package.module:Class`, in Python")
    if it.flag("use_mutual_tls_auth"):
        others = True
        api.auth.append({"mtls": {}})
        api.note(
            "use_mutual_tls_auth", "The listener says whose certificates it trusts.", "`listen.traffic.tls.client_ca`"
        )
    if it.flag("use_standard_auth") or not others:
        api_key(api, "auth", header=header, query=query, cookie=cookie)
    if settings.flag("use_certificate"):
        api.note("auth.use_certificate", "A certificate is no key.", "`any_of: [{api_key: …}, {mtls: …}]`")
    _unused_auth(it)


def _unused_auth(it: Foreign) -> None:
    """What belongs to ways of identifying that are off."""
    for key in it.names():
        if key.startswith(("jwt_", "hmac_")) or key in ("oauth_meta", "openid_options", "basic_auth", "scopes"):
            it.ignore(key)
    configs = it.below("auth_configs")
    for name in configs.names():
        configs.below(name).ignore("name", "disable_header", "use_param", "use_cookie", "use_certificate")
        if name not in ("authToken", "jwt"):
            configs.below(name).leave("auth_header_name", "It is read from Authorization.", "`jwt.header`")
            configs.ignore(name)
    it.ignore("external_oauth", "notifications", "idp_client_id_mapping_disabled")


def _global(it: Foreign, api: Api) -> None:
    c = it.below("CORS")
    if c.flag("enable"):
        cors(
            api,
            "CORS",
            origins=c.texts("allowed_origins"),
            methods=c.texts("allowed_methods"),
            allowed=c.texts("allowed_headers"),
            exposed=c.texts("exposed_headers"),
            credentials=c.flag("allow_credentials"),
            max_age=c.number("max_age"),
        )
        c.leave("options_passthrough", "A preflight is answered here.", "a route for OPTIONS without `cors`")
        c.ignore("debug")
    else:
        c.ignore(*c.names())
    allowed = it.texts("allowed_ips") if it.flag("enable_ip_whitelisting") else []
    denied = it.texts("blacklisted_ips") if it.flag("enable_ip_blacklisting") else []
    it.ignore("allowed_ips", "blacklisted_ips")
    ip(api, "allowed_ips", allowed, denied)
    rate = it.below("global_rate_limit")
    off = it.flag("disable_rate_limit")
    if rate.number("rate") > 0 and rate.number("per") > 0 and not rate.flag("disabled"):
        api.limits.append(
            rate_limit(rate.number("rate"), rate.number("per"), by=constant(api.id), name="api", shared=True)
        )
    rate.ignore("disabled")
    if not api.open and not off:
        api.limits.append({"plan_rate": {}})
    if not api.open and not it.flag("disable_quota"):
        api.limits.append({"plan_quota": {}})
    it.ignore("disable_quota")
    cache = it.below("cache_options")
    if cache.flag("enable_cache"):
        if cache.flag("cache_all_safe_requests") or cache.flag("enable_upstream_cache_control"):
            use: dict[str, Any] = {"identified": "own"}
            if not cache.flag("enable_upstream_cache_control") and cache.number("cache_timeout") >= 1:
                use["ttl"] = seconds(cache.number("cache_timeout"))
            if names := cache.texts("cache_by_headers"):
                use["key"] = header_key(names)
            api.policies.append({"cache": use})
        cache.leave("cache_response_codes", "What may be cached follows RFC 9111.", "`cache`")
        cache.leave(
            "cache_control_ttl_header", "Its own header is not read.", "`Cache-Control: s-maxage` of the service"
        )
    else:
        cache.ignore(*cache.names())
    cache.ignore("cache_timeout", "cache_all_safe_requests", "enable_upstream_cache_control")
    if it.flag("do_not_track"):
        api.settings["access_log"] = False
    for key in ("upstream_certificates", "pinned_public_keys"):
        if it.raw(f"{key}_disabled") is True:
            it.ignore(key)


def _versions(it: Foreign, api: Api) -> None:
    data, definition = it.below("version_data"), it.below("definition")
    versions = data.below("versions")
    names = versions.names()
    single = data.flag("not_versioned") or len(names) <= 1
    default = data.text("default_version")
    if single:
        for name in names[:1]:
            api.versions.append(_version("", versions.below(name), api))
        definition.ignore(*definition.names())
        data.ignore("default_version")
        return
    location = definition.text("location")
    api.version_in = {"header": "header", "url-param": "query", "url": "path"}.get(location, "header")
    api.version_key = definition.text("key")
    api.default_version = default
    definition.ignore("strip_path", "strip_versioning_data", "enabled", "name", "default", "versions")
    definition.leave("fallback_to_default", "An unknown version is 404.", "`version.fallback`")
    definition.leave("url_versioning_pattern", "A version is a whole segment.", "`version.path`")
    for name in names:
        api.versions.append(_version(name, versions.below(name), api))


def _version(name: str, it: Foreign, api: Api) -> Version:
    version = Version(name=name, target=it.text("override_target"))
    it.ignore("name", "use_extended_paths", "ignore_endpoint_case")
    if it.text("expires") in ("", "never") or it.text("expires").startswith("3000"):  # Tyk's own way to say never
        it.ignore("expires")
    else:
        it.leave("expires", "A version does not end by itself.", "`version.versions.NAME.sunset`, `after_sunset: gone`")
    if it.raw("global_headers_disabled") is not True:
        version.policies += headers(
            api, f"{it.path}.global_headers", "request", it.pairs("global_headers"), it.texts("global_headers_remove")
        )
    if it.raw("global_response_headers_disabled") is not True:
        version.policies += headers(
            api,
            f"{it.path}.global_response_headers",
            "response",
            it.pairs("global_response_headers"),
            it.texts("global_response_headers_remove"),
        )
    it.ignore("global_headers", "global_headers_remove", "global_response_headers", "global_response_headers_remove")
    size = it.number("global_size_limit")
    if size > 0 and it.raw("global_size_limit_disabled") is not True:
        version.settings["body_bytes"] = int(size)
    it.ignore("global_size_limit", "global_size_limit_disabled")
    paths = it.below("paths")
    version.endpoints += [Endpoint(path, "", open=True) for path in paths.texts("ignored")]
    version.endpoints += [Endpoint(path, "", allowed=True) for path in paths.texts("white_list")]
    version.endpoints += [Endpoint(path, "", answer=refusal()) for path in paths.texts("black_list")]
    extended = it.below("extended_paths")
    for key, read in _EXTENDED.items():
        for each in extended.each(key):
            if each.flag("disabled"):
                each.ignore(*each.names())
                continue
            # Older definitions name several methods at once, under `method_actions`.
            for method in [each.text("method")] if "method" in each else each.below("method_actions").names() or [""]:
                endpoint = Endpoint(each.text("path"), method.upper())
                read(each, endpoint, api)
                version.endpoints.append(endpoint)
            each.ignore("ignore_case", "disabled", "method_actions")
    version.endpoints += [Endpoint(path, "GET", policies=[cached(None)]) for path in extended.texts("cache")]
    return version


def _ignored(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.open = True
    _reply(it, endpoint)


def _allowed(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.allowed = True
    _reply(it, endpoint)


def _blocked(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.answer = refusal()


def _reply(it: Foreign, endpoint: Endpoint) -> None:
    """A mock of older definitions."""
    actions = it.below("method_actions")
    for name in actions.names():
        action = actions.below(name)
        action.ignore("code", "data", "headers")
        if name.upper() == endpoint.method and action.text("action") == "reply":
            endpoint.answer = mock(int(action.number("code")), action.text("data"), action.pairs("headers"))


def _mocked(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.answer = mock(int(it.number("code")), it.text("body"), it.pairs("headers"))


def _cache(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.policies.append(cached(it.number("timeout")))
    it.leave("cache_key_regex", "A key is an expression here.", "`cache.key`")
    it.leave("cache_response_codes", "What may be cached follows RFC 9111.", "`cache`")


def _request_headers(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    it.ignore("act_on")
    endpoint.policies += headers(api, it.path, "request", it.pairs("add_headers"), it.texts("delete_headers"))


def _response_headers(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    it.ignore("act_on")
    endpoint.policies += headers(api, it.path, "response", it.pairs("add_headers"), it.texts("delete_headers"))


def _timeout(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    if (limit := it.number("timeout")) > 0:
        endpoint.settings["timeouts"] = {"total": seconds(limit)}


def _breaker(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    share = it.number("threshold_percent")
    endpoint.service["breaker"] = {
        "share": min(1.0, share / 100 if share > 1 else share) or 0.5,
        "minimum": max(1, int(it.number("samples"))),
        "open": seconds(it.number("return_to_service_after") or 10),
    }
    it.leave("disable_half_open_state", "A breaker closes after probes.", "`breaker.probes`")


def _rewrite(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    rewrite(endpoint, api, it.text("match_pattern"), it.text("rewrite_to"), it.path)
    if "triggers" in it:
        it.leave("triggers", "A rewrite has no triggers.", "a route with `match.headers`, or `split`")


def _size(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    if (size := it.number("size_limit")) > 0:
        endpoint.settings["body_bytes"] = int(size)


def _method(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    if method := it.text("to_method"):
        endpoint.policies.append({"method": {"to": method.upper()}})


def _untracked(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    endpoint.settings["access_log"] = False


def _tracked(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    """Every route is."""


def _json_schema(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    schema = it.raw("schema")
    packed = it.text("schema_b64")
    if not schema and packed:
        try:
            schema = json.loads(base64.b64decode(packed))
        except (ValueError, binascii.Error):
            api.note(f"{it.path}.schema_b64", "This is no JSON in base64.", "`validate`")
    if isinstance(schema, dict) and schema:
        endpoint.policies.append({"validate": {"body": {"schema": schema}}})
    if it.number("error_response_code") not in (0, 422):
        it.leave("error_response_code", "A violation is 422.", "`errors`")


def _limited(it: Foreign, endpoint: Endpoint, api: Api) -> None:
    if it.number("rate") > 0 and it.number("per") > 0:
        endpoint.policies.append(rate_limit(it.number("rate"), it.number("per"), by="route.name", name="endpoint"))


_EXTENDED = {
    "ignored": _ignored,
    "white_list": _allowed,
    "black_list": _blocked,
    "mock_response": _mocked,
    "advance_cache_config": _cache,
    "transform_headers": _request_headers,
    "transform_response_headers": _response_headers,
    "hard_timeouts": _timeout,
    "circuit_breakers": _breaker,
    "url_rewrites": _rewrite,
    "size_limits": _size,
    "method_transforms": _method,
    "track_endpoints": _tracked,
    "do_not_track_endpoints": _untracked,
    "validate_json": _json_schema,
    "rate_limit": _limited,
}
