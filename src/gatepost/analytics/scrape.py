"""`GET /metrics`, and how late the loop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final

from gatepost.analytics.metrics import CONTENT_TYPE, Histogram, Metric, lines
from gatepost.exchange import Exchange, Handler

SLICE: Final = 500  # lines written between two turns of the loop: about 1 ms
BEAT: Final = 0.1  # seconds


class Scrape(Handler):
    """Answers with all of `metrics()`. A long answer is written in slices, so that exchanges go on."""

    def __init__(self, metrics: Callable[[], list[Metric]]) -> None:
        self._metrics = metrics

    def handle(self, x: Exchange) -> None:
        x.upstream = x.loop.create_task(self._answer(x))

    def client_gone(self, x: Exchange) -> None:
        if isinstance(x.upstream, asyncio.Task):
            x.upstream.cancel()

    async def _answer(self, x: Exchange) -> None:
        text = lines(self._metrics())
        parts: list[str] = []
        while piece := "".join(islice(text, SLICE)):
            parts.append(piece)
            await asyncio.sleep(0)
        body = "".join(parts).encode()
        x.downstream.respond(x, 200, [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store")], body)


class Pulse:
    """Beats ten times a second, and notes how late each beat came: what a request had to wait for its turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.lag = Histogram()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time() + BEAT
        self._timer = self._loop.call_at(self._due, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self.lag.add(max(0.0, self._loop.time() - self._due))
        self.start()
