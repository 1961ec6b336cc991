"""Takes a sample from each exchange that ends; adds samples up a few at a time, between other work.

On the hot moment a sample is one tuple in a list (0.5 µs); adding it up costs 1.5 µs. Where samples come faster than
they can be added up, new ones are dropped and counted, and traffic goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol, TypeAlias

from gatepost.analytics.cells import Cells
from gatepost.clock import Clock
from gatepost.exchange import Consumer, Exchange, Route
from gatepost.stores.analytics import MINUTE, AnalyticsRow

DELAY: Final = 0.25  # seconds that a sample waits for others
TURN: Final = 128  # samples added up in one turn of the loop: about 0.4 ms

# Route, consumer, status, bytes in and out; then monotonic seconds: begun, handed to a target, its first byte, the end.
_Sample: TypeAlias = tuple[Route, Consumer | None, int, int, int, float, float, float, float]


class Listener(Protocol):
    """Hears of every sample as it is added up: Prometheus, say."""

    def seen(self, route: str, status: int, gateway: float, upstream: float | None) -> None:
        """Durations in seconds; `upstream` is None for what was not handed to a target."""
        ...


class Meter:
    """Implements `gate.Recorder`. Owned by the app; called on the loop."""

    __slots__ = ("_clock", "_limit", "_listener", "_minutes", "_samples", "_timer", "_waiting", "dropped")

    def __init__(self, clock: Clock, *, limit: int, listener: Listener | None = None) -> None:
        self._clock = clock
        self._limit = limit  # samples not added up yet
        self._listener = listener
        self._samples: list[_Sample] = []
        self._waiting: Iterator[_Sample] = iter(())  # those being added up now
        self._minutes: dict[int, Cells] = {}
        self._timer = False
        self.dropped = 0  # samples, since the start

    def record(self, x: Exchange, finished: float) -> None:
        samples = self._samples
        if len(samples) >= self._limit:
            self.dropped += 1
            return
        samples.append(
            (
                x.route,
                x.consumer,
                x.status,
                x.bytes_in,
                x.bytes_out,
                x.started,
                x.sent_upstream,
                x.first_byte,
                finished,
            )
        )
        if not self._timer:
            self._timer = True
            loop = x.loop
            loop.call_later(DELAY, self._turn, loop.call_soon)

    def add_up(self, most: int | None = None) -> bool:
        """Add up samples, at most `most` (None: all): whether there are more."""
        offset = self._clock.now() - self._clock.monotonic()
        left = most
        while left is None or left > 0:
            sample = next(self._waiting, None)
            if sample is None:
                if not self._samples:
                    return False
                self._waiting, self._samples = iter(self._samples), []
                continue
            self._add(sample, offset)
            if left is not None:
                left -= 1
        return True

    def take(self, before: int) -> list[AnalyticsRow]:
        """What was counted in minutes that began before `before` (Unix seconds), which are forgotten here. `part` is
        the caller's to set."""
        rows: list[AnalyticsRow] = []
        for minute in sorted(minute for minute in self._minutes if minute < before):
            rows += self._minutes.pop(minute).rows(MINUTE, minute, 0)
        return rows

    def _turn(self, again: object) -> None:
        assert callable(again)
        if self.add_up(TURN):
            again(self._turn, again)
        else:
            self._timer = False

    def _add(self, sample: _Sample, offset: float) -> None:
        route, consumer, status, bytes_in, bytes_out, started, sent, first, finished = sample
        minute = int(finished + offset) // MINUTE * MINUTE
        cells = self._minutes.get(minute)
        if cells is None:
            cells = self._minutes[minute] = Cells()
        cell = cells.of(route.name, consumer.id if consumer is not None else "", status // 100)
        cell.requests += 1
        cell.bytes_in += bytes_in
        cell.bytes_out += bytes_out
        total = finished - started
        upstream: float | None = None
        if sent:
            upstream = (first or finished) - sent
            total -= upstream
            cell.upstream.add(upstream)
        cell.gateway.add(total)
        if self._listener is not None:
            self._listener.seen(route.name, status, total, upstream)
