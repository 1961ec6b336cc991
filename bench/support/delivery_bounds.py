"""What must hold of deliveries: a sick endpoint slows nobody else, and a backlog costs disk, not memory."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import uvloop
from bench.support import filling, machine, receiver, steady
from bench.support.bounds import Bound, Found
from bench.support.node import Node
from bench.support.process import free_port
from bench.support.report import ratio
from bench.support.steady import Latency

ENDPOINTS = 50
RATE = 30.0  # messages a second, 50 deliveries each: about half of what one core does
MIB = 1024 * 1024


def sick_endpoints(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """p99 from a message's request to its receipt by the healthy endpoints, over the same with none sick.

    From the request, not from the 202: a delivery may well arrive before its acknowledgement does.
    """
    rounds = [
        (uvloop.run(_deliver(directory, 10, sick=False)), uvloop.run(_deliver(directory, 10, sick=True)))
        for _ in range(1 if quick else 3)
    ]
    ms = 1e3
    told = "; ".join(
        f"p99 {sick.p99 * ms:.1f} ms, undisturbed {quiet.p99 * ms:.1f} (p50 {sick.p50 * ms:.1f} and "
        f"{quiet.p50 * ms:.1f}, worst {sick.worst * ms:.0f} and {quiet.worst * ms:.0f})"
        for quiet, sick in rounds
    )
    lost = sum(quiet.errors + sick.errors for quiet, sick in rounds)
    detail = (
        f"from request to receipt, {RATE:g} messages/s to {ENDPOINTS} endpoints: {told}; {lost} not received; "
        f"load average {machine.load():.1f}"
    )
    found = ratio([sick.p99 for _, sick in rounds], [quiet.p99 for quiet, _ in rounds])
    return [Found("one endpoint of 50 hangs and one fails", found, 1.5, detail)]


async def _deliver(directory: Path, seconds: float, *, sick: bool) -> Latency:
    loop = asyncio.get_running_loop()
    sent: list[float] = []
    latencies: list[float] = []

    def received(moment: float, body: bytes) -> None:
        latencies.append(moment - sent[json.loads(body)["n"]])

    port = free_port()
    server = await receiver.start(port, received)
    node = Node("sick", directory, {"deliveries": {"allow_networks": ["127.0.0.0/8"], "timeout": "5s"}})
    node.start()
    try:

        def prepare() -> None:
            node.call("POST", "/api/v1/app", {"name": "bench", "uid": "bench"})
            kinds = ["hang", "fail"] if sick else ["hook", "hook"]
            for number, kind in enumerate(kinds + ["hook"] * (ENDPOINTS - 2)):
                node.call("POST", "/api/v1/app/bench/endpoint", {"url": f"http://127.0.0.1:{port}/{kind}/{number}"})

        await loop.run_in_executor(None, prepare)
        token = node.token

        def request() -> bytes:
            body = b'{"eventType":"order.created","payload":{"n":%d,"event":"new_order"}}' % len(sent)
            sent.append(time.monotonic())
            return (
                b"POST /api/v1/app/bench/msg HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (token.encode(), len(body), body)
            )

        # The first seconds open connections and lanes: not what is asked.
        await steady.run(node.control, request, rate=RATE, seconds=2)
        await asyncio.sleep(0.5)
        latencies.clear()
        first = len(sent)
        await steady.run(node.control, request, rate=RATE, seconds=seconds)
        healthy = ENDPOINTS - (2 if sick else 0)
        expected = (len(sent) - first) * healthy
        for _ in range(100):
            if len(latencies) >= expected:
                break
            await asyncio.sleep(0.1)
        return steady.summary(latencies, max(0, expected - len(latencies)))
    finally:
        server.close()
        node.process.stop()
        shutil.rmtree(node.directory)


def start_time(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """A million deliveries wait, all of them due: seconds until the node accepts, and its memory while it works."""
    messages, endpoints = (1_000 if quick else 20_000), ENDPOINTS
    node = Node("backlog", directory, {"deliveries": {"allow_networks": ["127.0.0.0/8"]}})
    began = time.monotonic()
    filling.waiting(
        node.directory / "gatepost.db", messages, [f"http://127.0.0.1:{backend}/hook/{n}" for n in range(endpoints)]
    )
    filled = time.monotonic() - began
    size = sum(file.stat().st_size for file in node.directory.iterdir())
    took = node.start()
    peak = at_once = node.process.rss()
    try:
        for _ in range(10 if quick else 100):
            time.sleep(0.2)
            peak = max(peak, node.process.rss())
        cpu = node.process.cpu()
    finally:
        node.process.stop()
        shutil.rmtree(node.directory)
    name = f"{messages * endpoints:,} waiting deliveries"
    return [
        Found(f"{name}: start, s", took, 5.0, f"filled in {filled:.0f} s, {size / MIB:.0f} MiB on disk"),
        Found(
            f"{name}: resident MiB",
            peak / MIB,
            300.0,
            f"at once {at_once / MIB:.0f}, the greatest of 20 s of delivering; {cpu:.1f} s of CPU",
        ),
    ]


ALL = (Bound("sick", sick_endpoints), Bound("backlog", start_time))
