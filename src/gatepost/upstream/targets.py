"""A service's targets: whose turn it is, who rests after a failure, and the connections kept to each."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final

from gatepost.config.schema import Service as ServiceConfig
from gatepost.http1.response import ResponseParser
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import Resolver
from gatepost.net.url import parse_url

if TYPE_CHECKING:
    from gatepost.upstream.connection import UpstreamConnection

KEPT: Final = 30.0  # seconds that an idle connection is kept
FRESH: Final = 4.0  # seconds: many servers close at five, and a POST on a connection that closes cannot be retried
OLDEST: Final = 300.0  # seconds that a connection serves: in steady use it would never see that its name has moved
PROBE: Final = 1.0  # seconds between tries while every target rests


class Target:
    """One address of a service. Mutable: its pool and its health; owned by its `Upstream`."""

    __slots__ = ("base", "host", "host_header", "idle", "name", "open", "pool", "port", "rests_until", "tls", "unix")

    def __init__(self, url: str, pool: int, tls: ssl.SSLContext | None) -> None:
        self.name = url
        self.pool = pool
        self.idle: list[UpstreamConnection] = []
        self.open = 0  # connections that stand, idle ones too
        self.rests_until = 0.0
        self.unix = ""
        self.tls: ssl.SSLContext | None = None
        self.host = ""
        self.base = b""
        self.port = 0
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


class Upstream:
    """A service at run time. It outlives a reload that does not change it."""

    __slots__ = (
        "_next",
        "_probe_at",
        "config",
        "connections",
        "deadlines",
        "header_bytes",
        "name",
        "resolver",
        "response_bytes",
        "responses",
        "server_name",
        "targets",
    )

    def __init__(
        self, name: str, config: ServiceConfig, resolver: Resolver, deadlines: Deadlines, tls: ssl.SSLContext | None
    ) -> None:
        self.name = name
        self.config = config
        self.resolver = resolver
        self.deadlines = deadlines
        self.server_name = config.tls.server_name
        self.targets = [Target(url, config.pool, tls) for url in config.targets]
        self.connections: set[UpstreamConnection] = set()
        self._next = 0
        self._probe_at = 0.0
        self.responses = ResponseParser()
        # What each exchange reads of the configuration, at hand.
        self.header_bytes = config.response_header_bytes
        self.response_bytes = config.response_bytes

    def choose(self, tried: tuple[Target, ...] = ()) -> Target | None:
        """The next target in turn that is neither resting nor tried. None: all are down.

        A single target never rests: there is nothing to send to instead. While all rest, one request a second
        tries the one whose rest ends first.
        """
        targets = self.targets
        if len(targets) == 1:
            return None if tried else targets[0]
        now = time.monotonic()
        for _ in targets:
            self._next = (self._next + 1) % len(targets)
            target = targets[self._next]
            if target.rests_until <= now and target not in tried:
                return target
        if not tried and now >= self._probe_at:
            self._probe_at = now + PROBE
            return min(targets, key=lambda t: t.rests_until)
        return None

    def failed(self, target: Target) -> None:
        target.rests_until = time.monotonic() + self.config.rest

    def close_idle(self) -> None:
        for target in self.targets:
            while target.idle:
                target.idle.pop().drop()

    def close(self) -> None:
        """Drop every connection, also those with an exchange under way."""
        for connection in list(self.connections):
            connection.drop()
