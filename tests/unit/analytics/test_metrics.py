"""What Prometheus reads, as its own parser reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.exchanges import RecordingDownstream, make_exchange

from gatepost.analytics.metrics import BOUNDS, Histogram, Metric, Traffic, lines, one, process_metrics
from gatepost.analytics.scrape import SLICE, Pulse, Scrape


def read(metrics: list[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families: Iterable[object] = text_string_to_metric_families("".join(lines(metrics)))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples  # type: ignore[attr-defined]
    }


def test_exchanges_are_counted_by_route_and_class() -> None:
    traffic = Traffic()
    for status in (200, 204, 503, 0):
        traffic.seen("orders", status, 0.002, 0.02)
    traffic.seen("", 404, 0.0001, None)
    found = read(traffic.metrics())
    name = "gatepost_requests_total"
    assert found[name, (("route", "orders"), ("status", "2xx"))] == 2
    assert found[name, (("route", "orders"), ("status", "none"))] == 1
    assert found[name, (("route", ""), ("status", "4xx"))] == 1
    assert found["gatepost_gateway_seconds_count", ()] == 5
    assert found["gatepost_upstream_seconds_count", ()] == 4
    assert found["gatepost_upstream_seconds_sum", ()] == pytest.approx(0.08)


def test_a_histogram_counts_each_value_in_every_bound_above_it() -> None:
    histogram = Histogram()
    values = [0.0, 0.0005, 0.0006, 0.3, 100.0]
    for value in values:
        histogram.add(value)
    found = read([Metric("h", "histogram", "Help.", histogram.samples())])
    for bound in BOUNDS:
        assert found["h_bucket", (("le", f"{bound:g}"),)] == sum(value <= bound for value in values)
    assert found["h_bucket", (("le", "+Inf"),)] == found["h_count", ()] == 5


@pytest.mark.parametrize("label", ['a"b', "a\\b", "a\nb", "é", "{}", ""])
def test_any_label_is_read_as_it_was(label: str) -> None:
    assert read([Metric("m", "gauge", "Help.", one(1.5, ("route", label)))]) == {("m", (("route", label),)): 1.5}


def test_the_process_is_seen() -> None:
    found = read(process_metrics())
    assert found["process_cpu_seconds_total", ()] > 0
    assert found["process_resident_memory_bytes", ()] > 1_000_000


async def test_a_long_answer_lets_others_have_their_turn() -> None:
    many = [("", (("route", str(n)),), float(n)) for n in range(20 * SLICE)]
    downstream = RecordingDownstream()
    x, _ = make_exchange(downstream=downstream, loop=asyncio.get_running_loop())
    Scrape(lambda: [Metric("m", "gauge", "Help.", many)]).handle(x)
    turns = 0
    while not downstream.ended:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert downstream.status == 200
    assert downstream.header(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
    assert downstream.body.count(b"\n") == 2 + len(many)


async def test_a_client_that_leaves_ends_its_answer() -> None:
    downstream = RecordingDownstream()
    x, _ = make_exchange(downstream=downstream, loop=asyncio.get_running_loop())
    scrape = Scrape(lambda: [Metric("m", "gauge", "Help.", [("", (), 1.0)] * 50 * SLICE)])
    scrape.handle(x)
    await asyncio.sleep(0)
    scrape.client_gone(x)
    task = x.upstream
    assert isinstance(task, asyncio.Task)
    await asyncio.wait([task])
    assert task.cancelled()
    assert downstream.silent


async def test_the_pulse_notes_how_late_it_is() -> None:
    class Loop:
        """A loop whose timers come 0.2 s late."""

        now = 0.0
        call: object = None

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, call: object) -> object:
            self.due, self.call = when, call
            return self

        def cancel(self) -> None:
            self.call = None

    loop = Loop()
    pulse = Pulse(loop)  # type: ignore[arg-type]
    pulse.start()
    for _ in range(3):
        loop.now = loop.due + 0.2
        assert callable(loop.call)
        loop.call()
    pulse.stop()
    assert loop.call is None
    found = read([Metric("lag", "histogram", "Help.", pulse.lag.samples())])
    assert found["lag_bucket", (("le", "0.1"),)] == 0
    assert found["lag_bucket", (("le", "0.25"),)] == 3
