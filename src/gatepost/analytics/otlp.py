"""What spans and metrics have in common on their way out: who sends them, what an exchange says of itself, and how a
collector that does not take them is told of. Needs the extra `otel`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from gatepost import log
from gatepost.analytics.telemetry import Ended
from gatepost.config.telemetry import Telemetry as Settings

Attributes: TypeAlias = dict[str, str | bool | int | float]
PatternOf: TypeAlias = Callable[[str], str | None]
SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/: others are `_OTHER`, so that nobody can invent names.
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"})
OTHER: Final = "_OTHER"


def resource_of(settings: Settings, version: str) -> Resource:
    return Resource.create({"service.name": settings.service_name, "service.version": version, **settings.resource})


def scope_of(version: str) -> InstrumentationScope:
    return InstrumentationScope("gatepost", version, SCHEMA)


def url_of(settings: Settings, signal: str) -> str:
    return f"{settings.endpoint.rstrip('/')}/v1/{signal}"


def headers_of(settings: Settings) -> dict[str, str]:
    return {name: str(value) for name, value in settings.headers.items()}


def method_of(ended: Ended) -> str:
    method = ended.method.decode("latin-1")
    return method if method in _METHODS else OTHER


def error_of(ended: Ended) -> str:
    """`error.type` of the server's side: empty where the exchange went well, as far as the gateway is concerned."""
    status = ended.status
    if status == 0 or status >= 500:
        return ended.outcome or str(status or "no-response")
    return ended.outcome if status < 400 else ""  # a response that began well may have been cut


def upstream_error_of(ended: Ended) -> str:
    """The same of the upstream's side: there a 4xx is an error as well."""
    if not ended.first_byte:
        return ended.outcome or "no-response"
    return str(ended.status) if ended.status >= 400 else ended.outcome


def address_of(text: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, `[v6]:port`, a host alone, or the name of a target."""
    scheme, found, rest = text.partition("://")
    rest = (rest if found else text).partition(" at ")[0].partition("/")[0]
    if text.startswith("unix:"):
        return text.removeprefix("unix:"), None
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    if port.isascii() and port.isdigit():
        return host, int(port)
    return host, _PORTS.get(scheme) if found else None


class Failures(logging.Handler):
    """Hears why an export failed, from the exporter's own words, and says so once until one succeeds again.

    The exporter logs by `logging`, which nobody here reads: without a handler it would write plain text to standard
    error. One belongs to the thread that made it its own by `here`.
    """

    def __init__(self, signal: str) -> None:
        super().__init__(logging.WARNING)
        self._signal = signal
        self._failing = False
        self._reason = ""
        self._thread = 0

    def here(self) -> None:
        self._thread = threading.get_ident()
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self)

    def gone(self) -> None:
        logging.getLogger("opentelemetry").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._reason = record.getMessage()

    def note(self, sent: bool, what: int) -> None:
        """`what`: how many spans or points there were."""
        if sent:
            if self._failing:
                log.event("telemetry_sent", signal=self._signal)
        elif not self._failing:
            reason = self._reason or "the collector did not take it"
            log.event("telemetry_failed", level="warning", signal=self._signal, lost=what, reason=reason)
        self._failing = not sent
        self._reason = ""


class WallClock:
    """Unix nanoseconds of monotonic seconds. One belongs to one thread."""

    def __init__(self) -> None:
        self._offset = 0.0
        self.look()

    def look(self) -> None:
        """The wall clock may have been set."""
        self._offset = time.time() - time.monotonic()

    def ns(self, monotonic: float) -> int:
        return int((monotonic + self._offset) * 1e9)


_PORTS: Final = {"http": 80, "https": 443}
