"""OpenTelemetry, on the loop's side: what ended is one tuple; threads make spans and metrics of it and send them.

    exchange ends ─► one tuple (0.7 µs) ─► a batch ─► two queues ─► spans, by a thread    (`otlp_spans.py`)
                                                                └─► metrics, by another  (`otlp_metrics.py`)

Neither thread can hold up the other or the loop. One that is behind by `buffer_records`, because its collector hangs,
gets no more until it has caught up; what it did not get is counted. Nothing here imports OpenTelemetry: it is an extra.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gatepost import log
from gatepost.analytics.metrics import Labels, Metric
from gatepost.config.telemetry import Telemetry as Settings
from gatepost.exchange import Consumer, Exchange
from gatepost.http1.messages import Fields

if TYPE_CHECKING:
    from gatepost.exchange import Route

BATCH: Final = 256  # exchanges handed over at once
DELAY: Final = 0.25  # seconds that one waits for others
_COUNTED: Final = "gatepost_requests_total"  # long with many routes; `http.server.request.duration` has these counts
_SAMPLED: Final = frozenset(b"13579bdf")  # the last digit of trace-flags, bit 0 set
_FLAGS: Final = 67  # where it stands in `traceparent: 00-<32 digits>-<16 digits>-01`


class Ended(NamedTuple):
    """An exchange as it ended. Times are monotonic seconds."""

    trace: bytes  # the line that went upstream; empty where it is not sampled
    said: Fields  # the fields in which a trusted client told of its trace, among others
    route: Route
    consumer: Consumer | None
    id: bytes
    method: bytes
    scheme: bytes
    host: bytes
    path: str  # the client's, normalised
    http10: bool
    client: str
    peer: str
    target: str
    status: int
    bytes_in: int
    bytes_out: int
    started: float
    sent_upstream: float
    first_byte: float
    finished: float
    outcome: str


class Figures(NamedTuple):
    """All that the node counts by itself, at one moment."""

    time: float  # Unix seconds
    metrics: Sequence[tuple[Metric, Sequence[tuple[str, Labels, float]]]]


class Recorder(Protocol):
    def record(self, x: Exchange, finished: float) -> None: ...


class Sender(threading.Thread):
    """Works off what it is handed, in a thread of its own. `done` counts the exchanges that it is through with; only
    this thread changes it."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(name=name, daemon=True)  # a collector that hangs must not outlive the process
        self._limit = limit
        self._queue: SimpleQueue[Sequence[Ended] | Figures | None] = SimpleQueue()
        self._ending = threading.Event()
        self._taken = 0
        self.done = 0
        self.dropped = 0

    def take(self, batch: Sequence[Ended]) -> None:
        """On the loop. A batch that it has no room for is dropped and counted."""
        if self._taken - self.done + len(batch) > self._limit:
            self.dropped += len(batch)
        else:
            self._taken += len(batch)
            self._queue.put(batch)

    def tell(self, figures: Figures) -> None:
        self._queue.put(figures)

    def end(self) -> None:
        """Send what is left, then end."""
        self._ending.set()
        self._queue.put(None)

    def give_up(self) -> None:
        """From another thread: try nothing again."""
        raise NotImplementedError


class Telemetry:
    """Implements `gate.Recorder`, in front of another one. Owned by the app; called on the loop."""

    __slots__ = ("_beside", "_figures", "_interval", "_loop", "_records", "_spans", "_timer", "_told", "_values")

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        spans: Sender | None,
        figures: Sender | None,
        values: Callable[[], Iterable[Metric]],
        beside: Recorder | None = None,
    ) -> None:
        """`spans` and `figures` get what ended, each where it is not None; `figures` also gets `values()`, asked on the
        loop every `metrics.interval`. `beside` hears of the same exchanges."""
        self._loop = loop
        self._interval = settings.metrics.interval
        self._spans = spans
        self._figures = figures
        self._values = values
        self._beside = beside
        self._records: list[Ended] = []
        self._timer = False
        self._told: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Exchanges that no span was made of, or that metrics lack, since the start."""
        return sum(sender.dropped for sender in (self._spans, self._figures) if sender is not None)

    def start(self) -> None:
        for sender in (self._spans, self._figures):
            if sender is not None:
                sender.start()
        if self._figures is not None:
            self._told = self._loop.call_later(self._interval, self._tell)

    async def stop(self, within: float) -> None:
        """Send what is left, for at most `within` seconds."""
        if self._told is not None:
            self._told.cancel()
        self.flush()
        if self._figures is not None:
            self._figures.tell(self._now())
        senders = [sender for sender in (self._spans, self._figures) if sender is not None]
        for sender in senders:
            sender.end()
        await self._loop.run_in_executor(None, _join, senders, within)
        late = [sender for sender in senders if sender.is_alive()]
        if late:
            log.event("telemetry_unsent", level="warning", waited=within, reason="the collector did not take the rest")
        for sender in late:
            sender.give_up()

    def record(self, x: Exchange, finished: float) -> None:
        if self._beside is not None:
            self._beside.record(x, finished)
        trace = x.trace
        if len(trace) <= _FLAGS or trace[_FLAGS] not in _SAMPLED or self._spans is None:
            if self._figures is None:
                return
            trace = b""
        head = x.head
        records = self._records
        records.append(
            _ended(
                (
                    trace,
                    head.special if x.trusted else [],
                    x.route,
                    x.consumer,
                    x.id,
                    head.method,
                    x.scheme,
                    head.host,
                    head.path,
                    head.http10,
                    x.client,
                    x.peer,
                    x.target,
                    x.status,
                    x.bytes_in,
                    x.bytes_out,
                    x.started,
                    x.sent_upstream,
                    x.first_byte,
                    finished,
                    x.outcome,
                )
            )
        )
        if len(records) >= BATCH:
            self.flush()
        elif not self._timer:
            self._timer = True
            self._loop.call_later(DELAY, self._on_timer)

    def flush(self) -> None:
        """Hand over what ended. Does not wait."""
        records, self._records = self._records, []
        if not records:
            return
        if self._figures is not None:
            self._figures.take(records)
        if self._spans is not None:
            sampled = [record for record in records if record[0]]
            if sampled:
                self._spans.take(sampled)

    def _on_timer(self) -> None:
        self._timer = False
        self.flush()

    def _tell(self) -> None:
        assert self._figures is not None
        self.flush()
        self._figures.tell(self._now())
        self._told = self._loop.call_later(self._interval, self._tell)

    def _now(self) -> Figures:
        told = (metric for metric in self._values() if metric.name != _COUNTED)
        return Figures(time.time(), [(metric, list(metric.samples)) for metric in told])


def faults_of(settings: Settings | None) -> list[tuple[str, str]]:
    """(setting, reason) of what cannot be obeyed on this machine."""
    if settings is None or all(_installed(module) for module in _NEEDED):
        return []
    return [("", "OpenTelemetry is an extra: pip install 'gatepost[otel]'")]


def open_telemetry(
    settings: Settings,
    version: str,
    loop: asyncio.AbstractEventLoop,
    *,
    pattern_of: Callable[[str], str | None],
    values: Callable[[], Iterable[Metric]],
    beside: Recorder | None,
) -> Telemetry:
    """`pattern_of` gives the path pattern of a route by its name; it is called from threads."""
    from gatepost.analytics.otlp_metrics import MetricSender  # late: an extra
    from gatepost.analytics.otlp_spans import SpanSender

    spans = SpanSender(settings, version, pattern_of) if settings.traces.enabled else None
    figures = MetricSender(settings, version, pattern_of) if settings.metrics.enabled else None
    return Telemetry(settings, loop, spans=spans, figures=figures, values=values, beside=beside)


_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_ended: Final = Ended._make


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def _join(senders: Sequence[Sender], within: float) -> None:
    until = time.monotonic() + within
    for sender in senders:
        sender.join(max(0.0, until - time.monotonic()))
