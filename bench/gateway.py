"""Gatepost as a gateway beside nginx, HAProxy, Envoy, Traefik, Caddy and the floor, one worker each.

    python -m bench.gateway [--quick] [--tables] [--only TEXT …] [--rounds N] [--seconds N]

Everything runs side by side in one go: A B C, A B C, …; the figures are medians of the rounds, and a ratio is the
median of the ratios within a round, so that what else the machine does counts for all alike. `CPU` is user + system
time of the whole tree of processes, divided by the requests that wrk saw answered.

What policies cost stands beside the plain proxy with the same requests. After the tables of costs come the bounds: p99
while 10,000 routes are reloaded, while 100,000 attempts are listed, while a month of analytics is asked for and while
nobody reads the access records; and memory over a million requests with a million different keys of a limit.

`--tables` measures what stands in the README's tables and in docs/performance.md, in under twelve minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.support import bounds, certificate, machine, proxies, report, wrk
from bench.support.node import Node, full, plain
from bench.support.process import NotStarted, Process, allow_many_files, stopping
from bench.support.proxies import Ground, Missing, Subject
from bench.support.setups import SETUPS, Setup

LUA = Path(__file__).parent / "support" / "lua"
WARM_UP = 1.0  # seconds a subject before the first round of a scenario

# With Host and Connection these are the twelve that a browser or an SDK sends.
TWELVE = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding: gzip, deflate, br",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "Referer: https://shop.example.com/orders",
    "Origin: https://shop.example.com",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "X-Client-Version: 4.12.0",
    "X-Api-Key: k1234",
)
ONE: tuple[str, ...] = ()
# The script adds a Cookie and a trace of its own to each. A gateway that remembers what it read lately is faster with
# the same request again and again than with a crowd's; both are measured.
VARIED = tuple(header for header in TWELVE if not header.startswith(("Cookie", "X-Client-Version")))


class Scenario(NamedTuple):
    """One table: the same work for all. `setup` is what Gatepost is told to do: the plain proxy; `full`: API key, rate
    limit and access record; or one of `setups.SETUPS`, which says what is sent beside `headers`."""

    name: str
    setup: str = "plain"
    headers: Sequence[str] = ONE
    path: str = "/"
    connections: int = 32
    tls: bool = False
    script: str = ""
    beside: Sequence[str] = ()  # others, and Gatepost as a plain proxy; none: all who can do the same work
    against: Sequence[str] = ("floor",)  # whom it is compared with
    told: bool = False  # its figures stand in a table of the documents

    @property
    def subjects(self) -> Sequence[str]:
        if self.setup == "plain":
            return (*proxies.PLAIN, "gatepost")
        if self.setup == "full":
            return (*proxies.FULL, "gatepost full")
        return (*self.beside, f"gatepost {self.setup}")


PLAIN = ("floor", "gatepost")
FULL_FLOOR = ("floor full",)
BOTH = ("floor", "floor full")
FLOORS = (*BOTH, "gatepost")
KEY = TWELVE[-1:]

SCENARIOS = (
    Scenario("plain, 1 header", told=True),
    Scenario("plain, 12 headers", headers=TWELVE, told=True),
    Scenario("plain, 12 headers, all different", headers=VARIED, script="varied.lua", told=True),
    Scenario("plain, 12 headers, 1,000 connections", headers=TWELVE, connections=1000),
    Scenario("plain, 12 headers, HTTPS", headers=TWELVE, tls=True),
    Scenario("plain, 1 MiB down", path="/1m"),
    Scenario("plain, 1 MiB up", path="/upload", script="upload.lua"),
    Scenario("full, 1 header", "full", KEY, against=FULL_FLOOR, told=True),
    Scenario("full, 12 headers", "full", TWELVE, against=FULL_FLOOR, told=True),
    Scenario("full, 12 headers, all different", "full", VARIED, script="varied.lua", against=FULL_FLOOR, told=True),
    Scenario("full, 12 headers, 1,000 connections", "full", TWELVE, connections=1000, against=FULL_FLOOR),
    Scenario("full, 12 headers, HTTPS", "full", TWELVE, tls=True, against=FULL_FLOOR),
    Scenario("key, limit, quota, analytics, id: 1 header", "together", KEY, beside=FLOORS, against=BOTH, told=True),
    Scenario(
        "key, limit, quota, analytics, id: 12 headers", "together", TWELVE, beside=FLOORS, against=BOTH, told=True
    ),
    Scenario("jwt, RS256, the same token", "jwt", beside=PLAIN, against=PLAIN, told=True),
    Scenario("jwt, RS256, 12,000 tokens in turn", "tokens", beside=PLAIN, against=PLAIN, told=True),
    Scenario("quota", "quota", beside=PLAIN, against=PLAIN, told=True),
    Scenario("validate, a JSON body of 120 B", "validate", path="/hook", beside=PLAIN, against=PLAIN, told=True),
    Scenario("cache hit, 1 KiB", "cache", beside=("envoy", *PLAIN), against=("envoy", *PLAIN), told=True),
    Scenario("10,000 routes, each in turn", "routes", beside=PLAIN, against=PLAIN, told=True),
    Scenario("1,000,000 keys stored, 20,000 callers", "keys", beside=PLAIN, against=PLAIN, told=True),
)


class Sample(NamedTuple):
    """One subject in one round."""

    cpu: float  # seconds a request
    load: wrk.Load


def main() -> None:
    options = _options()
    allow_many_files()
    told = machine.describe()
    print(report.headline(told), flush=True)
    chosen = [
        s
        for s in SCENARIOS
        if (s.told or not options.tables) and (not options.only or any(text in s.name for text in options.only))
    ]
    wanted_bounds = [b for b in bounds.ALL if not options.only or any(text in b.name for text in options.only)]
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=options.dir) as folder, stopping([]) as started:
        directory = Path(folder)
        cert, key = certificate.make(directory)
        backend, port = proxies.start_backend(directory)
        started.append(backend)
        ground = Ground(directory, port, cert, key)
        subjects, left_out = _start(chosen, ground, started, options.subjects) if chosen else ({}, [])
        for line in left_out:
            print(line, flush=True)
        prepared = {name: SETUPS[name](port, directory) for name in {s.setup for s in chosen} & SETUPS.keys()}
        _start_nodes(chosen, prepared, ground, subjects, started, options.subjects)
        versions = {name: subject.version for name, subject in subjects.items() if subject.version}
        rows: list[dict[str, Any]] = []
        for scenario in chosen:
            setup = prepared.get(scenario.setup)
            rows += _measure(scenario, setup, subjects, options.rounds, options.seconds)
            print("\n" + _table(scenario, rows), flush=True)
        for process in started[1:]:
            process.stop()
        found: list[bounds.Found] = []
        for bound in wanted_bounds:
            for one in bound.measure(directory, port, quick=options.quick):
                found.append(one)
                print(f"\n{one}", flush=True)
    if rows or found:
        _write(told, versions, left_out, chosen, rows, found, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Gatepost as a gateway, beside others.")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all?")
    parser.add_argument("--tables", action="store_true", help="3 rounds of 2 s of what stands in the documents")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="scenarios and bounds that contain it")
    parser.add_argument("--subjects", nargs="+", default=[], metavar="NAME", help="nginx, envoy, floor, gatepost …")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load, a subject in a round")
    parser.add_argument("--dir", help="where stores and logs are written (a real disk); the system's default otherwise")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    elif options.tables:
        options.rounds, options.seconds = 3, 2
    return options


def _start(
    chosen: Sequence[Scenario], ground: Ground, started: list[Process], wanted: Sequence[str]
) -> tuple[dict[str, Subject], list[str]]:
    """Start whoever takes part. Also what to say of those who do not."""
    subjects: dict[str, Subject] = {}
    left_out: list[str] = []
    needed = {name for scenario in chosen for name in scenario.subjects}
    for name, start in {**proxies.PLAIN, **proxies.FULL}.items():
        if name not in needed or (wanted and name.removesuffix(" full") not in wanted):
            continue
        try:
            subject = start(ground)
        except Missing as missing:
            left_out.append(f"left out: {missing}")
            continue
        started.append(subject.process)
        subjects[name] = subject
    return subjects, left_out


def _start_nodes(
    chosen: Sequence[Scenario],
    prepared: dict[str, Setup],
    ground: Ground,
    subjects: dict[str, Subject],
    started: list[Process],
    wanted: Sequence[str],
) -> None:
    needed = {name for scenario in chosen for name in scenario.subjects if name.startswith("gatepost")}
    if wanted and "gatepost" not in wanted:
        return
    for name in sorted(needed):
        kind = name.removeprefix("gatepost").strip()
        setup = prepared.get(kind)
        if setup is not None:
            settings = setup.settings
        else:
            settings = full(ground.backend, ground.directory / "record.jsonl") if kind else plain(ground.backend)
        node = Node(name, ground.directory, settings)
        if setup is not None and setup.fill is not None:
            setup.fill(node.directory)
        node.start()
        started.append(node.process)
        subjects[name] = Subject(name, node.process, node.traffic, 0, "")
        if any(scenario.tls and name in scenario.subjects for scenario in chosen):
            # A node of this bench has one traffic listener: HTTPS is a node of its own.
            secure = Node(f"{name} tls", ground.directory, settings, tls=(ground.cert, ground.key))
            secure.start()
            started.append(secure.process)
            subjects[f"{name} tls"] = Subject(name, secure.process, 0, secure.traffic, "")


def _measure(
    scenario: Scenario, setup: Setup | None, subjects: dict[str, Subject], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    taking_part = [
        subject
        for subject in subjects.values()
        if subject.name in scenario.subjects and (subject.https if scenario.tls else subject.http)
    ]
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in taking_part}
    for subject in taking_part:
        _sample(scenario, setup, subject, WARM_UP)
    for _ in range(rounds):
        for subject in taking_part:
            samples[subject.name].append(_sample(scenario, setup, subject, seconds))
    memory = {subject.name: subject.process.rss() for subject in taking_part}
    return [_row(scenario, name, samples, memory[name]) for name in samples]


def _sample(scenario: Scenario, setup: Setup | None, subject: Subject, seconds: float) -> Sample:
    scheme, port = ("https", subject.https) if scenario.tls else ("http", subject.http)
    script = LUA / scenario.script if scenario.script else None
    headers, arguments = scenario.headers, list[str]()
    if setup is not None:
        headers, script, arguments = [*headers, *setup.headers], setup.script, list(setup.arguments)
    before = subject.process.cpu()
    load = wrk.run(
        f"{scheme}://127.0.0.1:{port}{scenario.path}",
        seconds=seconds,
        connections=scenario.connections,
        headers=headers,
        script=script,
        arguments=arguments,
    )
    return Sample((subject.process.cpu() - before) / load.requests, load)


def _row(scenario: Scenario, name: str, all_samples: dict[str, list[Sample]], memory: int) -> dict[str, Any]:
    samples = all_samples[name]
    cpu = [sample.cpu * 1e6 for sample in samples]
    median = statistics.median
    return {
        "scenario": scenario.name,
        "subject": name,
        "cpu_us": round(median(cpu), 2),
        "cpu_us_rounds": [round(value, 2) for value in cpu],
        "ratios": {
            other: round(report.ratio(cpu, [sample.cpu * 1e6 for sample in all_samples[other]]), 3)
            for other in scenario.against
            if other in all_samples
        },
        "requests_a_second": round(median(sample.load.rate for sample in samples)),
        "p50_ms": round(median(sample.load.p50 for sample in samples) * 1e3, 3),
        "p99_ms": round(median(sample.load.p99 for sample in samples) * 1e3, 3),
        "memory_mib": round(memory / 2**20),
        "errors": sum(sample.load.errors for sample in samples),
    }


def _table(scenario: Scenario, rows: Sequence[dict[str, Any]]) -> str:
    against = [f"× {name}" for name in scenario.against]
    head = (scenario.name, "CPU µs", "rounds", *against, "requests/s", "p50 ms", "p99 ms", "MiB", "errors")
    lines = [
        (
            row["subject"],
            f"{row['cpu_us']:.1f}",
            report.spread(row["cpu_us_rounds"]),
            *(f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "" for name in scenario.against),
            f"{row['requests_a_second']:,}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            str(row["memory_mib"]),
            str(row["errors"]),
        )
        for row in rows
        if row["scenario"] == scenario.name
    ]
    return report.table(head, lines)


def _write(
    told: dict[str, str],
    versions: dict[str, str],
    left_out: Sequence[str],
    chosen: Sequence[Scenario],
    rows: list[dict[str, Any]],
    found: Sequence[bounds.Found],
    options: argparse.Namespace,
) -> None:
    parts = [
        "# Gatepost as a gateway",
        report.headline(told),
        report.headline(versions),
        f"{options.rounds} rounds of {options.seconds} s; wrk -t1; command: {' '.join(sys.argv)}",
        *left_out,
        *(_table(scenario, rows) for scenario in chosen),
        *(f"- {one}" for one in found),
    ]
    data = {
        "machine": told,
        "versions": versions,
        "left_out": list(left_out),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rows": rows,
        "bounds": [one._asdict() for one in found],
    }
    print("\nwritten to", report.write("gateway", "\n\n".join(parts) + "\n", data))


if __name__ == "__main__":
    try:
        main()
    except (proxies.Missing, NotStarted, wrk.WrkFailed) as error:
        sys.exit(str(error))
