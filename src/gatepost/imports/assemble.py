"""APIs as services, routes and plans."""

from __future__ import annotations

import re
from typing import Any, Final

from gatepost.imports.api import Api, Endpoint, Version
from gatepost.imports.tyk_words import covers, match_path, plain_prefix

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST: Final = 60
_NOT_ALLOWED: Final[dict[str, Any]] = {"status": 403, "json": {"title": "This endpoint may not be called"}}


class Plan:
    """A plan of callers, as far as it is known before the routes are."""

    def __init__(self, name: str, settings: dict[str, Any], apis: dict[str, list[str]]) -> None:
        self.name = name
        self.settings = settings  # `rate_limits`, `quotas`, `metadata`
        self.apis = apis  # by id: the versions that it opens; none: all


class Assembly:
    """The sections of one gatepost.yaml."""

    def __init__(self, plans: list[Plan]) -> None:
        self.services: dict[str, Any] = {}
        self.routes: dict[str, Any] = {}
        self.plans: dict[str, Any] = {}
        self._plans = plans
        self._opened: dict[tuple[str, str], list[str]] = {}  # (API, version) → its routes

    def add(self, api: Api) -> None:
        if not api.versions:
            return
        service = self._name(api.name, self.services)
        if not api.service.get("targets"):
            api.note(
                "target_url", "It has no target: its routes answer only what is mocked.", "`services.NAME.targets`"
            )
            api.service["targets"] = ["http://127.0.0.1:9"]
        self.services[service] = api.service
        if api.version_in == "query":
            self._add_query_versions(api, service)
            return
        for version in api.versions:
            self._add_version(api, version, service)

    def document(self) -> dict[str, Any]:
        for plan in self._plans:
            routes = [
                route
                for (api, version), names in self._opened.items()
                if api in plan.apis and (not plan.apis[api] or not version or version in plan.apis[api])
                for route in names
            ]
            self.plans[self._name(plan.name, self.plans)] = {"routes": routes, **plan.settings}
        document: dict[str, Any] = {"services": self.services, "routes": self.routes}
        if self.plans:
            document["plans"] = self.plans
        return document

    # routes

    def _add_version(self, api: Api, version: Version, service: str) -> None:
        if version.target:
            own = self._name(f"{api.name}-{version.name or 'target'}", self.services)
            self.services[own] = {**api.service, "targets": [version.target]}
            service = own
        base = "/" + api.listen_path.strip("/") if api.listen_path.strip("/") else ""
        conditions: list[dict[str, str]] = [{}]
        strip = base if api.strip else ""
        if version.name and api.version_in == "path":
            base = strip = f"{base}/{version.name}"
        elif version.name and api.version_in == "header":
            conditions = [{api.version_key or "version": version.name}]
            if version.name == api.default_version:
                conditions.append({})
                api.note("version_data (unknown versions)", "They meet the default one.", "`version`, in a policy")
        groups = self._groups(api, version)
        listed = any(endpoint.allowed for endpoint in version.endpoints)
        for condition in conditions:
            for path, exact, method, endpoints in groups:
                whole = base + path if path != "/" else base or "/"
                match: dict[str, Any] = {"path": whole if exact else f"{whole.rstrip('/')}/*"}
                if api.hosts:
                    match["hosts"] = api.hosts
                if method:
                    match["methods"] = [method]
                if condition:
                    match["headers"] = condition
                route = self._route(api, version, service, match, endpoints, listed=listed)
                if strip:
                    route["strip_prefix"] = strip
                label = f"{service}-{method}-{path}" if endpoints else service
                name = self._name(label.lower(), self.routes)
                self.routes[name] = route
                self._opened.setdefault((api.id, version.name), []).append(name)

    def _groups(self, api: Api, version: Version) -> list[tuple[str, bool, str, list[Endpoint]]]:
        """Paths and methods that differ from the rest, each with everything that Tyk would apply there. The last is
        the rest."""
        for endpoint in version.endpoints:
            _widen_refusal(api, endpoint)
        found: dict[tuple[str, bool, str], list[Endpoint]] = {}
        shapes: set[tuple[str, bool, str]] = set()
        # A path decides before a header does: where one version has a path, each of them must have it.
        every = [each for known in api.versions for each in known.endpoints]
        for endpoint in every if api.version_in == "header" else version.endpoints:
            try:
                path, exact = match_path(endpoint.path)
            except ValueError as error:
                if endpoint in version.endpoints:
                    api.note(
                        f"endpoint {endpoint.method} {endpoint.path}", f"{error}: no route is made.", "`match.path`"
                    )
                continue
            shape = (re.sub(r"\{[^}]*\}", "{}", path), exact, endpoint.method)
            if shape in shapes or (path == "/" and not exact and not endpoint.method):
                continue
            shapes.add(shape)
            found[path, exact, endpoint.method] = [each for each in version.endpoints if covers(each, endpoint)]
        rest = [each for each in version.endpoints if covers(each, Endpoint("/", ""))]
        return [*((*key, endpoints) for key, endpoints in found.items()), ("/", False, "", rest)]

    def _route(
        self,
        api: Api,
        version: Version,
        service: str,
        match: dict[str, Any],
        endpoints: list[Endpoint],
        *,
        listed: bool,
    ) -> dict[str, Any]:
        """Endpoints of a list of what may be called open the rest to nobody."""
        is_open = api.open or any(endpoint.open for endpoint in endpoints)
        answers = [endpoint.answer for endpoint in endpoints if endpoint.answer is not None]
        refused = [answer for answer in answers if answer.get("status") == 403]
        answer = refused[0] if refused else answers[-1] if answers else None
        if listed and answer is None and not any(endpoint.allowed or endpoint.open for endpoint in endpoints):
            answer = _NOT_ALLOWED
        policies = [*api.policies]
        if not is_open:
            policies += api.auth
        policies += self._limits(api, is_open=is_open)
        policies += version.policies
        settings = {**api.settings, **version.settings}
        for endpoint in sorted(endpoints, key=lambda each: len(each.path)):
            policies += [each for each in endpoint.policies if each not in policies]
            settings |= endpoint.settings
            if endpoint.service:
                service = self._variant(service, endpoint.service)
        if answer is not None:
            policies.append({"mock": answer})
        route: dict[str, Any] = {"match": match, "service": service, **settings}
        if policies := _once(policies):
            route["policies"] = policies
        return route

    def _limits(self, api: Api, *, is_open: bool) -> list[dict[str, Any]]:
        """Those of the API, and those that plans bring: whoever has none of these plans has the widest."""
        out: list[dict[str, Any]] = []
        for limit in api.limits:
            kind = "rate_limits" if "plan_rate" in limit else "quotas" if "plan_quota" in limit else ""
            if not kind:
                out.append(limit)
                continue
            known = [use for plan in self._plans if api.id in plan.apis for use in plan.settings.get(kind, {}).values()]
            if known and not is_open:
                widest = max(known, key=lambda use: int(use["limit"]))
                policy = "rate_limit" if kind == "rate_limits" else "quota"
                out.append({policy: {**widest, "by": "consumer.id", "plan": True, "shared": True}})
        return out

    def _variant(self, service: str, more: dict[str, Any]) -> str:
        settings = {**self.services[service], **more}
        for name, known in self.services.items():
            if known == settings:
                return name
        name = self._name(f"{service}-guarded", self.services)
        self.services[name] = settings
        return name

    def _add_query_versions(self, api: Api, service: str) -> None:
        """A match knows no query: one set of routes for all, and a policy that tells the versions apart."""
        default = next((each for each in api.versions if each.name == api.default_version), api.versions[0])
        uses: dict[str, Any] = {}
        for version in api.versions:
            uses[version.name] = {}
            if version.target:
                own = self._name(f"{api.name}-{version.name}", self.services)
                self.services[own] = {**api.service, "targets": [version.target]}
                uses[version.name] = {"service": own}
            if version is not default and (version.endpoints or version.policies or version.settings):
                api.note(
                    f"version_data.versions.{version.name}",
                    "Versions told apart by the query have the endpoints of the default one.",
                    "routes that tell them apart by a header (`match.headers`)",
                )
        use: dict[str, Any] = {"query": api.version_key or "version", "versions": uses}
        if api.default_version in uses:
            use["default"] = api.default_version
        merged = Version("", "", default.endpoints, [{"version": use}, *default.policies], default.settings)
        self._add_version(api, merged, service)

    def _name(self, text: str, taken: dict[str, Any]) -> str:
        stem = _NO_NAME.sub("-", text).strip("-_")[:_LONGEST].strip("-_") or "api"
        return next(name for name in (stem, *(f"{stem[:55]}-{n}" for n in range(2, 100_000))) if name not in taken)


def _widen_refusal(api: Api, endpoint: Endpoint) -> None:
    """What is refused by a regular expression is refused by the path before it: rather too much than too little."""
    if endpoint.answer is None or endpoint.answer.get("status") != 403:
        return
    try:
        match_path(endpoint.path)
    except ValueError as error:
        wide = plain_prefix(endpoint.path)
        if wide != "/":
            api.note(
                f"endpoint {endpoint.method} {endpoint.path}", f"{error}: all of {wide} is refused.", "`match.path`"
            )
            endpoint.path = wide


def _once(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two limits of one route need two names; of several caches the last counts, which is the most specific."""
    names: set[str] = set()
    out: list[dict[str, Any]] = []
    caches = [policy for policy in policies if "cache" in policy]
    for policy in policies:
        if "cache" in policy and policy is not caches[-1]:
            continue
        use = policy.get("rate_limit")
        if use is not None:
            name = use.get("name", "default")
            if name in names:
                name = next(f"{name}-{n}" for n in range(2, 1000) if f"{name}-{n}" not in names)
                policy = {"rate_limit": {**use, "name": name}}
            names.add(name)
        out.append(policy)
    return out
