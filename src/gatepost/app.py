"""The only wiring: what a node is made of, in the order in which it starts and stops.

    start   store → journal → declared objects → deliveries → snapshots → listeners → "ready"
    stop    /ready fails, `drain_delay` → no more accepts → streams end → exchanges finish
            → deliveries → journal → store

Nothing here decides anything about an exchange or a message.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from gatepost import __version__, log
from gatepost.analytics.capture import Captures
from gatepost.analytics.capture_keeper import CaptureKeeper
from gatepost.analytics.keeper import Keeper
from gatepost.analytics.meter import Meter
from gatepost.analytics.scrape import Scrape
from gatepost.analytics.telemetry import Telemetry, open_telemetry
from gatepost.api.late import LateApi
from gatepost.api.paths import OPEN_PATHS, own
from gatepost.api.tokens import load_or_create
from gatepost.bus.local import LocalBus
from gatepost.clock import Clock, SystemClock
from gatepost.compile import Ground, Traffic, check_live, compile_traffic, objects_of, trusted
from gatepost.config.child import load_in_child
from gatepost.config.loading import Loaded
from gatepost.config.schema import Config, Listener
from gatepost.declare import declare
from gatepost.deliveries.engine import Deliveries
from gatepost.destinations.base import Context
from gatepost.destinations.chosen import Destinations
from gatepost.destinations.webhook import WebhookDestination
from gatepost.errors import ConfigError, ConfigIssue, GatepostError
from gatepost.events.create import CreateMessage
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.events.notices import GatewayNotices, own_app
from gatepost.exchange import Route
from gatepost.named import preload
from gatepost.net.cares import CaresLookup
from gatepost.net.deadlines import Deadlines
from gatepost.net.fetch import Fetcher
from gatepost.net.guard import Guard
from gatepost.net.renewal import Renewal
from gatepost.net.resolve import Resolver
from gatepost.notices import SILENT, Facts, Silent
from gatepost.policies.admin_token import AdminToken
from gatepost.policies.cache import storage_of
from gatepost.policies.portal_token import PortalToken
from gatepost.policies.quota_counts import QuotaBook
from gatepost.policies.states import States
from gatepost.realtime.hub import Hub
from gatepost.realtime.sse import Live
from gatepost.retention import Retention
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.listener import Listening
from gatepost.server.probes import Probe
from gatepost.server.records import AccessLog
from gatepost.server.routing import Router
from gatepost.stores import beside, master_key, public_name, store_at
from gatepost.upkeep import Upkeep
from gatepost.upstream import applications, works
from gatepost.vitals import Vitals

if TYPE_CHECKING:
    from fastapi import FastAPI

_T = TypeVar("_T")
_P = TypeVar("_P")

SWITCH_INTERVAL: Final = 0.0005  # seconds; in a busy loop it takes a commit from 6.0 to 1.3 ms
MOMENT: Final = 1.0  # seconds that telemetry has at least to send what is left
WATCH: Final = 1.0  # seconds between two looks at the configuration file
COMPILE_SLICE: Final = 0.0005  # seconds of compiling between two turns of the loop

# What only a restart changes.
_FIXED: Final = (
    "store", "encryption_key", "admin_token_file", "deliveries", "notices", "analytics", "access_log", "telemetry",
    "captures", "destinations",
)  # fmt: skip


class Node:
    """One process. Made and run by `serve`."""

    def __init__(self, file: str, loaded: Loaded) -> None:
        self.file = file
        self.folder = Path(file).resolve().parent  # relative paths in the file count from here
        self.loaded = loaded
        self.config = loaded.config
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = True  # until it has started
        self._again = False
        self._seen = _stamps((file, *loaded.files))
        self.listening: list[Listening] = []  # those of traffic in the file's order, then the control listener
        self.gates: list[Gate] = []  # of the same

    # Start.

    async def start(self) -> None:
        config = self.config
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        path = beside(config.store, self.folder)
        token_file = self.folder / config.admin_token_file if config.admin_token_file else path.with_name("admin.token")

        self.access_log = (
            AccessLog(config.access_log, folder=self.folder) if config.access_log.output != "off" else None
        )
        self.deadlines = Deadlines(loop)
        self.lookup = CaresLookup()
        resolver = Resolver(self.lookup)
        guard = Guard(config.deliveries.allow_networks)

        key = master_key(config.store, self.folder, config.encryption_key)
        self.store = store_at(config.store, self.folder, clock, try_seconds=config.deliveries.timeout, key=key)
        await self.store.open()
        token = load_or_create(token_file)
        ingest = Ingest(self.store, clock)
        self.journal = Journal(path.with_name(path.name + ".journal"), ingest)
        self.destination = WebhookDestination(
            config.deliveries, resolver=resolver, guard=guard, deadlines=self.deadlines, clock=clock, loop=loop
        )
        self.destinations = Destinations(
            self.destination, config.destinations, Context(clock, loop, config.deliveries.response_bytes)
        )
        self.deliveries = Deliveries(self.store, self.destinations, config.deliveries, clock, loop)
        bus = LocalBus()
        self.hub = Hub(self.store.last_id, loop.call_soon)
        bus.listen(self.hub.announce)
        self.deliveries.replays.selects = ingest.selects
        self.store.on_commit(self.deliveries.accept)
        self.store.on_commit(bus.announce)
        self.vitals = Vitals(__version__, loop)
        self.store.on_commit(self.vitals.committed)
        self.live = self._live_of(self.loaded)
        await self.journal.open()
        await declare(config, self.store, clock)
        await self.deliveries.start()

        self.notices = await self._notices_of(config, ingest)
        self.deliveries.reports.reporter = self.notices
        quotas = QuotaBook(await self.store.quota_counts())
        captures = Captures(clock, config.captures.buffer_bytes)
        self.capture_keeper = CaptureKeeper(self.store, captures, config.captures, clock)
        states = States()
        self.cache = storage_of(states)
        self.cache.resize(config.cache.memory)
        self.ground = Ground(
            resolver, self.deadlines, states, self.notices, ingest, self.journal, self.live, Fetcher(resolver),
            self.store.access, quotas, captures,
        )  # fmt: skip
        self.upkeep = Upkeep(self.store, quotas, self.notices, clock)
        self.retention = Retention(self.store, config.retention, clock)
        self.traffic = await _slowly(compile_traffic(self.file, self.loaded, self.ground))
        self._start_upstreams()
        await applications.start(self.traffic.applications.values())
        self.api = LateApi(lambda: self._make_api(clock, guard, ingest))
        admin = AdminToken(sha256(token.encode()).digest(), own)
        portal = PortalToken(admin, self.store.portal_token, self.store.directory)
        control = _control(
            config, self.api, CreateMessage(ingest), admin, portal, Probe(self._wrong),
            Scrape(self.vitals.metrics),
        )  # fmt: skip

        self.meter = self._meter_of(config)
        self.keeper = Keeper(self.store, self.meter, config.analytics, clock) if self.meter is not None else None
        self.telemetry = self._telemetry_of(config)
        for listener in config.listen.traffic:
            self._open(listener, self.traffic.snapshot, self.access_log)
            self.gates[-1].meter = self.telemetry or self.meter
            if config.telemetry is not None and config.telemetry.traces.enabled:
                self.gates[-1].trace(config.telemetry.traces.sample)
        self._open(config.listen.control, control, None)
        for listening in self.listening:
            await listening.open()
        certificates = [each.certificates for each in self.listening if each.certificates is not None]
        self.renewal = Renewal(certificates, self.notices, clock)
        self._look_at(self.loaded.files)
        self.upkeep.start()
        self.capture_keeper.start()
        self.retention.start()
        if self.keeper is not None:
            self.keeper.start()
        self.vitals.start(
            self.listening, self.store, self.deliveries, self.meter, self.access_log, self.telemetry, captures
        )
        if self.telemetry is not None:
            self.telemetry.start()
        gc.collect()
        gc.freeze()  # what a node is made of lives as long as it does
        log.event(
            "ready",
            version=__version__,
            traffic=", ".join(listener.address for listener in config.listen.traffic),
            control=config.listen.control.address,
            store=public_name(config.store, self.folder),
            admin=str(token_file),
        )
        self._may_reload()

    def _open(self, listener: Listener, snapshot: Snapshot, recorder: AccessLog | None) -> None:
        gate = Gate(
            asyncio.get_running_loop(),
            snapshot,
            self.deadlines,
            tls=listener.tls is not None,
            proxy_protocol=listener.proxy_protocol and listener.tls is None,  # with TLS it is read before
            recorder=recorder,
        )
        listening = Listening(listener, gate)
        listening.use(snapshot)
        self.gates.append(gate)
        self.listening.append(listening)

    async def _notices_of(self, config: Config, ingest: Ingest) -> GatewayNotices | Silent:
        if not config.notices.enabled:
            return SILENT
        await own_app(self.store, ingest.clock)
        return GatewayNotices(ingest, asyncio.get_running_loop(), config.notices)

    def _meter_of(self, config: Config) -> Meter | None:
        limit = config.analytics.buffer_samples
        return Meter(SystemClock(), limit=limit, listener=self.vitals.traffic) if config.analytics.enabled else None

    def _telemetry_of(self, config: Config) -> Telemetry | None:
        if config.telemetry is None:
            return None

        def pattern_of(route: str) -> str | None:
            declared = self.loaded.config.routes.get(route)
            return declared.match.path if declared is not None else None

        return open_telemetry(
            config.telemetry, __version__, asyncio.get_running_loop(),
            pattern_of=pattern_of, values=self.vitals.metrics, beside=self.meter,
        )  # fmt: skip

    def _make_api(self, clock: Clock, guard: Guard, ingest: Ingest) -> FastAPI:
        from gatepost.api.control import create_api

        return create_api(
            self.store, clock=clock, version=__version__, deliveries=self.deliveries, guard=guard, cache=self.cache,
            access=lambda: self.traffic.access, notices=self.notices, ingest=ingest, named=self.config.destinations,
        )  # fmt: skip

    def _live_of(self, loaded: Loaded) -> Live | None:
        """Raises ConfigError."""
        check_live(self.file, loaded)
        config = loaded.config.live
        return Live(config, self.hub, self.store, SystemClock()) if config.enabled else None

    def _wrong(self) -> list[str]:
        wrong = []
        if self.stopping.is_set():
            wrong.append("stopping")
        if not self.store.writable:
            wrong.append("the store cannot take writes")
        return wrong

    # While it runs.

    def reload(self) -> None:
        """Read the file again, in another process; swap the snapshot if it is good, keep the running one if not."""
        if self._reloading:
            self._again = True  # the file may have changed behind the reader's back
        elif not self.stopping.is_set():
            self._reloading = True
            self._later(self._reload())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _may_reload(self) -> None:
        self._reloading = False
        if self._again:
            self._again = False
            self.reload()

    async def _reload(self) -> None:
        started = time.monotonic()
        self._seen = _stamps(self._seen)
        gc.disable()  # a full collection while 10,000 routes are made stops the loop for 5 to 10 ms
        try:
            loaded = await load_in_child(self.file)
            live = self.live if loaded.config.live == self.loaded.config.live else self._live_of(loaded)
            ground = self.ground._replace(live=live)
            await _in_thread(preload, objects_of(loaded.config))
            running = self.traffic.applications
            traffic = await _slowly(compile_traffic(self.file, loaded, ground, self.traffic.upstreams, running))
            listeners = [
                (each, settings, await _in_thread(each.read, settings)) for each, settings in self._paired(loaded)
            ]
            await declare(loaded.config, self.store, SystemClock())
            await applications.start(traffic.applications.values())
        except ConfigError as error:
            self._look_at((*self.loaded.files, *error.files))
            for issue in error.issues:
                log.event(
                    "config_refused",
                    level="error",
                    file=self.file,
                    line=issue.line,
                    path=issue.path,
                    reason=issue.reason,
                    kept="the running configuration",
                )
            self._tell_refused(error.issues[0], len(error.issues))
            return
        except (GatepostError, OSError) as error:  # OSError: no process or descriptor left for the child
            log.event("config_refused", level="error", file=self.file, reason=error, kept="the running configuration")
            self._tell_refused(ConfigIssue("", 0, str(error)), 1)
            return
        finally:
            gc.freeze()
            gc.enable()
            self._may_reload()
        old, old_loaded = self.traffic, self.loaded
        for listening, settings, shown in listeners:
            listening.show(settings, shown)
        self._use(traffic, loaded)
        self.ground = ground
        if live is not self.live:
            before, self.live = self.live, live
            if before is not None:
                before.stop()  # its streams come back, under the new rules
        for name, upstream in old.upstreams.items():
            if traffic.upstreams.get(name) is not upstream:
                upstream.stop()
                upstream.close_idle()
        self._start_upstreams()
        gone = [each for name, each in old.applications.items() if traffic.applications.get(name) is not each]
        if gone:
            self._later(applications.stop(gone, loaded.config.shutdown.drain))
        seconds = round(time.monotonic() - started, 3)
        log.event("config_reloaded", file=self.file, routes=len(loaded.config.routes), seconds=seconds)
        facts: Facts = {"file": self.file, "routes": len(loaded.config.routes), "seconds": seconds}
        self.notices.tell("config.reloaded", "config", facts)
        await _slowly(_released(old, old_loaded))

    def _tell_refused(self, first: ConfigIssue, faults: int) -> None:
        facts: Facts = {"file": self.file, "faults": faults, "line": first.line, "path": first.path}
        self.notices.tell("config.refused", "config", {**facts, "reason": first.reason})

    def _start_upstreams(self) -> None:
        """What services do by themselves: checks, look-ups. Those of a reload that goes on are going already."""
        if not self.stopping.is_set():
            for upstream in self.traffic.upstreams.values():
                works.start(upstream, asyncio.get_running_loop())

    def _use(self, traffic: Traffic, loaded: Loaded) -> None:
        fixed = [name for name in _FIXED if getattr(loaded.config, name) != getattr(self.config, name)]
        if not self._same_listeners(loaded):
            fixed.insert(0, "listen")
        if fixed:
            log.event("config_needs_restart", level="warning", settings=", ".join(fixed))
        self.cache.resize(loaded.config.cache.memory)
        self.retention.use(loaded.config.retention)
        self.traffic = traffic
        self.loaded = loaded
        self._look_at(loaded.files)
        *fronts, control = self.listening
        for listening in fronts:
            listening.use(traffic.snapshot)
        control.use(Snapshot(control.gate.snapshot.router, loaded.config.limits, trusted(loaded.config)))
        if self.access_log is not None:
            self.access_log.reopen()

    def _same_listeners(self, loaded: Loaded) -> bool:
        wanted = _listeners(loaded)
        return len(wanted) == len(self.listening) and all(
            listening.may_become(settings) for listening, settings in zip(self.listening, wanted, strict=True)
        )

    def _paired(self, loaded: Loaded) -> list[tuple[Listening, Listener]]:
        """The listeners with what they are to be: their certificates change without a restart, nothing else does."""
        wanted = _listeners(loaded) if self._same_listeners(loaded) else [each.settings for each in self.listening]
        return list(zip(self.listening, wanted, strict=True))

    async def watch(self) -> None:
        """Reload when the file, or one that it names (a certificate, a secret, a schema), has changed and then all of
        them stood still for a moment, so that half a file is not read."""
        last = self._seen = _stamps(self._seen)
        while True:
            await asyncio.sleep(WATCH)
            stamps = _stamps(self._seen)
            if stamps[self.file] is not None and stamps != self._seen and stamps == last:
                self.reload()
            last = stamps
            await self.renewal.look()

    def _look_at(self, files: Iterable[str]) -> None:
        """What to watch from now on. A change of a file that was watched before is still to be seen. Listeners'
        certificates are renewed by themselves: one that is half-written holds up no change of anything else."""
        renewed = {file for each in self.listening if each.certificates for file in each.certificates.files}
        stamps = _stamps((self.file, *(file for file in files if file not in renewed)))
        self._seen = stamps | {file: stamp for file, stamp in self._seen.items() if file in stamps}

    # Stop.

    async def stop(self) -> None:
        """Whatever was acknowledged is kept; whatever is under way gets `drain` seconds."""
        shutdown = self.loaded.config.shutdown
        log.event("stopping", drain_delay=shutdown.drain_delay, drain=shutdown.drain)
        for gate in self.gates:
            gate.draining = True
        for upstream in self.traffic.upstreams.values():
            upstream.stop()  # its checks and look-ups; what is under way goes on
        await asyncio.sleep(shutdown.drain_delay)
        until = time.monotonic() + shutdown.drain
        for listening in self.listening:
            listening.close()
        if self.live is not None:
            self.live.stop()
        await asyncio.gather(*(_drained(gate, until) for gate in self.gates))
        for upstream in self.traffic.upstreams.values():
            upstream.close()
        await applications.stop(self.traffic.applications.values())
        await self.api.shutdown()
        await self.deliveries.stop(max(0.0, until - time.monotonic()))
        self.destinations.close()
        await self.destinations.stop()
        self.lookup.close()
        await self.journal.close()
        await self.upkeep.stop()
        await self.retention.stop()
        await self.capture_keeper.stop()
        if self.keeper is not None:
            await self.keeper.stop()
        if self.telemetry is not None:
            await self.telemetry.stop(max(MOMENT, until - time.monotonic()))
        self.vitals.stop()
        self.notices.close()
        await self.store.close()
        self.deadlines.close()
        if self.access_log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.access_log.close)
        log.event("stopped")


async def serve(file: str, loaded: Loaded) -> None:
    """Run a node until a signal ends it."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    loop = asyncio.get_running_loop()
    node = Node(file, loaded)

    def stop() -> None:
        if node.stopping.is_set():
            log.event("ended", reason="a second signal")
            log.flush()
            os._exit(1)  # at once; the store is whole at any moment
        node.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, node.reload)
    await node.start()
    watching = loop.create_task(node.watch())
    await node.stopping.wait()
    watching.cancel()
    await node.stop()


def _control(
    config: Config, api: LateApi, create: CreateMessage, admin: AdminToken, portal: PortalToken, ready: Probe,
    scrape: Scrape,
) -> Snapshot:  # fmt: skip
    router: Router[Route] = Router()
    router.add("create-message", "/api/v1/app/{app}/msg", Route("create-message", create, (admin,)), methods=["POST"])
    router.add("health", "/health", Route("health", Probe(list)), methods=["GET"])
    router.add("metrics", "/metrics", Route("metrics", scrape, (admin,)), methods=["GET"])
    router.add("ready", "/ready", Route("ready", ready), methods=["GET"])
    for path in OPEN_PATHS:
        router.add(path, path, Route("api", api))
    router.add("api", "/*", Route("api", api, (portal,)))
    return Snapshot(router, config.limits, trusted(config))


async def _slowly(steps: Generator[None, None, _T]) -> _T:
    """Run a long work in slices, so that exchanges go on between them."""
    until = time.perf_counter() + COMPILE_SLICE
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("_T", end.value)
        if time.perf_counter() >= until:
            await asyncio.sleep(0)
            until = time.perf_counter() + COMPILE_SLICE


def _listeners(loaded: Loaded) -> list[Listener]:
    return [*loaded.config.listen.traffic, loaded.config.listen.control]


async def _in_thread(work: Callable[[_P], _T], argument: _P) -> _T:
    """What waits for files does not hold the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work, argument)


def _released(traffic: Traffic, loaded: Loaded) -> Generator[None, None, None]:
    """Let go of a replaced configuration: freed in one go, 10,000 routes stop the loop for 40 ms."""
    yield from traffic.snapshot.router.release()
    sections: list[dict[str, Any]] = [loaded.config.routes, *loaded.lines.entries.values()]
    for section in sections:
        while section:
            section.popitem()
            yield


async def _drained(gate: Gate, until: float) -> None:
    loop = asyncio.get_running_loop()
    empty = loop.create_future()
    gate.empty = lambda: None if empty.done() else empty.set_result(None)
    gate.drain()
    try:
        await asyncio.wait_for(empty, max(0.0, until - time.monotonic()))
    except TimeoutError:
        gate.kill()


def _stamps(files: Iterable[str]) -> dict[str, tuple[int, int, int] | None]:
    return {file: _stamp(file) for file in files}


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None  # between two versions
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
