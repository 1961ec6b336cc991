"""A service's targets: how each of them is, whose turn it is, and the connections kept to each."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from gatepost import log
from gatepost.config.services import Service as ServiceConfig
from gatepost.exchange import Exchange
from gatepost.http1.response import ResponseParser
from gatepost.net.deadlines import NEVER, Deadlines
from gatepost.net.resolve import Resolver
from gatepost.net.url import parse_url
from gatepost.notices import SILENT, Notices
from gatepost.upstream import breaker, ejection, retries
from gatepost.upstream.balance import Balance, HashRing, LeastRequests, RoundRobin
from gatepost.upstream.health import TRANSITIONS, Event, Health
from gatepost.upstream.tls import Stamps

if TYPE_CHECKING:
    from gatepost.upstream.connection import UpstreamConnection

KEPT: Final = 30.0  # seconds that an idle connection is kept
FRESH: Final = 4.0  # seconds: many servers close at five, and a POST on a connection that closes cannot be retried
OLDEST: Final = 300.0  # seconds that a connection serves: in steady use it would never see that its name has moved
PROBE: Final = 1.0  # seconds between tries while every target rests


class Target:
    """One address of a service. Mutable: its pool and its health; owned by its `Upstream`."""

    __slots__ = (
        "address",
        "base",
        "conduct",
        "dialling",
        "health",
        "host",
        "host_header",
        "idle",
        "name",
        "open",
        "pool",
        "port",
        "rests_until",
        "tls",
        "unix",
        "weight",
    )

    def __init__(
        self, url: str, pool: int, tls: ssl.SSLContext | None, *, weight: int = 1, address: str | None = None
    ) -> None:
        """`address`: the one of its name's addresses that is meant; None: whichever answers."""
        self.name = url if address is None else f"{url} at {address}"
        self.weight = weight
        self.pool = pool
        self.idle: list[UpstreamConnection] = []
        self.open = 0  # connections that stand, idle ones too
        self.dialling = 0  # connections that are being made
        self.health = Health.UP
        self.rests_until = 0.0  # monotonic seconds; NEVER while its checks fail
        self.conduct: ejection.Conduct | None = None
        self.unix = ""
        self.tls: ssl.SSLContext | None = None
        self.host = ""
        self.base = b""
        self.port = 0
        self.address = address
        if url.startswith("unix:"):
            self.unix = url.removeprefix("unix:")
            self.host_header = b"localhost"
            return
        parsed = parse_url(url)
        self.base = parsed.target.rstrip(b"/")
        self.tls = tls if parsed.tls else None
        self.host = parsed.host
        self.port = parsed.port
        self.host_header = parsed.host_header

    @property
    def busy(self) -> int:
        """Exchanges and tunnels under way: connections that are not idle. So nothing is counted on the hot path."""
        return self.open + self.dialling - len(self.idle)

    def take(self, *, fresh: bool) -> UpstreamConnection | None:
        """An idle connection, the last one used first. `fresh`: only one that was used a moment ago."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                if fresh and time.monotonic() - connection.idle_since > FRESH:
                    idle.append(connection)
                    return None
                return connection
        return None

    def close_idle(self) -> None:
        while self.idle:
            self.idle.pop().drop()


class Work(Protocol):
    """What goes on beside the exchanges of a service: checks, look-ups, watching files."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def members(self) -> None:
        """The service has other targets than before."""
        ...


class Upstream:
    """A service at run time. It outlives a reload that does not change it, and with it what it knows of its targets.

    What an upstream does by itself (`works`) begins with `start` and ends with `stop`.
    """

    __slots__ = (
        "_probe_at",
        "_works",
        "balance",
        "breaker",
        "budget",
        "config",
        "connections",
        "deadlines",
        "header_bytes",
        "name",
        "notices",
        "resolver",
        "response_bytes",
        "responses",
        "retries",
        "server_name",
        "sole",
        "stamps",
        "started",
        "targets",
        "tls",
    )

    def __init__(
        self,
        name: str,
        config: ServiceConfig,
        resolver: Resolver,
        deadlines: Deadlines,
        tls: ssl.SSLContext | None,
        *,
        notices: Notices = SILENT,
        key: Callable[[Exchange], str] | None = None,
        stamps: Stamps = (),
    ) -> None:
        """`key` is what `balance.by` says of an exchange, `stamps` are those of the files that `tls` was made of."""
        self.name = name
        self.config = config
        self.resolver = resolver
        self.deadlines = deadlines
        self.notices = notices
        self.server_name = config.tls.server_name
        self.tls = tls
        self.stamps = stamps
        self.connections: set[UpstreamConnection] = set()
        self._probe_at = 0.0
        self._works: Sequence[Work] = ()
        self.started = False
        self.responses = ResponseParser()
        self.balance = _balance(config, key)
        self.breaker = breaker.Breaker(config.breaker, self._breaker_changed) if config.breaker else None
        self.retries = retries.Rule(config.retries) if config.retries else None
        self.budget = retries.Budget(config.retries.budget, config.retries.least_budget) if config.retries else None
        # What each exchange reads of the configuration, at hand.
        self.header_bytes = config.response_header_bytes
        self.response_bytes = config.response_bytes
        self.targets: list[Target] = []
        self.sole: Target | None = None  # the only one that there is and will be, and that is never down
        self.use([Target(each.url, config.pool, tls, weight=each.weight) for each in config.targets])

    # Targets.

    def use(self, targets: list[Target]) -> None:
        """These are its targets from now on. What goes to others ends as it would."""
        gone = [target for target in self.targets if target not in targets]
        self.targets = targets
        fixed = self.config.discover is None and self.config.health is None
        self.sole = targets[0] if fixed and len(targets) == 1 else None
        self.balance.members(targets)
        for target in gone:
            target.pool = 0
            target.close_idle()
        for work in self._works:
            work.members()

    def choose(self, tried: tuple[Target, ...] = (), x: Exchange | None = None) -> Target | None:
        """The next target that is neither resting nor tried. None: all are down.

        While all rest, one request a second tries the one whose rest ends first; never one that its checks took out.
        """
        if self.sole is not None:
            return None if tried else self.sole
        now = time.monotonic()
        usable = [target for target in self.targets if target.rests_until <= now and target not in tried]
        if usable:
            return usable[0] if len(usable) == 1 else self.balance.choose(usable, x)
        if not tried and now >= self._probe_at:
            resting = [target for target in self.targets if target.rests_until is not NEVER]
            if resting:
                self._probe_at = now + PROBE
                return min(resting, key=lambda target: target.rests_until)
        return None

    def turn(self, target: Target, event: Event, reason: str = "", rest: float = 0.0) -> None:
        """Something was seen of a target. `rest`: for how many seconds it is left alone."""
        before = target.health
        after = TRANSITIONS.get((before, event))
        if after is None:
            return
        target.health = after
        if after is Health.UP:
            target.rests_until = 0.0
        elif after is Health.DOWN:
            target.rests_until = NEVER
            target.close_idle()
        else:
            target.rests_until = time.monotonic() + rest if len(self.targets) > 1 else 0.0
        if (before is Health.UP) != (after is Health.UP):
            self._tell(target, up=after is Health.UP, reason=reason or event.value)

    def failed(self, target: Target, reason: str) -> None:
        """No connection to it could be made."""
        self.turn(target, Event.CONNECT_FAILED, reason, self.config.rest)

    def answered(self, target: Target, *, bad: bool) -> None:
        """It answered, or broke its answer off."""
        settings = self.config.ejection
        if settings is None:
            return
        now = time.monotonic()
        if target.health is Health.EJECTED and target.rests_until > now:
            return  # what was on its way when it was ejected is no news
        conduct = target.conduct
        if conduct is None:
            conduct = target.conduct = ejection.Conduct(settings.window)
        rest = ejection.judge(settings, conduct, now, bad=bad)
        if rest:
            out = [each for each in self.targets if each.health is Health.EJECTED and each.rests_until > now]
            others = len(out) - (target in out)
            if others + 1 <= math.floor(settings.most * len(self.targets)):
                ejection.ejected(conduct, now, rest)
                self.turn(target, Event.BAD_ANSWERS, rest=rest)
        elif not bad and target.health is Health.EJECTED:
            self.turn(target, Event.GOOD_ANSWER)

    def _tell(self, target: Target, *, up: bool, reason: str) -> None:
        facts: dict[str, str | int | float | bool | None] = {"service": self.name, "target": target.name}
        if up:
            log.event("target_up", service=self.name, target=target.name)
            self.notices.tell("target.up", f"target:{self.name} {target.name}", facts)
        else:
            log.event("target_down", level="warning", service=self.name, target=target.name, reason=reason)
            self.notices.tell("target.down", f"target:{self.name} {target.name}", {**facts, "reason": reason})

    def _breaker_changed(self, state: breaker.State, total: int, failures: int) -> None:
        facts: dict[str, str | int | float | bool | None] = {"service": self.name}
        if state is breaker.State.OPEN:
            log.event("breaker_opened", level="warning", service=self.name, tries=total, failures=failures)
            facts |= {"tries": total, "failures": failures}
            self.notices.tell("breaker.opened", f"service:{self.name}", facts)
        elif state is breaker.State.CLOSED:
            log.event("breaker_closed", service=self.name)
            self.notices.tell("breaker.closed", f"service:{self.name}", facts)

    # Life.

    def start(self, works: Iterable[Work] = ()) -> None:
        """It serves from now on. `works` are what it does by itself; once, however often it is called."""
        if not self.started:
            self.started = True
            self._works = tuple(works)
            for work in self._works:
                work.start()

    def stop(self) -> None:
        """No more checks and look-ups: the node is stopping, or another upstream has taken over."""
        for work in self._works:
            work.stop()
        self._works = ()

    def close_idle(self) -> None:
        for target in self.targets:
            target.close_idle()

    def close(self) -> None:
        """Drop every connection, also those with an exchange under way."""
        self.stop()
        for connection in list(self.connections):
            connection.drop()


def _balance(config: ServiceConfig, key: Callable[[Exchange], str] | None) -> Balance:
    if config.balance.method == "least_requests":
        return LeastRequests()
    if config.balance.method == "hash":
        assert key is not None
        return HashRing(key, config.balance.bound)
    return RoundRobin()
