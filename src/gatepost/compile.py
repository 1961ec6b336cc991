"""Config → Snapshot: everything that an exchange needs is decided here, once, so that nothing is decided later.

`compile_traffic` is a generator of steps: it yields after each route, so that a serving loop can go on between two of
them, and returns the snapshot. Every fault is collected and raised at the end, with its path and line.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from gatepost.analytics import telemetry
from gatepost.analytics.capture import Capture, Captures
from gatepost.analytics.redaction import Redaction
from gatepost.config import schema
from gatepost.config.loading import Loaded
from gatepost.config.policies.combined import CredentialUse
from gatepost.config.schema import Config
from gatepost.config.services import Service
from gatepost.errors import ConfigError, ConfigIssue, GatepostError
from gatepost.events.emission import Rule, RuleError, compile_rule
from gatepost.events.emit import Emitter
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.events.rules import wrong_channel, wrong_event_type
from gatepost.exchange import Exchange, Handler, Policy, Route
from gatepost.model import Secret
from gatepost.named import make_importable
from gatepost.net.addresses import Networks
from gatepost.net.certificates import Certificates
from gatepost.net.deadlines import Deadlines
from gatepost.net.fetch import OFFLINE, Fetcher
from gatepost.net.resolve import Resolver
from gatepost.notices import Notices
from gatepost.policies import build_policy, check_together
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.logins import Login, logins_of
from gatepost.policies.quota_counts import QuotaBook
from gatepost.policies.states import States
from gatepost.realtime.auth import faults_of
from gatepost.server.errors import ErrorTemplate, ErrorTemplates
from gatepost.server.gate import Snapshot
from gatepost.server.routing import Router
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.stores.access import Access, StoredAccess
from gatepost.upstream import tls as upstream_tls
from gatepost.upstream.applications import Application, Mounted
from gatepost.upstream.forward import Forward
from gatepost.upstream.guarded import forwarding
from gatepost.upstream.spread import Mirror, Part, Split, condition, key_of
from gatepost.upstream.targets import Upstream
from gatepost.upstream.versions import ByVersion

_T = TypeVar("_T")
Spread: TypeAlias = "tuple[list[Callable[[Exchange], bool] | None], Callable[[Exchange], str] | None]"

LIVE_ROUTE: Final = "(live)"  # no route of a file can have this name


class Ground(NamedTuple):
    """What snapshots stand on and share: it outlives them all."""

    resolver: Resolver
    deadlines: Deadlines
    states: States
    notices: Notices
    ingest: Ingest
    journal: Journal
    live: Handler | None
    fetcher: Fetcher = OFFLINE
    stored: StoredAccess | None = None  # consumers, keys and plans of the store
    quotas: QuotaBook | None = None
    captures: Captures | None = None


class Traffic(NamedTuple):
    """What was compiled. `upstreams` holds those of the last one that did not change, with their connections."""

    snapshot: Snapshot
    upstreams: dict[str, Upstream]
    access: Access
    applications: dict[str, Application]


class Faults:
    """Collects faults with their lines."""

    def __init__(self, file: str, loaded: Loaded) -> None:
        self._file = file
        self._lines = loaded.lines
        self.issues: list[ConfigIssue] = []

    def add(self, path: str, reason: object) -> None:
        self.issues.append(ConfigIssue(path, self._lines.of(path), str(reason)))

    def raise_any(self) -> None:
        if self.issues:
            raise ConfigError(self._file, sorted(self.issues, key=lambda issue: issue.line))


def compile_traffic(
    file: str,
    loaded: Loaded,
    ground: Ground,
    known: dict[str, Upstream] | None = None,
    running: dict[str, Application] | None = None,
) -> Generator[None, None, Traffic]:
    """The traffic listener's snapshot. Raises ConfigError with every fault; nothing has changed then."""
    config = loaded.config
    faults = Faults(file, loaded)
    upstreams = _upstreams(config, ground, known or {}, faults)
    applications = _applications(file, config, running or {}, faults)
    router: Router[Route] = Router()
    surroundings = _surroundings(config, ground, faults)
    for name, decl, policies, rules in _routes(config, faults, surroundings):
        yield
        if decl.service not in upstreams and decl.service not in applications:
            continue
        if rules:
            policies.append(
                Emitter(
                    rules,
                    ground.ingest,
                    ground.journal,
                    ground.deadlines,
                    route=name,
                    timeout=decl.emit_timeout,
                    body_limit=config.limits.buffered_body_bytes,
                )
            )
        if decl.capture is not None and ground.captures is not None:
            redaction = Redaction((*decl.capture.redact, *_credential_names(decl)))
            policies.append(Capture(decl.capture, redaction, ground.captures))
        identity = any(policy.identity_encoding for policy in policies)
        handler = _handler(name, decl, upstreams, applications, faults, identity_encoding=identity)
        route = Route(name, handler, tuple(policies), decl.service)
        route.upgrade = decl.upgrade
        route.body_limit = decl.body_bytes
        route.access_log = decl.access_log
        _add(router, name, decl, route, faults)
    if ground.live is not None:
        _add_live(router, config, Route(LIVE_ROUTE, ground.live), faults)
    _ties(router, faults)
    errors = _errors(config, faults)
    _telemetry(config, faults)
    _endpoints(config, faults)
    faults.raise_any()
    snapshot = Snapshot(router, config.limits, trusted(config), errors)
    return Traffic(snapshot, upstreams, surroundings.access, applications)


def check(file: str, loaded: Loaded) -> Router[str]:
    """Every fault that compiling would find, without a store or a socket; the router of the routes' names.

    Raises ConfigError.
    """
    config = loaded.config
    faults = Faults(file, loaded)
    router: Router[str] = Router()
    for place, listener in enumerate(config.listen.traffic):
        _listener_tls("traffic" if len(config.listen.traffic) == 1 else f"traffic[{place}]", listener, faults)
    _listener_tls("control", config.listen.control, faults)
    _applications(file, config, {}, faults)
    for name, service in config.services.items():
        _tls(name, service, faults)
        _balance_key(name, service, faults)
    for name, decl in config.routes.items():
        _spread(name, decl, faults)
    for name, decl, _, _ in _routes(config, faults, PolicyContext("", _access(config, faults, None), States())):
        _add(router, name, decl, name, faults)
    if config.live.enabled:
        _add_live(router, config, LIVE_ROUTE, faults)
    _ties(router, faults)
    _errors(config, faults)
    _telemetry(config, faults)
    _endpoints(config, faults)
    faults.raise_any()
    return router


def objects_of(config: Config) -> set[str]:
    """The Python objects that a configuration names: applications, and policies of the user's own."""
    applications = {service.asgi for service in config.services.values() if service.asgi is not None}
    uses = (use for decl in config.routes.values() for use in decl.policies)
    return applications | {use.policy.use for use in uses if use.policy is not None}


def trusted(config: Config) -> Callable[[str], bool] | None:
    return Networks(config.trusted_proxies).contains if config.trusted_proxies else None


def _access(config: Config, faults: Faults, stored: StoredAccess | None) -> Access:
    try:
        return Access(config.consumers, config.plans, stored)
    except ValueError as error:
        faults.add("consumers", error)
        return Access()


def _surroundings(config: Config, ground: Ground, faults: Faults) -> PolicyContext:
    access = _access(config, faults, ground.stored)
    quotas = QuotaBook() if ground.quotas is None else ground.quotas
    return PolicyContext("", access, ground.states, ground.notices, ground.fetcher, quotas=quotas)


def _routes(
    config: Config, faults: Faults, surroundings: PolicyContext
) -> Generator[tuple[str, schema.Route, list[Policy], list[Rule]], None, None]:
    surroundings = msgspec.structs.replace(surroundings, logins=_logins(config, faults))
    for name, decl in config.routes.items():
        path = f"routes.{name}"
        context = msgspec.structs.replace(surroundings, route=name)
        policies: list[Policy] = []
        for place, use in enumerate(decl.policies):
            try:
                policies.append(build_policy(use, context))
            except (ValueError, GatepostError) as error:
                setting = f".{error.setting}" if isinstance(error, SettingFault) else ""
                faults.add(f"{path}.policies[{place}]{setting}", error)
        try:
            check_together(decl.policies)
        except ValueError as error:
            faults.add(f"{path}.policies", error)
        rules: list[Rule] = []
        for place, entry in enumerate(decl.emit):
            try:
                rules.append(compile_rule(entry, place))
            except RuleError as error:
                for setting, reason in error.faults:
                    faults.add(f"{path}.emit[{place}].{setting}", reason)
        yield name, decl, policies, rules


def _logins(config: Config, faults: Faults) -> dict[str, Login]:
    try:
        return logins_of(config.consumers)
    except ValueError as error:
        faults.add("consumers", error)
        return {}


def _upstreams(config: Config, ground: Ground, known: dict[str, Upstream], faults: Faults) -> dict[str, Upstream]:
    out: dict[str, Upstream] = {}
    for name, service in config.services.items():
        if service.asgi is not None:
            continue
        old = known.get(name)
        stamps = upstream_tls.stamps_of(service.tls)
        if old is not None and old.config == service and old.stamps == stamps:
            out[name] = old
            continue
        tls = _tls(name, service, faults)
        key = _balance_key(name, service, faults)
        if service.balance.by is None or key is not None:
            out[name] = Upstream(
                name,
                service,
                ground.resolver,
                ground.deadlines,
                tls,
                notices=ground.notices,
                key=key,
                stamps=stamps,
            )
    return out


def _applications(file: str, config: Config, running: dict[str, Application], faults: Faults) -> dict[str, Application]:
    """Those services that run in this process. What they are made of, and policies too, may stand beside the file."""
    if objects_of(config):
        make_importable(Path(file).resolve().parent)
    out: dict[str, Application] = {}
    for name, service in config.services.items():
        if service.asgi is None:
            continue
        old = running.get(name)
        if old is not None and old.object_name == service.asgi:
            out[name] = old
            continue
        try:
            out[name] = Application(name, service.asgi)
        except ValueError as error:
            faults.add(f"services.{name}.asgi", error)
    inside = {name for name, service in config.services.items() if service.asgi is not None}
    if inside:
        _check_inside(config, inside, faults)
    return out


def _check_inside(config: Config, inside: set[str], faults: Faults) -> None:
    """What routes cannot ask of an application in this process."""
    for name, decl in config.routes.items():
        path = f"routes.{name}"
        for place, part in enumerate(decl.split):
            if part.service in inside:
                faults.add(f"{path}.split[{place}].service", f"{part.service} is an application in this process")
        if decl.mirror is not None and decl.mirror.service in inside:
            faults.add(f"{path}.mirror.service", f"{decl.mirror.service} is an application in this process")
        if decl.service not in inside:
            continue
        for setting in ("split", "timeouts", "upgrade"):
            if getattr(decl, setting) != getattr(_PLAIN, setting):
                faults.add(f"{path}.{setting}", "says nothing to an application in this process: leave it out")


_PLAIN: Final = schema.Route(match=schema.Match(path="/"), service="")


def _tls(name: str, service: Service, faults: Faults) -> ssl.SSLContext | None:
    if not any(target.url.startswith("https:") for target in service.targets):
        return None
    try:
        return upstream_tls.context_of(service.tls)
    except GatepostError as error:
        faults.add(f"services.{name}.tls", error)
        return None


def _balance_key(name: str, service: Service, faults: Faults) -> Callable[[Exchange], str] | None:
    if service.balance.by is None:
        return None
    try:
        return key_of(service.balance.by)
    except ValueError as error:
        faults.add(f"services.{name}.balance.by", error)
        return None


def _handler(
    name: str,
    decl: schema.Route,
    upstreams: dict[str, Upstream],
    applications: dict[str, Application],
    faults: Faults,
    *,
    identity_encoding: bool,
) -> Handler:
    """The route's services in one another: a copy is made first, then it is chosen who answers."""

    def to(service: str) -> Forward:
        upstream = upstreams[service]
        timeouts = decl.timeouts.over(upstream.config.timeouts)
        return forwarding(upstream, prefix=decl.strip_prefix, identity_encoding=identity_encoding, timeouts=timeouts)

    def to_any(service: str) -> Handler:
        if service in applications:
            return Mounted(applications[service], prefix=decl.strip_prefix, identity_encoding=identity_encoding)
        return to(service)

    handler = to_any(decl.service)
    spread = _spread(name, decl, faults)
    others = {part.service for part in decl.split} | ({decl.mirror.service} if decl.mirror is not None else set())
    if spread is None or not others <= upstreams.keys():
        return handler  # a fault was found: none of it will serve
    whens, key = spread
    if decl.split and decl.service in upstreams:
        parts = [
            Part(to(part.service), when, part.percent or 0.0) for part, when in zip(decl.split, whens, strict=True)
        ]
        handler = Split(to(decl.service), parts, key)
    versions = {
        version: to_any(declared.service)
        for use in decl.policies
        if use.version is not None
        for version, declared in use.version.versions.items()
        if declared.service in upstreams or declared.service in applications
    }
    if versions:
        handler = ByVersion(handler, versions)
    if decl.mirror is not None:
        mirror = decl.mirror
        handler = Mirror(handler, to(mirror.service), mirror.percent, mirror.body_bytes, mirror.concurrency)
    return handler


def _spread(name: str, decl: schema.Route, faults: Faults) -> Spread | None:
    """The conditions of a route's split, one for each part, and its key; None where one of them is at fault."""
    whens: list[Callable[[Exchange], bool] | None] = []
    found = len(faults.issues)
    for place, part in enumerate(decl.split):
        try:
            whens.append(condition(part.when) if part.when is not None else None)
        except ValueError as error:
            faults.add(f"routes.{name}.split[{place}].when", error)
    key: Callable[[Exchange], str] | None = None
    try:
        key = key_of(decl.split_by) if decl.split_by is not None else None
    except ValueError as error:
        faults.add(f"routes.{name}.split_by", error)
    return (whens, key) if len(faults.issues) == found else None


def _listener_tls(name: str, listener: schema.Listener, faults: Faults) -> None:
    if listener.tls is None:
        return
    try:
        Certificates(listener.tls)
    except GatepostError as error:
        faults.add(f"listen.{name}.tls", error)


def _endpoints(config: Config, faults: Faults) -> None:
    """What is declared of apps, by the rules that the API has too."""
    for app, decl in config.apps.items():
        for place, endpoint in enumerate(decl.endpoints):
            path = f"apps.{app}.endpoints[{place}]"
            for n, event_type in enumerate(endpoint.event_types or ()):
                if wrong := wrong_event_type(event_type.removesuffix(".*")):
                    faults.add(f"{path}.event_types[{n}]", wrong)
            for n, channel in enumerate(endpoint.channels or ()):
                if wrong := wrong_channel(channel):
                    faults.add(f"{path}.channels[{n}]", wrong)
            if endpoint.secret is not None:
                try:
                    STANDARD_WEBHOOKS.signer([Secret(str(endpoint.secret))])
                except GatepostError as error:
                    faults.add(f"{path}.secret", error)


def _errors(config: Config, faults: Faults) -> ErrorTemplates | None:
    out: dict[str, dict[str, ErrorTemplate]] = {}
    for status, templates in config.errors.items():
        out[status] = {}
        for media_type, text in templates.items():
            try:
                out[status][media_type] = ErrorTemplate(media_type, text)
            except GatepostError as error:
                faults.add(f"errors.{status}.{media_type}", error)
    return ErrorTemplates(out) if out else None


def _credential_names(decl: schema.Route) -> set[str]:
    """Where the callers of a route put their credentials: fields, parameters and cookies."""
    uses: list[object] = list(decl.policies)
    names: set[str] = set()
    while uses:
        use = uses.pop()
        for kind in ("any_of", "all_of"):
            uses += getattr(getattr(use, kind, None), "policies", ())
        for way in CredentialUse.__struct_fields__:
            settings = getattr(use, way, None)
            names |= {name for place in _CARRIERS if isinstance(name := getattr(settings, place, None), str)}
    return names


_CARRIERS: Final = ("header", "query", "cookie")


def _telemetry(config: Config, faults: Faults) -> None:
    for setting, reason in telemetry.faults_of(config.telemetry):
        faults.add(f"telemetry{setting}", reason)


def _add(router: Router[_T], name: str, decl: schema.Route, value: _T, faults: Faults) -> None:
    match = decl.match
    try:
        router.add(name, match.path, value, hosts=match.hosts, methods=match.methods, headers=match.headers)
    except ValueError as error:
        faults.add(f"routes.{name}.match", error)


def _add_live(router: Router[_T], config: Config, value: _T, faults: Faults) -> None:
    try:
        router.add(LIVE_ROUTE, config.live.path, value)
    except ValueError as error:
        faults.add("live.path", error)
    _live(config, faults)


def check_live(file: str, loaded: Loaded) -> None:
    """What must hold before live streams can be made. Raises ConfigError."""
    faults = Faults(file, loaded)
    _live(loaded.config, faults)
    faults.raise_any()


def _live(config: Config, faults: Faults) -> None:
    for setting, reason in faults_of(config.live):
        faults.add(f"live.{setting}", reason)


def _ties(router: Router[_T], faults: Faults) -> None:
    for tie in router.ties:
        names = [name for name in (tie.b, tie.a) if name != LIVE_ROUTE]
        other = tie.a if names[0] == tie.b else tie.b
        faults.add(f"routes.{names[0]}.match", f"ties with {other!r}: {tie.why}")
