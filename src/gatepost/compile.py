"""Config → Snapshot: everything that an exchange needs is decided here, once, so that nothing is decided later.

`compile_traffic` is a generator of steps: it yields after each route, so that a serving loop can go on between two of
them, and returns the snapshot. Every fault is collected and raised at the end, with its path and line.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from typing import Final, NamedTuple, TypeVar

from gatepost.config import schema
from gatepost.config.loading import Loaded
from gatepost.config.schema import Config
from gatepost.errors import ConfigError, ConfigIssue, GatepostError
from gatepost.events.emission import Rule, RuleError, compile_rule
from gatepost.events.emit import Emitter
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.exchange import Handler, Policy, Route
from gatepost.net.addresses import Networks
from gatepost.net.deadlines import Deadlines
from gatepost.net.fetch import OFFLINE, Fetcher
from gatepost.net.resolve import Resolver
from gatepost.net.tls import client_context, server_context
from gatepost.notices import SILENT, Notices
from gatepost.policies import build_policy, check_together
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.states import States
from gatepost.realtime.auth import faults_of
from gatepost.server.gate import Snapshot
from gatepost.server.routing import Router
from gatepost.stores.access import Access
from gatepost.upstream.forward import Forward
from gatepost.upstream.targets import Upstream

_T = TypeVar("_T")

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


class Traffic(NamedTuple):
    """What was compiled. `upstreams` holds those of the last one that did not change, with their connections."""

    snapshot: Snapshot
    upstreams: dict[str, Upstream]


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
    file: str, loaded: Loaded, ground: Ground, known: dict[str, Upstream] | None = None
) -> Generator[None, None, Traffic]:
    """The traffic listener's snapshot. Raises ConfigError with every fault; nothing has changed then."""
    config = loaded.config
    faults = Faults(file, loaded)
    upstreams = _upstreams(config, ground, known or {}, faults)
    router: Router[Route] = Router()
    for name, decl, policies, rules in _routes(config, faults, ground.states, ground.notices, ground.fetcher):
        yield
        upstream = upstreams.get(decl.service)
        if upstream is None:
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
        identity = any(policy.identity_encoding for policy in policies)
        handler = Forward(upstream, prefix=decl.strip_prefix, identity_encoding=identity)
        route = Route(name, handler, tuple(policies), decl.service)
        route.upgrade = decl.upgrade
        route.body_limit = decl.body_bytes
        route.access_log = decl.access_log
        _add(router, name, decl, route, faults)
    if ground.live is not None:
        _add_live(router, config, Route(LIVE_ROUTE, ground.live), faults)
    _ties(router, faults)
    faults.raise_any()
    return Traffic(Snapshot(router, config.limits, trusted(config)), upstreams)


def check(file: str, loaded: Loaded) -> Router[str]:
    """Every fault that compiling would find, without a store or a socket; the router of the routes' names.

    Raises ConfigError.
    """
    config = loaded.config
    faults = Faults(file, loaded)
    router: Router[str] = Router()
    for listener in ("traffic", "control"):
        _listener_tls(listener, getattr(config.listen, listener), faults)
    for name, service in config.services.items():
        _tls(name, service, faults)
    for name, decl, _, _ in _routes(config, faults, States(), SILENT):
        _add(router, name, decl, name, faults)
    if config.live.enabled:
        _add_live(router, config, LIVE_ROUTE, faults)
    _ties(router, faults)
    faults.raise_any()
    return router


def trusted(config: Config) -> Callable[[str], bool] | None:
    return Networks(config.trusted_proxies).contains if config.trusted_proxies else None


def _routes(
    config: Config, faults: Faults, states: States, notices: Notices, fetcher: Fetcher = OFFLINE
) -> Generator[tuple[str, schema.Route, list[Policy], list[Rule]], None, None]:
    try:
        access = Access(config.consumers)
    except ValueError as error:
        access = Access()
        faults.add("consumers", error)
    for name, decl in config.routes.items():
        path = f"routes.{name}"
        context = PolicyContext(name, access, states, notices, fetcher)
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


def _upstreams(config: Config, ground: Ground, known: dict[str, Upstream], faults: Faults) -> dict[str, Upstream]:
    out: dict[str, Upstream] = {}
    for name, service in config.services.items():
        old = known.get(name)
        if old is not None and old.config == service:
            out[name] = old
            continue
        tls = _tls(name, service, faults)
        out[name] = Upstream(name, service, ground.resolver, ground.deadlines, tls)
    return out


def _tls(name: str, service: schema.Service, faults: Faults) -> ssl.SSLContext | None:
    if not any(target.startswith("https:") for target in service.targets):
        return None
    try:
        return client_context(verify=service.tls.verify, ca=service.tls.ca)
    except GatepostError as error:
        faults.add(f"services.{name}.tls", error)
        return None


def _listener_tls(name: str, listener: schema.Listener, faults: Faults) -> None:
    if listener.tls is None:
        return
    try:
        server_context(listener.tls.cert, listener.tls.key)
    except GatepostError as error:
        faults.add(f"listen.{name}.tls", error)


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
