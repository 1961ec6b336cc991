"""A destination without a network: it notes each try and answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gatepost.clock import Clock
from gatepost.destinations.base import Done, Result
from gatepost.model import Endpoint


class Try:
    def __init__(
        self, destination: ScriptedDestination, endpoint: Endpoint, id: bytes, body: bytes, done: Done
    ) -> None:
        self.destination = destination
        self.endpoint = endpoint
        self.id = id
        self.body = body
        self.cancelled = False
        self._done = done

    def answer(self, status: int, error: str = "") -> None:
        destination = self.destination
        if self in destination.open:
            destination.open.remove(self)
            self._done(Result(status, b"answer", error, destination.clock.now(), 0.01, destination.retry_after))

    def cancel(self) -> None:
        self.cancelled = True
        if self in self.destination.open:
            self.destination.open.remove(self)


class ScriptedDestination:
    """`script(try)` gives the status of the answer, or None to leave the try open until the test answers it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.script: Callable[[Try], int | None] = lambda _: 200
        self.retry_after: float | None = None  # what the next answers say
        self.tries: list[Try] = []
        self.open: list[Try] = []
        self.most_open = 0

    def sender(self, endpoint: Endpoint) -> ScriptedSender:
        return ScriptedSender(self, endpoint)

    def close(self) -> None:
        for sending in list(self.open):
            sending.cancel()


class ScriptedSender:
    def __init__(self, destination: ScriptedDestination, endpoint: Endpoint) -> None:
        self._destination = destination
        self._endpoint = endpoint

    def send(self, id: bytes, body: bytes, done: Done) -> Try:
        destination = self._destination
        sending = Try(destination, self._endpoint, id, body, done)
        destination.tries.append(sending)
        destination.open.append(sending)
        destination.most_open = max(destination.most_open, len(destination.open))
        status = destination.script(sending)
        if status is not None:
            asyncio.get_running_loop().call_soon(sending.answer, status)
        return sending
