"""What must hold whatever the figures of the day are: p99 beside a reload, long lists, a slow question and a stalled
reader of records, and flat memory."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop
from bench.support import filling, machine, steady, wrk
from bench.support.node import Node, many_routes, plain
from bench.support.report import ratio
from bench.support.steady import Latency

STALL = 4.0  # seconds in which nobody reads the records: a pipe holds 64 KiB, some 200 of them
RATE = 1_000.0  # requests a second
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
LUA = Path(__file__).parent / "lua"


class Found(NamedTuple):
    """One bound and what was measured."""

    name: str
    value: float
    bound: float
    detail: str

    def __str__(self) -> str:
        verdict = "held" if self.value <= self.bound else "MISSED"
        return f"{self.name}: {verdict}, {self.value:.2f} (bound {self.bound:g}); {self.detail}"


class Bound(NamedTuple):
    name: str
    measure: Callable[..., list[Found]]  # (directory, backend port, *, quick)


def reload_p99(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """p99 while 10,000 routes are reloaded, over the quiet p99 just before, at a steady load."""
    node = Node("reload", directory, many_routes(backend, 10_000))
    node.start()
    try:
        rounds = uvloop.run(_rounds(node, lambda: _reload(node), 1 if quick else 3))
    finally:
        node.process.stop()
    return [_ratio("p99 while 10,000 routes are reloaded", rounds)]


def list_p99(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """p99 of traffic while 100,000 attempts are listed, page after page of 250, over the quiet p99 just before."""
    node = Node("lists", directory, plain(backend))
    number = 10_000 if quick else 100_000
    app, endpoint = filling.attempts(node.directory / "gatepost.db", number)
    node.start()
    try:
        rounds = uvloop.run(_rounds(node, lambda: _list(node, app, endpoint, number), 1 if quick else 3))
    finally:
        node.process.stop()
    return [_ratio(f"p99 while {number:,} attempts are listed", rounds)]


def analytics_p99(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """p99 of traffic while a month of hours of 200 consumers is summed up, answer after answer, over the quiet p99."""
    node = Node("analytics", directory, plain(backend))
    since = filling.analytics(node.directory / "gatepost.db", hours=48 if quick else 720, consumers=200)
    node.start()
    try:
        rounds = uvloop.run(_rounds(node, lambda: _ask_analytics(node, since), 1 if quick else 3))
    finally:
        node.process.stop()
    return [_ratio("p99 while a month of analytics is asked for", rounds)]


def stalled_log_p99(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """p99 of traffic while nobody reads the pipe that access records are written to, so that it fills and records are
    dropped, over the p99 while somebody does."""
    pipe = directory / "records"
    os.mkfifo(pipe)
    reader = _Reader(pipe)
    settings = plain(backend) | {"access_log": {"output": str(pipe), "buffer_records": 1_000}}
    node = Node("stalled", directory, settings)
    node.start()
    try:
        rounds = uvloop.run(_rounds(node, reader.stall, 1 if quick else 3))
    finally:
        node.process.stop()
        reader.close()
    assert b'"dropped":' in reader.end, "nothing stalled"
    return [_ratio("p99 while nobody reads the access records", rounds)]


class _Reader(threading.Thread):
    """Reads a pipe, except while it is told to stall."""

    def __init__(self, pipe: Path) -> None:
        super().__init__(daemon=True)
        self._descriptor = os.open(pipe, os.O_RDWR)  # both ends: it opens without the other side, and never ends
        self._closed = False
        self._flows = threading.Event()
        self._flows.set()
        self.end = b""
        self.start()

    def run(self) -> None:
        while not self._closed:
            self._flows.wait()
            if select.select([self._descriptor], [], [], 0.1)[0]:
                data = os.read(self._descriptor, 65_536)
                if b'"dropped":' in data:
                    self.end = data

    def stall(self) -> None:
        self._flows.clear()
        time.sleep(STALL)
        self._flows.set()

    def close(self) -> None:
        self._closed = True
        self.join()
        os.close(self._descriptor)


async def _rounds(node: Node, disturb: Callable[[], None], rounds: int) -> list[tuple[Latency, Latency]]:
    """Latencies: quiet, then while `disturb` runs (in a thread: it waits for the node), and so on."""
    loop = asyncio.get_running_loop()
    await steady.run(node.traffic, REQUEST, rate=RATE, seconds=1)
    found = []
    for _ in range(rounds):
        quiet = await steady.run(node.traffic, REQUEST, rate=RATE, seconds=3)
        over = asyncio.Event()
        disturbing = loop.run_in_executor(None, disturb)
        disturbing.add_done_callback(lambda _, over=over: over.set())  # type: ignore[misc]
        busy = await steady.run(node.traffic, REQUEST, rate=RATE, until=over)
        await disturbing
        found.append((quiet, busy))
    return found


def _reload(node: Node) -> None:
    seen = node.process.said().count("config_reloaded")
    node.process.signal(signal.SIGHUP)
    while node.process.said().count("config_reloaded") == seen:
        time.sleep(0.02)


def _ask_analytics(node: Node, since: str) -> None:
    for question in ("series?span=hour&", "consumers?limit=1000&", "routes?"):
        assert node.call_raw("GET", f"/api/v1/analytics/{question}since={since}")


def _list(node: Node, app: str, endpoint: str, number: int) -> None:
    seen, iterator, done = 0, "", False
    while not done:
        query = f"?limit=250{f'&iterator={iterator}' if iterator else ''}"
        page = node.call_raw("GET", f"/api/v1/app/{app}/attempt/endpoint/{endpoint}{query}")
        seen += page.count(b'"id":"atmpt_')
        ends = json.loads(b'{"done"' + page.rpartition(b'"done"')[2])
        iterator, done = ends["iterator"], ends["done"]
    assert seen == number, (seen, number)


def memory(directory: Path, backend: int, *, quick: bool) -> list[Found]:
    """Resident memory after a million requests with a million different keys, over that after the first 300,000: the
    limit's window is 5 s, so that keys expire all the while."""
    settings = plain(backend)
    limit = {"limit": 10, "window": "5s", "by": "request.headers['x-client']"}
    settings["routes"]["all"]["policies"] = [{"rate_limit": limit}]
    node = Node("memory", directory, settings)
    node.start()
    total, most = 0, 100_000 if quick else 1_000_000
    trail: list[tuple[int, int]] = []
    try:
        fresh = node.process.rss()
        while total < most:
            load = wrk.run(
                f"http://127.0.0.1:{node.traffic}/",
                seconds=5,
                connections=32,
                script=LUA / "clients.lua",
                arguments=[str(total + 1)],
            )
            assert not load.errors, load
            total += load.requests + 1000  # what was under way when wrk stopped counting
            trail.append((total, node.process.rss()))
    finally:
        node.process.stop()
    early = next((rss for at, rss in trail if at >= 0.3 * most), trail[0][1])
    mib = 1024 * 1024
    told = ", ".join(f"{at:,}: {rss / mib:.0f}" for at, rss in trail)
    found = Found(
        "memory over a million keys",
        trail[-1][1] / early,
        1.1,
        f"MiB at rest {fresh / mib:.0f}, after requests {told}",
    )
    return [found]


ALL = (
    Bound("reload", reload_p99),
    Bound("list", list_p99),
    Bound("analytics", analytics_p99),
    Bound("stalled log", stalled_log_p99),
    Bound("memory", memory),
)


def _ratio(name: str, rounds: list[tuple[Latency, Latency]]) -> Found:
    ms = 1e3
    told = "; ".join(
        f"p99 {busy.p99 * ms:.2f} ms, quiet {quiet.p99 * ms:.2f} (p50 {busy.p50 * ms:.2f} and {quiet.p50 * ms:.2f}, "
        f"worst {busy.worst * ms:.1f} and {quiet.worst * ms:.1f}; {busy.requests:,} requests)"
        for quiet, busy in rounds
    )
    errors = sum(quiet.errors + busy.errors for quiet, busy in rounds)
    detail = f"at {RATE:,.0f} requests/s: {told}; errors {errors}; load average {machine.load():.1f}"
    return Found(name, ratio([busy.p99 for _, busy in rounds], [quiet.p99 for quiet, _ in rounds]), 3.0, detail)
