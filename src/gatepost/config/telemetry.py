"""`telemetry`: traces and metrics by OpenTelemetry, sent with OTLP over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gatepost.config.values import Count, Header, Seconds, Secret, Strict, Target


class Traces(Strict, frozen=True):
    enabled: bool = True
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0  # share of the traces that begin here


class TelemetryMetrics(Strict, frozen=True):
    enabled: bool = True
    interval: Seconds = 60.0

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError("`interval` must be at least 1s")


class Telemetry(Strict, frozen=True):
    endpoint: Target = "http://127.0.0.1:4318"  # /v1/traces and /v1/metrics are added
    protocol: Literal["http/protobuf"] = "http/protobuf"
    headers: dict[Header, Secret] = {}  # sent with every export: a collector's credentials
    service_name: Annotated[str, msgspec.Meta(min_length=1)] = "gatepost"
    resource: dict[str, str] = {}  # further attributes of the resource: deployment.environment.name, say
    timeout: Seconds = 10.0  # of one export, its repetitions included
    buffer_records: Count = 20_000  # exchanges that ended and are not sent yet; more are dropped and counted
    traces: Traces = Traces()
    metrics: TelemetryMetrics = TelemetryMetrics()

    def __post_init__(self) -> None:
        if self.endpoint.startswith("unix:"):
            raise ValueError("`endpoint` must begin with http:// or https://")
        if self.timeout == 0:
            raise ValueError("`timeout` must be longer than 0")
