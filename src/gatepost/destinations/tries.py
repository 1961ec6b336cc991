"""Tries that are a coroutine each: for destinations whose client library is one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeAlias

from gatepost.clock import Clock
from gatepost.destinations.base import Done, Result, Sending
from gatepost.errors import GatepostError

Work: TypeAlias = Coroutine[Any, Any, bytes]


class NotTaken(GatepostError):
    """The other side did not take it. `output` is what it said."""

    def __init__(self, reason: str, output: bytes = b"") -> None:
        super().__init__(reason)
        self.output = output


class Tries:
    """Those under way to one destination. Queues and programs know no HTTP: 200 stands for taken, 0 for not."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._clock = clock
        self._loop = loop
        self._timeout = timeout  # seconds
        self._under_way: dict[asyncio.Task[None], Try] = {}

    def start(self, work: Work, done: Done) -> Try:
        """Run `work`; what it returns is the response's body. It raises NotTaken or OSError where it failed."""
        sending = Try(done)
        sending.task = task = self._loop.create_task(self._run(sending, work), name="gatepost-try")
        self._under_way[task] = sending
        task.add_done_callback(lambda task: self._ended(task, work))
        return sending

    def _ended(self, task: asyncio.Task[None], work: Work) -> None:
        del self._under_way[task]
        work.close()  # where it was cancelled before its first step

    async def stop(self) -> None:
        """End those under way, without a result."""
        tasks = list(self._under_way)
        for sending in list(self._under_way.values()):
            sending.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, sending: Try, work: Work) -> None:
        started, began = self._clock.now(), self._clock.monotonic()
        status, body, error = 0, b"", ""
        try:
            async with asyncio.timeout(self._timeout):
                body = await work
            status = 200
        except TimeoutError:
            error = f"not done within {self._timeout:g} s"
        except NotTaken as failure:
            error, body = str(failure), failure.output
        except OSError as failure:
            error = failure.strerror or str(failure) or "the connection was lost"
        except Exception as failure:  # a library's own: a delivery must not stay without a result for it
            error = f"{type(failure).__name__}: {failure}"[:200]
        sending.finish(Result(status, body, error, started, self._clock.monotonic() - began))


class Try:
    """`base.Sending`."""

    __slots__ = ("__weakref__", "_done", "task")

    def __init__(self, done: Done) -> None:
        self._done: Done | None = done
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        self._done = None
        if self.task is not None:
            self.task.cancel()

    def finish(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


class Unsendable:
    """The sender of an endpoint that cannot be sent to: each try says why."""

    def __init__(self, tries: Tries, reason: str) -> None:
        self._tries = tries
        self._reason = reason

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        return self._tries.start(self._refuse(), done)

    async def _refuse(self) -> bytes:
        raise NotTaken(self._reason)
