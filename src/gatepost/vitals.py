"""What a node tells Prometheus of itself: its parts are asked when `/metrics` is, and nothing is kept twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gatepost.analytics.capture import Captures
from gatepost.analytics.meter import Meter
from gatepost.analytics.metrics import Metric, Traffic, one, process_metrics
from gatepost.analytics.scrape import Pulse
from gatepost.analytics.telemetry import Telemetry
from gatepost.deliveries.engine import Deliveries
from gatepost.server.listener import Listening
from gatepost.server.records import AccessLog
from gatepost.stores.base import NewMessage, Store


class Vitals:
    """`start` it when all parts are there, `stop` it with the node."""

    def __init__(self, version: str, loop: asyncio.AbstractEventLoop) -> None:
        self.traffic = Traffic()
        self._version = version
        self._pulse = Pulse(loop)
        self._messages = self._commits = 0

    def start(
        self,
        listening: Sequence[Listening],
        store: Store,
        deliveries: Deliveries,
        meter: Meter | None,
        access_log: AccessLog | None,
        telemetry: Telemetry | None = None,
        captures: Captures | None = None,
    ) -> None:
        self._listening = listening
        self._store = store
        self._deliveries = deliveries
        self._meter = meter
        self._access_log = access_log
        self._telemetry = telemetry
        self._captures = captures
        self._pulse.start()

    def stop(self) -> None:
        self._pulse.stop()

    def committed(self, messages: Sequence[NewMessage]) -> None:
        """For `store.on_commit`."""
        self._commits += 1
        self._messages += len(messages)

    def metrics(self) -> list[Metric]:
        deliveries = self._deliveries
        connections = [
            ("", (("listener", each.settings.address),), float(len(each.gate.connections))) for each in self._listening
        ]
        results = [
            ("", (("result", "delivered"),), float(deliveries.delivered)),
            ("", (("result", "failed"),), float(deliveries.failed)),
        ]
        dropped = [
            ("", (("what", "access records"),), float(self._access_log.lost if self._access_log is not None else 0)),
            ("", (("what", "analytics samples"),), float(self._meter.dropped if self._meter is not None else 0)),
            ("", (("what", "telemetry"),), float(self._telemetry.dropped if self._telemetry is not None else 0)),
            ("", (("what", "captures"),), float(self._captures.dropped if self._captures is not None else 0)),
        ]
        return [
            Metric("gatepost_info", "gauge", "Which version this is.", one(1, ("version", self._version))),
            *self.traffic.metrics(),
            Metric("gatepost_connections", "gauge", "Open connections of clients.", connections),
            Metric("gatepost_messages_total", "counter", "Messages that are on disk.", one(self._messages)),
            Metric("gatepost_store_commits_total", "counter", "Commits that held messages.", one(self._commits)),
            Metric("gatepost_store_writable", "gauge", "1 while the store takes writes.", one(self._store.writable)),
            Metric("gatepost_attempts_total", "counter", "Tries of deliveries that ended.", results),
            Metric("gatepost_attempts_in_flight", "gauge", "Tries under way.", one(deliveries.in_flight)),
            Metric("gatepost_lanes_waiting", "gauge", "Lanes whose turn has not come.", one(deliveries.waiting)),
            Metric(
                "gatepost_loop_lag_seconds",
                "histogram",
                "How late the loop came to a timer.",
                self._pulse.lag.samples(),
            ),
            Metric("gatepost_dropped_total", "counter", "What was not written down, of too much.", dropped),
            *process_metrics(),
        ]
