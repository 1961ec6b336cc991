"""What Gatepost's own code costs a proxied request, without sockets, without a kernel, beside the floor's.

    python -m bench.hot_path [--only TEXT …] [--profile] [--repeat N]

The tool to see whether a change of a microsecond helped (`support/inner.py` says how it is measured).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path
from typing import Any, cast

import uvloop
from bench.floors import proxy_floor
from bench.gateway import ONE, TWELVE, VARIED
from bench.support import inner, report
from bench.support.inner import Contender
from bench.support.node import full, plain
from bench.support.setups import together

from gatepost.config.schema import AccessLog as LogSettings
from gatepost.server.records import AccessLog

# As those of a service in one second: of one kind, of different lengths.
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n" % length + b"x" * length
    for length in range(1016, 1033)
]
CROWD = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the gateway's own code, without sockets.")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="rows that contain it")
    parser.add_argument("--profile", action="store_true", help="also say where Gatepost's time goes")
    parser.add_argument("--repeat", type=int, default=40, help="runs of which the least counts")
    options = parser.parse_args()
    uvloop.run(_measure(options.repeat, options.only, profile=options.profile))


async def _measure(repeat: int, only: list[str], *, profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        access_log = AccessLog(LogSettings(output=str(directory / "record")))
        kinds = {
            "plain": await inner.gate(directory, plain(9)),
            "full": await inner.gate(directory, full(9, directory / "record"), access_log),
            "together": await inner.gate(directory, together(9)),
        }
        rows = []
        for kind, gate in kinds.items():
            proxy_floor.FEAT = kind == "full"
            line = inner.Line(gate, RESPONSES)
            for name, headers, crowd in (
                ("1 header", ONE if kind == "plain" else TWELVE[-1:], 1),
                ("12 headers", TWELVE, 1),
                ("12 headers, all different", VARIED, CROWD),
            ):
                if only and not any(text in f"{kind}, {name}" for text in only):
                    continue
                requests = [_request(headers, n) for n in range(crowd)]
                floor, gatepost = inner.least([_floor(requests), line.contender(requests)], repeat)
                rows.append(
                    (
                        f"{kind}, {name}",
                        f"{floor:.1f}",
                        f"{gatepost:.1f}",
                        f"{gatepost - floor:.1f}",
                        f"{gatepost / floor:.2f}",
                    )
                )
            if profile and (not only or any(text in kind for text in only)):
                _profile(line.contender([_request(TWELVE, 0)]), kind)
        print(report.table(("µs a request", "floor", "Gatepost", "more", "×"), rows))
        access_log.close()


def _floor(requests: list[bytes]) -> Contender:
    floor = cast("Any", proxy_floor)  # it has no types: it is a floor
    client, server = floor.Down(), floor.Up()
    client.connection_made(inner.Transport())
    server.connection_made(inner.Transport())
    floor.POOL[:] = [server]
    responses = inner.cycle(RESPONSES)

    def send(request: bytes) -> None:
        client.data_received(request)
        server.data_received(next(responses))

    return Contender(send, requests)


def _request(headers: tuple[str, ...], number: int) -> bytes:
    """Number 0 is everybody's; the others differ in path, session and trace."""
    if number:
        path = f"/customers/{number}/orders/{number * 7919 % 100003}"
        headers = (*headers, f"Cookie: session={number * 7919:032x}; theme=dark", f"X-Client-Trace: {number:016x}")
    else:
        path = "/"
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1:8080", *headers, "", ""]).encode()


def _profile(contender: Contender, name: str) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for request in list(contender.requests) * 20_000:
        contender.send(request)
    contender.settle()
    profile.disable()
    print(f"\n{name}: shares, not times; cProfile makes small functions look large")
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
