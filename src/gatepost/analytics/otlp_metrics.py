"""Metrics by OTLP: durations of what ended, counted here by the semantic conventions' names and attributes
(https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), and what the node counts by itself for `/metrics`.

All are cumulative. Of one metric at most `MOST` sets of attributes are told apart; what comes beyond is counted under
`otel.metric.overflow`, as the SDKs do it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from gatepost.analytics import metrics
from gatepost.analytics.metrics import Labels
from gatepost.analytics.otlp import (
    SCHEMA,
    Attributes,
    Failures,
    PatternOf,
    address_of,
    error_of,
    headers_of,
    method_of,
    resource_of,
    scope_of,
    upstream_error_of,
    url_of,
)
from gatepost.analytics.telemetry import Ended, Figures, Sender
from gatepost.config.telemetry import Telemetry as Settings

MOST: Final = 2_000  # sets of attributes of one metric
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # seconds, semconv's

# What has a name in the conventions, with its unit.
_NAMES: Final = {
    "process_cpu_seconds_total": ("process.cpu.time", "s"),
    "process_resident_memory_bytes": ("process.memory.usage", "By"),
    "process_open_fds": ("process.unix.file_descriptor.count", "{file_descriptor}"),
}
_Value: TypeAlias = tuple[tuple[str, str | int], ...]


class MetricSender(Sender):
    def __init__(self, settings: Settings, version: str, pattern_of: PatternOf) -> None:
        super().__init__("gatepost-metrics", settings.buffer_records)
        self._resource = resource_of(settings, version)
        self._scope = scope_of(version)
        self._pattern_of = pattern_of
        self._failures = Failures("metrics")
        self._began = time.time_ns()
        self._server = Durations()
        self._client = Durations()
        self._exporter = OTLPMetricExporter(
            url_of(settings, "metrics"), headers=headers_of(settings), timeout=settings.timeout
        )

    def run(self) -> None:
        self._failures.here()
        while (work := self._queue.get()) is not None:
            if isinstance(work, Figures):
                data = self.data_of(work)
                sent = self._exporter.export(data) is MetricExportResult.SUCCESS
                self._failures.note(sent, len(data.resource_metrics[0].scope_metrics[0].metrics))
            else:
                for ended in work:
                    self._count(ended)
                self.done += len(work)
        self._exporter.shutdown()
        self._failures.gone()

    def give_up(self) -> None:
        self._exporter.shutdown()

    def data_of(self, figures: Figures) -> MetricsData:
        now = int(figures.time * 1e9)
        told = [
            self._durations("http.server.request.duration", "Duration of HTTP server requests.", self._server, now),
            self._durations("http.client.request.duration", "Duration of HTTP client requests.", self._client, now),
        ]
        for family, samples in figures.metrics:
            told.append(self._metric(*_name(family), family, samples, now))
        scope = ScopeMetrics(self._scope, told, SCHEMA)
        return MetricsData([ResourceMetrics(self._resource, [scope], SCHEMA)])

    def _count(self, ended: Ended) -> None:
        method, status = method_of(ended), ended.status
        name: list[tuple[str, str | int]] = [
            ("http.request.method", method),
            ("url.scheme", ended.scheme.decode("latin-1")),
        ]
        pattern = self._pattern_of(ended.route.name) if ended.route.name else None
        if pattern is not None:
            name.append(("http.route", pattern))
        if status:
            name.append(("http.response.status_code", status))
        if error := error_of(ended):
            name.append(("error.type", error))
        self._server.add(tuple(name), ended.finished - ended.started)
        if ended.sent_upstream:
            host, port = address_of(ended.target)
            name = [("http.request.method", method), ("server.address", host)]
            if port is not None:
                name.append(("server.port", port))
            if ended.first_byte:
                name.append(("http.response.status_code", status))
            if error := upstream_error_of(ended):
                name.append(("error.type", error))
            self._client.add(tuple(name), ended.finished - ended.sent_upstream)

    def _durations(self, name: str, description: str, durations: Durations, now: int) -> Metric:
        points = [
            HistogramDataPoint(
                dict(attributes),
                self._began,
                now,
                sum(cell.counts),
                cell.sum,
                list(cell.counts),
                BOUNDS,
                cell.min,
                cell.max,
            )
            for attributes, cell in durations.cells.items()
        ]
        return Metric(name, description, "s", Histogram(points, AggregationTemporality.CUMULATIVE))

    def _metric(
        self, name: str, unit: str, family: metrics.Metric, samples: Sequence[tuple[str, Labels, float]], now: int
    ) -> Metric:
        if family.kind == "histogram":
            return Metric(name, family.help, unit, Histogram([self._histogram(samples, now)], _CUMULATIVE))
        points = [NumberDataPoint(_attributes(labels), self._began, now, float(value)) for _, labels, value in samples]
        data = Gauge(points) if family.kind == "gauge" else Sum(points, _CUMULATIVE, is_monotonic=True)
        return Metric(name, family.help, unit, data)

    def _histogram(self, samples: Iterable[tuple[str, Labels, float]], now: int) -> HistogramDataPoint:
        """One histogram without labels of its own, as `metrics.Histogram` writes it: counts of all below a bound."""
        counts: list[int] = []
        total = summed = 0.0
        for suffix, _, value in samples:
            if suffix == "_bucket":
                counts.append(int(value - total))
                total = value
            elif suffix == "_sum":
                summed = value
        unknown: float = None  # type: ignore[assignment]  # the least and the most: left out of what is sent
        return HistogramDataPoint({}, self._began, now, int(total), summed, counts, metrics.BOUNDS, unknown, unknown)


class Durations:
    """Durations in seconds by their attributes. Owned by the sender's thread."""

    def __init__(self) -> None:
        self.cells: dict[_Value, Cell] = {}

    def add(self, name: _Value, value: float) -> None:
        cell = self.cells.get(name)
        if cell is None:
            if len(self.cells) >= MOST:
                name = _OVERFLOW
                cell = self.cells.get(name)
            if cell is None:
                cell = self.cells[name] = Cell()
        cell.add(value)


class Cell:
    __slots__ = ("counts", "max", "min", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0
        self.min = float("inf")
        self.max = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.sum += value
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value


_OVERFLOW: Final[_Value] = (("otel.metric.overflow", True),)
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def _name(family: metrics.Metric) -> tuple[str, str]:
    if family.name in _NAMES:
        return _NAMES[family.name]
    name, unit = family.name.removesuffix("_total"), "1"
    if name.endswith("_seconds"):
        name, unit = name.removesuffix("_seconds"), "s"
    return name.replace("gatepost_", "gatepost.", 1), unit


def _attributes(labels: Labels) -> Attributes:
    return dict(labels)
