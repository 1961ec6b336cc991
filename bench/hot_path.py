"""What Gatepost's own code costs a proxied request, without sockets, without a kernel, beside the floor's.

    python -m bench.hot_path [--profile] [--repeat N]

Requests and responses go through the protocols of client and upstream over transports that only remember what was
written. A figure is the least of many short runs, so it hardly moves on a busy machine: the tool to see whether a
change of a microsecond helped. On the wire, two reads, two writes and the loop come on top (about 20 µs).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import uvloop
from bench.floors import proxy_floor
from bench.gateway import ONE, TWELVE, VARIED
from bench.support import report
from bench.support.node import full, plain

from gatepost.compile import Ground, compile_traffic
from gatepost.config.loading import load
from gatepost.config.schema import AccessLog as LogSettings
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.net.cares import CaresLookup
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import Resolver
from gatepost.notices import SILENT
from gatepost.policies.states import States
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate
from gatepost.server.records import AccessLog
from gatepost.upstream.connection import UpstreamConnection

# As those of a service in one second: of one kind, of different lengths.
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n" % length + b"x" * length
    for length in range(1016, 1033)
]
ROUND = 500  # requests a run: about 20 ms
CROWD = 10_000


class Transport:
    """Remembers the last write."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def set_write_buffer_limits(self, **limits: int) -> None:
        pass

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def abort(self) -> None:
        pass

    close = pause_reading = resume_reading = abort


Drive = Callable[[bytes], None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the gateway's own code, without sockets.")
    parser.add_argument("--profile", action="store_true", help="also say where Gatepost's time goes")
    parser.add_argument("--repeat", type=int, default=40, help="runs of which the least counts")
    options = parser.parse_args()
    uvloop.run(_measure(options.repeat, profile=options.profile))


async def _measure(repeat: int, *, profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        access_log = AccessLog(LogSettings(output=str(directory / "record")))
        gates = {
            "plain": await _gate(directory, plain(9), None),
            "full": await _gate(directory, full(9, directory / "record"), access_log),
        }
        rows = []
        for kind, gate in gates.items():
            proxy_floor.FEAT = kind == "full"
            ours, floors = _gatepost(gate), _floor()
            for name, headers, crowd in (
                ("1 header", TWELVE[-1:] if kind == "full" else ONE, 1),
                ("12 headers", TWELVE, 1),
                ("12 headers, all different", VARIED, CROWD),
            ):
                requests = [_request(headers, n) for n in range(crowd)]
                floor, gatepost = _least([floors, ours], requests, repeat)
                rows.append(
                    (
                        f"{kind}, {name}",
                        f"{floor:.1f}",
                        f"{gatepost:.1f}",
                        f"{gatepost - floor:.1f}",
                        f"{gatepost / floor:.2f}",
                    )
                )
            if profile:
                _profile(ours, [_request(TWELVE, 0)], kind)
        print(report.table(("µs a request", "floor", "Gatepost", "more", "×"), rows))
        access_log.close()


async def _gate(directory: Path, settings: dict[str, Any], access_log: AccessLog | None) -> Gate:
    loop = asyncio.get_running_loop()
    file = directory / "gatepost.yaml"
    file.write_text(json.dumps(settings))
    deadlines = Deadlines(loop)
    # No route of a bench emits: what makes messages is never asked.
    nothing = cast("tuple[Ingest, Journal]", (None, None))
    ground = Ground(Resolver(CaresLookup()), deadlines, States(), SILENT, *nothing, None)
    steps = compile_traffic(str(file), load(file), ground)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return Gate(loop, end.value.snapshot, deadlines, recorder=access_log)


def _gatepost(gate: Gate) -> Drive:
    client = Connection(gate)
    client.connection_made(cast("asyncio.BaseTransport", Transport()))
    found = gate.snapshot.router.find(b"127.0.0.1", "/", b"GET", cast("Any", {}))
    upstream = cast("Any", found).value.handler.upstream
    server = UpstreamConnection(upstream, upstream.targets[0])
    server.connection_made(cast("asyncio.BaseTransport", Transport()))
    upstream.targets[0].idle.append(server)

    responses = _cycle(RESPONSES)

    def drive(request: bytes) -> None:
        client.data_received(request)
        server.data_received(next(responses))

    drive(_request(TWELVE, 0))
    assert cast("Any", client)._transport.last.startswith(b"HTTP/1.1 200 ")
    return drive


def _floor() -> Drive:
    floor = cast("Any", proxy_floor)  # it has no types: it is a floor
    client, server = floor.Down(), floor.Up()
    client.connection_made(Transport())
    server.connection_made(Transport())
    floor.POOL.append(server)

    responses = _cycle(RESPONSES)

    def drive(request: bytes) -> None:
        client.data_received(request)
        server.data_received(next(responses))

    return drive


def _request(headers: tuple[str, ...], number: int) -> bytes:
    """Number 0 is everybody's; the others differ in path, session and trace."""
    if number:
        path = f"/customers/{number}/orders/{number * 7919 % 100003}"
        headers = (*headers, f"Cookie: session={number * 7919:032x}; theme=dark", f"X-Client-Trace: {number:016x}")
    else:
        path = "/"
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1:8080", *headers, "", ""]).encode()


def _least(drives: list[Drive], requests: list[bytes], repeat: int) -> list[float]:
    """µs a request of each, the least of `repeat` runs in turn."""
    least = [float("inf")] * len(drives)
    source = _cycle(requests)
    for _ in range(repeat):
        chunk = [next(source) for _ in range(ROUND)]
        for n, drive in enumerate(drives):
            began = time.process_time()
            for request in chunk:
                drive(request)
            least[n] = min(least[n], (time.process_time() - began) / ROUND * 1e6)
    return least


def _cycle(requests: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def _profile(drive: Drive, requests: list[bytes], name: str) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for request in requests * 20_000:
        drive(request)
    profile.disable()
    print(f"\n{name}: shares, not times; cProfile makes small functions look large")
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
