from __future__ import annotations

import pytest

from gatepost.analytics import telemetry
from gatepost.analytics.otlp import address_of
from gatepost.analytics.otlp_metrics import MOST, Durations
from gatepost.config.telemetry import Telemetry
from gatepost.server.clients import next_trace_lines
from gatepost.server.gate import SampledIdentities

TRACE = b"0af7651916cd43dd8448eb211c80319c"
BEGINS = b"traceparent: 00-%b-00000000000000aa-01\r\n" % (b"1" * 32)


def test_telemetry_without_its_extra_is_a_fault_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert telemetry.faults_of(Telemetry()) == []
    monkeypatch.setattr(telemetry, "_NEEDED", ("opentelemetry_that_is_missing.sdk",))
    ((setting, reason),) = telemetry.faults_of(Telemetry())
    assert setting == ""
    assert "pip install 'gatepost[otel]'" in reason
    assert telemetry.faults_of(None) == []


def test_sets_of_attributes_are_bounded() -> None:
    durations = Durations()
    for number in range(MOST + 5):
        durations.add((("http.route", str(number)),), 0.01)
    assert len(durations.cells) == MOST + 1
    assert sum(durations.cells[("otel.metric.overflow", True),].counts) == 5


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("shop.example:8080", ("shop.example", 8080)),
        ("shop.example", ("shop.example", None)),
        ("[::1]:80", ("::1", 80)),
        ("https://api.example", ("api.example", 443)),
        ("http://api.example:81/base at 10.0.0.1:81", ("api.example", 81)),
        ("http://[::1]/base", ("::1", 80)),
        ("unix:/run/app.sock", ("/run/app.sock", None)),
        ("", ("", None)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int | None]) -> None:
    assert address_of(text) == address


def test_a_continued_trace_has_our_span_and_the_clients_word_on_sampling() -> None:
    said = [(b"host", b"a"), (b"traceparent", b"00-%b-00f067aa0ba902b7-00" % TRACE), (b"tracestate", b"a=1")]
    assert next_trace_lines(said, BEGINS) == (b"traceparent: 00-%b-00000000000000aa-00\r\ntracestate: a=1\r\n" % TRACE)
    assert next_trace_lines([(b"traceparent", b"00-nonsense")], BEGINS) == BEGINS


def test_a_share_of_the_traces_is_sampled_and_says_so() -> None:
    for share, wanted in ((0.0, {b"00"}), (0.5, {b"00", b"01"}), (1.0, {b"01"})):
        identities = SampledIdentities(share)
        lines = [identities.next()[1] for _ in range(200)]
        assert {line[-4:-2] for line in lines} == wanted
        assert {len(line) for line in lines} == {len(BEGINS)}
