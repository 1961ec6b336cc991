"""Messages through Gatepost beside the floor: accepted durably, signed, delivered, recorded.

    python -m bench.delivery [--quick] [--only TEXT …] [--rounds N] [--seconds N]

**Cost.** wrk posts messages for a while; then everybody waits until each delivery is made and recorded. CPU of the
whole process, that tail included, is divided by the messages that wrk saw acknowledged; what one further delivery
costs is the difference between two fan-outs. The store is made anew for each round. The receiver is nginx, which
answers 204. An acknowledgement waits for the disk: what `fdatasync` alone takes is printed beside it.

**Bounds.** With one of 50 endpoints hanging and one failing, how long the others wait; and what a million waiting
deliveries cost at the start.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.support import delivery_bounds, machine, proxies, report, wrk
from bench.support.bounds import Found
from bench.support.node import Node
from bench.support.process import NotStarted, Process, allow_many_files, free_port, stopping

LUA = Path(__file__).parent / "support" / "lua" / "post.lua"
FAN_OUTS = (1, 5, 50)
CONNECTIONS = 64
PATIENCE = 120.0  # seconds for the tail of deliveries


class Undelivered(Exception):
    """Work was left undone, so that its cost is no figure."""


class Sample(NamedTuple):
    """One subject at one fan-out in one round."""

    cpu: float  # seconds a message, its deliveries included
    load: wrk.Load
    throughput: float  # messages a second, until the last delivery was recorded


def main() -> None:
    options = _options()
    allow_many_files()
    told = machine.describe()
    print(report.headline(told), flush=True)
    fan_outs = [n for n in FAN_OUTS if not options.only or f"fan-out {n}" in options.only]
    wanted = [b for b in delivery_bounds.ALL if not options.only or any(text in b.name for text in options.only)]
    rows: list[dict[str, Any]] = []
    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir=options.dir) as folder, stopping([]) as started:
        directory = Path(folder)
        disk = machine.fdatasync(directory)
        print(f"fdatasync alone, µs: p50 {disk['p50']}, p99 {disk['p99']}", flush=True)
        backend, port = proxies.start_backend(directory)
        started.append(backend)
        for fan_out in fan_outs:
            rows += _measure(fan_out, directory, port, options)
            print("\n" + _table([row for row in rows if row["fan_out"] == fan_out]), flush=True)
        for bound in wanted:
            for one in bound.measure(directory, port, quick=options.quick):
                found.append(one)
                print(f"\n{one}", flush=True)
    if not rows and not found:
        return
    further = _further(rows)
    parts = [
        "# Gatepost as a sender of webhooks",
        report.headline(told),
        f"{options.rounds} rounds of {options.seconds} s; wrk -t1 -c{CONNECTIONS}; command: {' '.join(sys.argv)}",
        f"`fdatasync` alone, µs: p50 {disk['p50']}, p99 {disk['p99']}",
        *([_table(rows)] if rows else []),
        *further,
        *(f"- {one}" for one in found),
    ]
    for line in further:
        print(line)
    data = {
        "machine": told,
        "fdatasync_us": disk,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rows": rows,
        "further_delivery": further,
        "bounds": [one._asdict() for one in found],
    }
    print("\nwritten to", report.write("delivery", "\n\n".join(parts) + "\n", data))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Gatepost as a sender of webhooks, beside the floor.")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all?")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help='"fan-out 5", a bound\'s name …')
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load, a subject in a round")
    parser.add_argument("--dir", help="where stores are written (a real disk); the system's default otherwise")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    return options


def _measure(fan_out: int, directory: Path, backend: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    samples: dict[str, list[Sample]] = {"floor": [], "gatepost": []}
    for _ in range(options.rounds):
        samples["floor"].append(_floor(fan_out, directory, backend, options.seconds))
        samples["gatepost"].append(_gatepost(fan_out, directory, backend, options.seconds))
    return [_row(fan_out, name, found, samples["floor"]) for name, found in samples.items()]


def _floor(fan_out: int, directory: Path, backend: int, seconds: float) -> Sample:
    home = directory / "floor"
    home.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, str(proxies.FLOORS / "delivery_floor.py"), str(port), str(fan_out), str(backend)]
    with stopping([Process("delivery floor", command, directory=home)]) as (process,):
        process.wait_for_port(port)
        sample = _sample(process, f"http://127.0.0.1:{port}/", "-", seconds, fan_out, backend)
    shutil.rmtree(home)
    return sample


def _gatepost(fan_out: int, directory: Path, backend: int, seconds: float) -> Sample:
    node = Node("gatepost", directory, {"deliveries": {"allow_networks": ["127.0.0.0/8"]}})
    node.start()
    with stopping([node.process]):
        node.call("POST", "/api/v1/app", {"name": "bench", "uid": "bench"})
        for number in range(fan_out):
            node.call("POST", "/api/v1/app/bench/endpoint", {"url": f"http://127.0.0.1:{backend}/hook/{number}"})
        url = f"http://127.0.0.1:{node.control}/api/v1/app/bench/msg"
        sample = _sample(node.process, url, node.token, seconds, fan_out, backend)
    shutil.rmtree(node.directory)
    return sample


def _sample(process: Process, url: str, token: str, seconds: float, fan_out: int, backend: int) -> Sample:
    received = proxies.served_by_backend(backend)
    before = process.cpu()
    began = time.monotonic()
    load = wrk.run(url, seconds=seconds, connections=CONNECTIONS, script=LUA, arguments=[token])
    process.settle(within=PATIENCE)
    took = time.monotonic() - began
    cpu = process.cpu() - before
    received = proxies.served_by_backend(backend) - received - 1
    if received < load.requests * fan_out:  # what was under way when wrk stopped is delivered as well
        raise Undelivered(f"{process.name}: {load.requests:,} messages, of {fan_out} each {received:,} arrived")
    return Sample(cpu / load.requests, load, load.requests / took)


def _row(fan_out: int, name: str, samples: Sequence[Sample], floor: Sequence[Sample]) -> dict[str, Any]:
    median = statistics.median
    cpu = [sample.cpu * 1e6 for sample in samples]
    return {
        "fan_out": fan_out,
        "subject": name,
        "cpu_us": round(median(cpu), 1),
        "cpu_us_rounds": [round(value, 1) for value in cpu],
        "to_floor": round(report.ratio(cpu, [sample.cpu * 1e6 for sample in floor]), 3),
        "accepted_a_second": round(median(sample.load.rate for sample in samples)),
        "delivered_a_second": round(median(sample.throughput for sample in samples) * fan_out),
        "ack_p50_ms": round(median(sample.load.p50 for sample in samples) * 1e3, 2),
        "ack_p99_ms": round(median(sample.load.p99 for sample in samples) * 1e3, 2),
        "errors": sum(sample.load.errors for sample in samples),
    }


def _further(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What each further delivery of a message costs: the difference between fan-out 1 and a larger one."""
    lines = []
    cpu = {(row["subject"], row["fan_out"]): row["cpu_us"] for row in rows}
    for fan_out in FAN_OUTS[1:]:
        if ("floor", 1) in cpu and ("floor", fan_out) in cpu:
            floor, gatepost = ((cpu[name, fan_out] - cpu[name, 1]) / (fan_out - 1) for name in ("floor", "gatepost"))
            lines.append(
                f"CPU µs of each further delivery, from fan-out 1 to {fan_out}: floor {floor:.1f}, "
                f"Gatepost {gatepost:.1f}, {gatepost / floor:.2f} × the floor"
            )
    return lines


def _table(rows: Sequence[dict[str, Any]]) -> str:
    head = (
        "fan-out",
        "CPU µs a message",
        "rounds",
        "× floor",
        "accepted/s",
        "delivered/s",
        "ack p50 ms",
        "p99 ms",
        "errors",
    )
    return report.table(
        head,
        [
            (
                f"{row['fan_out']}, {row['subject']}",
                f"{row['cpu_us']:.1f}",
                report.spread(row["cpu_us_rounds"]),
                f"{row['to_floor']:.2f}",
                f"{row['accepted_a_second']:,}",
                f"{row['delivered_a_second']:,}",
                f"{row['ack_p50_ms']:.2f}",
                f"{row['ack_p99_ms']:.2f}",
                str(row["errors"]),
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    try:
        main()
    except (proxies.Missing, NotStarted, Undelivered, wrk.WrkFailed) as error:
        sys.exit(str(error))
