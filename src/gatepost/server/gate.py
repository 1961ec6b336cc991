"""What the connections of one listener share. The app owns it; connections read it.

`snapshot` is replaced whole at a reload: an exchange reads it once, when its head is parsed, and keeps that route.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from email.utils import formatdate
from random import random
from typing import Final, Protocol

from gatepost.config.schema import Limits
from gatepost.exchange import Exchange, Handler, Route
from gatepost.http1.request import HeadLimits
from gatepost.net.deadlines import Deadlines
from gatepost.server.errors import ErrorTemplates
from gatepost.server.routing import Router


class Snapshot:
    """The compiled, immutable configuration that an exchange reads."""

    __slots__ = ("errors", "is_trusted", "limits", "router")

    def __init__(
        self,
        router: Router[Route],
        limits: Limits,
        is_trusted: Callable[[str], bool] | None = None,
        errors: ErrorTemplates | None = None,
    ) -> None:
        self.router = router
        self.limits = limits
        self.is_trusted = is_trusted  # None: nobody
        self.errors = errors  # None: problem documents for everyone


class Recorder(Protocol):
    def record(self, x: Exchange, finished: float) -> None: ...


class Member(Protocol):
    """A connection, as the gate knows it."""

    def drain(self) -> None: ...
    def kill(self) -> None: ...


class Identities:
    """Request, trace and span ids from random prefixes and one count: unique, and a tenth of the cost of 24 random
    bytes a request. Every 256 requests the parts that stay are joined anew."""

    __slots__ = ("_count", "_id", "_prefix", "_span", "_trace", "_traceparent")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8).encode()
        self._trace = secrets.token_hex(12).encode()
        self._span = secrets.token_hex(4).encode()
        self._count = 0
        self._renew()

    def next(self) -> tuple[bytes, bytes]:
        """A request id, and the line that begins a trace for it."""
        self._count = count = self._count + 1
        low = _LOW[count & 255]
        if not count & 255:
            self._renew()
        return self._id + low, self._traceparent % (low, low)

    def _renew(self) -> None:
        high = b"%06x" % (self._count >> 8)
        self._id = self._prefix + b"-" + high
        high = high[-6:]  # after 4 billion requests; W3C says how long these are
        self._traceparent = b"traceparent: 00-%b%b%%b-%b%b%%b-01\r\n" % (self._trace, high, self._span, high)


_LOW: Final = [b"%02x" % n for n in range(256)]


class SampledIdentities(Identities):
    """A share of the traces is sampled, and says so; upstreams go by it."""

    __slots__ = ("_share",)

    def __init__(self, share: float) -> None:
        """`share` from 0 to 1."""
        super().__init__()
        self._share = share

    def next(self) -> tuple[bytes, bytes]:
        request_id, line = super().next()
        sampled = random() < self._share  # noqa: S311 -- nothing is kept safe by it
        return request_id, line if sampled else line[:-4] + b"00\r\n"


class Gate:
    """One listener's connections: their shared settings, their count, and their end."""

    __slots__ = (
        "_date",
        "_date_until",
        "connections",
        "deadlines",
        "draining",
        "empty",
        "head_limits",
        "hsts",
        "identities",
        "limits",
        "loop",
        "meter",
        "nowhere",
        "proxy_protocol",
        "recorder",
        "scheme",
        "snapshot",
        "traced",
        "trailers",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        snapshot: Snapshot,
        deadlines: Deadlines,
        *,
        tls: bool = False,
        proxy_protocol: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        self.loop = loop
        self.deadlines = deadlines
        self.scheme = b"https" if tls else b"http"
        self.proxy_protocol = proxy_protocol
        self.hsts = b""  # the line that says so, with its CRLF (RFC 6797)
        self.recorder = recorder
        self.meter: Recorder | None = None  # hears of every exchange, whatever `access_log` says
        self.traced = False  # exchanges have spans of their own: only a trusted peer's trace goes on
        self.connections: set[Member] = set()
        self.draining = False
        self.empty: Callable[[], None] | None = None  # called when the last connection of a draining gate ends
        self.identities = Identities()
        self.nowhere = Route("", _Nowhere())
        self._date = b""
        self._date_until = 0.0
        self.use(snapshot)

    def trace(self, share: float) -> None:
        """From the next head on exchanges have spans of their own; of traces that begin here a share is sampled."""
        self.traced = True
        if share < 1:
            self.identities = SampledIdentities(share)

    def use(self, snapshot: Snapshot) -> None:
        """From the next head on. Exchanges under way keep the snapshot they began with."""
        limits = snapshot.limits
        self.snapshot = snapshot
        self.limits = limits
        self.head_limits = HeadLimits(
            limits.header_bytes,
            limits.header_count,
            limits.target_bytes,
            keep_underscores=limits.allow_underscores,
        )
        self.trailers = frozenset(name.lower().encode() for name in limits.allow_trailers)

    def date(self, now: float) -> bytes:
        """The Date line of this second."""
        if now >= self._date_until:
            self._date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            self._date_until = now + 1.0
        return self._date

    def drain(self) -> None:
        """No more requests: idle connections end now, the others after their exchange."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()
        if not self.connections and self.empty is not None:
            self.empty()

    def kill(self) -> None:
        for connection in list(self.connections):
            connection.kill()

    def leave(self, connection: Member) -> None:
        self.connections.discard(connection)
        if self.draining and not self.connections and self.empty is not None:
            self.empty()


class _Nowhere(Handler):
    """The handler of what matched no route: the connection has answered by itself."""

    def handle(self, x: Exchange) -> None:
        raise AssertionError("an exchange without a route was handled")

    def client_gone(self, x: Exchange) -> None:
        pass
