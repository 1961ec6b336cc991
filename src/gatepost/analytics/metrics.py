"""Metrics as Prometheus reads them: names, kinds, samples, and their text (exposition format 0.0.4)."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds

Labels: TypeAlias = tuple[tuple[str, str], ...]
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Metric(NamedTuple):
    """One family. A histogram's samples are `Histogram.samples`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[tuple[str, Labels, float]]  # suffix of the name, labels, value


def one(value: float, *labels: tuple[str, str]) -> list[tuple[str, Labels, float]]:
    return [("", labels, value)]


class Histogram:
    """Durations in seconds, counted in `BOUNDS`. Mutable."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(BOUNDS, value)] += 1
        self._sum += value

    def samples(self, *labels: tuple[str, str]) -> Iterator[tuple[str, Labels, float]]:
        total = 0
        for bound, count in zip((*BOUNDS, None), self._counts, strict=True):
            total += count
            yield "_bucket", (*labels, ("le", "+Inf" if bound is None else f"{bound:g}")), total
        yield "_sum", labels, self._sum
        yield "_count", labels, total


class Traffic:
    """What exchanges are counted in. Implements `meter.Listener`."""

    __slots__ = ("_gateway", "_requests", "_upstream")

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._gateway = Histogram()
        self._upstream = Histogram()

    def seen(self, route: str, status: int, gateway: float, upstream: float | None) -> None:
        name = (route, status // 100)
        self._requests[name] = self._requests.get(name, 0) + 1
        self._gateway.add(gateway)
        if upstream is not None:
            self._upstream.add(upstream)

    def metrics(self) -> list[Metric]:
        requests = (
            ("", (("route", route), ("status", f"{status}xx" if status else "none")), count)
            for (route, status), count in list(self._requests.items())
        )
        # Not by route: 10,000 routes would be 300,000 lines. The analytics API has quantiles of each.
        return [
            Metric("gatepost_requests_total", "counter", "Exchanges that ended.", requests),
            Metric(
                "gatepost_gateway_seconds",
                "histogram",
                "Time of an exchange in the gateway, bodies' way included.",
                self._gateway.samples(),
            ),
            Metric(
                "gatepost_upstream_seconds",
                "histogram",
                "From handing a request to a target to the head of its response.",
                self._upstream.samples(),
            ),
        ]


def process_metrics() -> list[Metric]:
    """What Prometheus knows of every process, as far as this system tells it."""
    out = [Metric("process_cpu_seconds_total", "counter", "CPU time, user and system.", one(time.process_time()))]
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        size = pages * os.sysconf("SC_PAGE_SIZE")
        out.append(Metric("process_resident_memory_bytes", "gauge", "Memory in use.", one(size)))
        out.append(Metric("process_open_fds", "gauge", "Open descriptors.", one(len(os.listdir("/proc/self/fd")))))
    except OSError:
        pass  # not Linux
    return out


def lines(metrics: Sequence[Metric]) -> Iterator[str]:
    for metric in metrics:
        yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
        for suffix, labels, value in metric.samples:
            text = ",".join([f'{name}="{label.translate(_ESCAPES)}"' for name, label in labels])
            braces = f"{{{text}}}" if text else ""
            yield f"{metric.name}{suffix}{braces} {value:.17g}\n"
