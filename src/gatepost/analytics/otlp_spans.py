"""Spans of what ended: SERVER for the whole exchange, CLIENT for its upstream part.

Attributes follow https://opentelemetry.io/docs/specs/semconv/http/http-spans/; no header, no query string and no
credential is among them. The id of the CLIENT span is the one that went upstream in `traceparent`, so that the
upstream's own spans stand below it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gatepost.analytics.otlp import (
    OTHER,
    Attributes,
    Failures,
    PatternOf,
    WallClock,
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

MOST: Final = 512  # exchanges in one request to the collector
SHARE: Final = 0.2  # of a processor at most: the SDK takes 160 µs for an exchange, under the lock that the loop needs


class SpanSender(Sender):
    def __init__(self, settings: Settings, version: str, pattern_of: PatternOf) -> None:
        super().__init__("gatepost-spans", settings.buffer_records)
        self._resource = resource_of(settings, version)
        self._scope = scope_of(version)
        self._pattern_of = pattern_of
        self._clock = WallClock()
        self._failures = Failures("traces")
        self._exporter = OTLPSpanExporter(
            url_of(settings, "traces"), headers=headers_of(settings), timeout=settings.timeout
        )

    def run(self) -> None:
        self._failures.here()
        ended: list[Ended] = []
        more = True
        while more:
            work = self._queue.get()
            while True:  # what came meanwhile goes along
                if work is None:
                    more = False
                elif not isinstance(work, Figures):
                    ended += work
                if not more or len(ended) >= MOST or self._queue.empty():
                    break
                work = self._queue.get()
            while ended:
                part, ended = ended[:MOST], ended[MOST:]
                before = time.thread_time()
                self._send(part)
                self.done += len(part)
                if more:
                    self._ending.wait((time.thread_time() - before) * (1 / SHARE - 1))
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._failures.gone()

    def give_up(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, part: Sequence[Ended]) -> None:
        self._clock.look()
        spans = [span for ended in part for span in self.spans_of(ended)]
        sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        self._failures.note(sent, len(spans))

    def spans_of(self, ended: Ended) -> list[ReadableSpan]:
        _, trace, own, flags = ended.trace.split(b" ", 1)[1].rstrip().split(b"\r\n", 1)[0].split(b"-")[:4]
        trace_id, sampled = int(trace, 16), TraceFlags(int(flags, 16) & 1)
        server = SpanContext(trace_id, secrets.randbits(64) or 1, False, sampled)
        parent = _parent(ended, trace)
        out = [self._server(ended, server, SpanContext(trace_id, parent, True, sampled) if parent else None)]
        if ended.sent_upstream:
            out.append(self._client(ended, SpanContext(trace_id, int(own, 16), False, sampled), server))
        return out

    def _server(self, ended: Ended, context: SpanContext, parent: SpanContext | None) -> ReadableSpan:
        method = method_of(ended)
        host, port = address_of(ended.host.decode("latin-1"))
        attributes: Attributes = {
            "http.request.method": method,
            "url.scheme": ended.scheme.decode("latin-1"),
            "url.path": ended.path,
            "server.address": host,
            "client.address": ended.client,
            "network.peer.address": ended.peer,
            "network.protocol.version": "1.0" if ended.http10 else "1.1",
            "http.request.body.size": ended.bytes_in,
            "http.response.body.size": ended.bytes_out,
            "gatepost.request_id": ended.id.decode("latin-1"),
        }
        if method == OTHER:
            attributes["http.request.method_original"] = ended.method.decode("latin-1")
        if port is not None:
            attributes["server.port"] = port
        if ended.consumer is not None:
            attributes["gatepost.consumer"] = ended.consumer.id
        name = "HTTP" if method == OTHER else method
        if ended.route.name:
            attributes["gatepost.route"] = ended.route.name
            pattern = self._pattern_of(ended.route.name)
            if pattern is not None:
                attributes["http.route"] = pattern
                name = f"{name} {pattern}"
        if ended.status:
            attributes["http.response.status_code"] = ended.status
        error = error_of(ended)
        return self._span(name, SpanKind.SERVER, context, parent, attributes, error, ended.started, ended.finished)

    def _client(self, ended: Ended, context: SpanContext, parent: SpanContext) -> ReadableSpan:
        method = method_of(ended)
        host, port = address_of(ended.target)
        attributes: Attributes = {"http.request.method": method, "server.address": host}
        if port is not None:
            attributes["server.port"] = port
        _, _, peer = ended.target.partition(" at ")
        if peer:
            attributes["network.peer.address"] = address_of(peer)[0]
        if ended.route.service:
            attributes["gatepost.service"] = ended.route.service
        events: list[Event] = []
        if ended.first_byte:
            attributes["http.response.status_code"] = ended.status
            events.append(Event("gatepost.first_byte", timestamp=self._clock.ns(ended.first_byte)))
        error = upstream_error_of(ended)
        name = "HTTP" if method == OTHER else method
        return self._span(
            name, SpanKind.CLIENT, context, parent, attributes, error, ended.sent_upstream, ended.finished, events
        )

    def _span(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        error: str,
        start: float,
        end: float,
        events: Sequence[Event] = (),
    ) -> ReadableSpan:
        if error:
            attributes["error.type"] = error
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            events,
            kind=kind,
            status=Status(StatusCode.ERROR) if error else Status(),
            start_time=self._clock.ns(start),
            end_time=self._clock.ns(end),
            instrumentation_scope=self._scope,
        )


def _parent(ended: Ended, trace: bytes) -> int:
    """The client's span, where a trusted client told of one of this trace (it was checked when the line was made)."""
    for name, value in ended.said:
        if name == b"traceparent" and value[3:35] == trace:
            return int(value[36:52], 16)
    return 0
