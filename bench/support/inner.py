"""Gatepost without sockets: its protocols over transports that only remember what was written.

What is measured so is our own code alone. A figure is the least of many short runs, so it hardly moves on a busy
machine; on the wire, two reads, two writes and the loop come on top (about 20 µs).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from gatepost.analytics.meter import Meter
from gatepost.clock import SystemClock
from gatepost.compile import Ground, compile_traffic
from gatepost.config.loading import load
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.net.cares import CaresLookup
from gatepost.net.deadlines import Deadlines
from gatepost.net.fetch import OFFLINE, Fetcher
from gatepost.net.resolve import Resolver
from gatepost.notices import SILENT
from gatepost.policies.states import States
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate
from gatepost.server.records import AccessLog
from gatepost.upstream.connection import UpstreamConnection

ROUND = 500  # requests a run: about 10 ms

Drive = Callable[[bytes], None]


class Transport:
    """Remembers the last write. `certificate` is what the client showed, in DER."""

    def __init__(self, certificate: bytes | None = None) -> None:
        self.last = b""
        self._certificate = certificate

    def write(self, data: bytes) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, **limits: int) -> None:
        pass

    def get_extra_info(self, name: str) -> Any:
        if name == "ssl_object":
            return None if self._certificate is None else self
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        return self._certificate

    def abort(self) -> None:
        pass

    close = pause_reading = resume_reading = abort


async def gate(
    directory: Path, settings: dict[str, Any], access_log: AccessLog | None = None, *, fetcher: Fetcher = OFFLINE
) -> Gate:
    """A gate as the app makes it, analytics included, of settings as `bench.support.node` gives them."""
    loop = asyncio.get_running_loop()
    file = directory / "gatepost.yaml"
    file.write_text(json.dumps({name: value for name, value in settings.items() if name != "access_log"}))
    deadlines = Deadlines(loop)
    # No route of a bench emits: what makes messages is never asked.
    nothing = cast("tuple[Ingest, Journal]", (None, None))
    ground = Ground(Resolver(CaresLookup()), deadlines, States(), SILENT, *nothing, None, fetcher)
    steps = compile_traffic(str(file), load(file), ground)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made = Gate(loop, end.value.snapshot, deadlines, recorder=access_log)
            made.meter = Meter(SystemClock(), limit=100_000)
            return made


class Line:
    """One client's connection through a gate to one kept connection of its service."""

    def __init__(self, gate: Gate, responses: Sequence[bytes], certificate: bytes | None = None) -> None:
        self.client = Transport(certificate)
        self.server = Transport()
        self._gate = gate
        self._connection = Connection(gate)
        self._connection.connection_made(cast("asyncio.BaseTransport", self.client))
        found = gate.snapshot.router.find(b"127.0.0.1", "/", b"GET", cast("Any", {}))
        upstream = cast("Any", found).value.handler.upstream
        self._upstream = UpstreamConnection(upstream, upstream.targets[0])
        self._upstream.connection_made(cast("asyncio.BaseTransport", self.server))
        self._upstream.idle_since = float("inf")  # never too old for a request that must not be sent twice
        upstream.targets[0].idle.append(self._upstream)
        self._responses = cycle(responses)

    async def first(self, request: bytes) -> bytes:
        """Send one that policies may take their time for. What the client gets."""
        self.client.last = self.server.last = b""
        self._upstream.idle_since = float("inf")
        self._connection.data_received(request)
        while not self.client.last:
            await asyncio.sleep(0)
            if self.server.last:
                self._upstream.data_received(next(self._responses))
                self.server.last = b""
        return self.client.last

    def contender(self, requests: Sequence[bytes]) -> Contender:
        """With requests that are answered at once, all by the service or none."""
        received, answered, responses = self._connection.data_received, self._upstream.data_received, self._responses

        def send(request: bytes) -> None:
            received(request)
            answered(next(responses))

        self.server.last = b""
        received(requests[0])
        if forwarded := bool(self.server.last):
            answered(next(responses))
        meter = self._gate.meter
        settle = meter.add_up if isinstance(meter, Meter) else (lambda: None)
        return Contender(send if forwarded else received, requests, settle, forwarded)


class Contender(NamedTuple):
    """One of those that are measured in turn."""

    send: Drive
    requests: Sequence[bytes]
    settle: Callable[[], object] = lambda: None  # what is still to do after many requests, and is part of their cost
    asks: bool = True  # the service, for each


def least(contenders: Sequence[Contender], repeat: int) -> list[float]:
    """µs a request of each, the least of `repeat` runs in turn."""
    found = [float("inf")] * len(contenders)
    sources = [cycle(each.requests) for each in contenders]
    for _ in range(repeat):
        for n, (each, source) in enumerate(zip(contenders, sources, strict=True)):
            chunk = [next(source) for _ in range(ROUND)]
            send = each.send
            began = time.process_time()
            for request in chunk:
                send(request)
            each.settle()
            found[n] = min(found[n], (time.process_time() - began) / ROUND * 1e6)
    return found


def cycle(items: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from items
