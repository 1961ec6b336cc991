"""The control API, loaded when it is first asked for.

FastAPI and the API's models take 0.8 of the 1.5 s of CPU that a start would cost, and a node that only serves traffic
and makes messages needs none of it: neither is served through the framework. So the first call waits for that long,
and a node that comes back after a crash serves twice as soon.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from gatepost import log
from gatepost.errors import INTERNAL
from gatepost.exchange import Exchange, problem
from gatepost.upstream.asgi import AsgiHandler

if TYPE_CHECKING:
    from fastapi import FastAPI


class LateApi:
    """A handler. `make` imports and builds the application; it runs in a thread, beside the traffic."""

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self._make = make
        self._handler: AsgiHandler | None = None
        self._waiting: dict[Exchange, None] = {}
        self._loading: asyncio.Task[None] | None = None

    def handle(self, x: Exchange) -> None:
        if self._handler is not None:
            self._handler.handle(x)
            return
        self._waiting[x] = None
        if self._loading is None:
            self._loading = x.loop.create_task(self._load(), name="gatepost-api")

    def client_gone(self, x: Exchange) -> None:
        if x in self._waiting:
            del self._waiting[x]
        elif self._handler is not None:
            self._handler.client_gone(x)

    async def shutdown(self) -> None:
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._handler is not None:
            await self._handler.shutdown()

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            handler = AsgiHandler(await loop.run_in_executor(None, self._build))
            await handler.startup()
        except Exception as error:
            log.event("api_failed", level="error", reason=f"{type(error).__name__}: {error}")
            self._loading = None  # the next call tries again
            for x in self._take():
                answer = problem(x.id, INTERNAL)
                x.outcome = answer.outcome
                x.downstream.respond(x, answer.status, answer.fields, answer.body)
            return
        gc.freeze()  # it lives as long as the node
        self._handler = handler
        for x in self._take():
            handler.handle(x)

    def _build(self) -> FastAPI:
        api = self._make()
        api.openapi()  # 0.2 s: here, and not in the middle of traffic
        return api

    def _take(self) -> list[Exchange]:
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
