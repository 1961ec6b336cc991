"""Active health checks of one service: each target is asked in its turn, and what it answers decides whether it is.

The turns hang on the sweep of `Deadlines`, not on timers of their own; a check itself is a task, as a dial is.
"""

from __future__ import annotations

import asyncio
import random

from gatepost import log
from gatepost.config.services import HealthCheck
from gatepost.errors import Problem, UpstreamError
from gatepost.exchange import Exchange
from gatepost.net.deadlines import NEVER
from gatepost.upstream.connect import connect
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.health import Event, Health
from gatepost.upstream.shadow import question
from gatepost.upstream.targets import Target, Upstream


class Checks:
    """Owns the checks of a service's targets, while it serves."""

    __slots__ = ("_checks", "_loop", "_settings", "_upstream")

    def __init__(self, upstream: Upstream, settings: HealthCheck, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._settings = settings
        self._loop = loop
        self._checks: dict[Target, _Check] = {}

    def start(self) -> None:
        self.members()

    def stop(self) -> None:
        for check in self._checks.values():
            check.stop()
        self._checks.clear()

    def members(self) -> None:
        targets = self._upstream.targets
        for target in [each for each in self._checks if each not in targets]:
            self._checks.pop(target).stop()
        for target in targets:
            if target not in self._checks:
                self._checks[target] = _Check(self._upstream, target, self._settings, self._loop)


class _Check:
    """The checks of one target, one after the other."""

    __slots__ = ("_in_a_row", "_loop", "_settings", "_target", "_task", "_upstream", "_well", "deadline")

    def __init__(
        self, upstream: Upstream, target: Target, settings: HealthCheck, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._upstream = upstream
        self._target = target
        self._settings = settings
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._in_a_row = 0
        self._well = True
        # The first ones soon, and not all at once.
        self.deadline = loop.time() + min(settings.interval, 1.0) * random.random()  # noqa: S311
        upstream.deadlines.join(self)

    def stop(self) -> None:
        self._upstream.deadlines.leave(self)
        self.deadline = NEVER
        if self._task is not None:
            self._task.cancel()

    def expire(self, now: float) -> None:
        self.deadline = NEVER
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        settings = self._settings
        try:
            reason = await ask(self._upstream, self._target, settings)
        except Exception as error:  # a fault of ours: the checks go on, and the log has it
            reason = f"{type(error).__name__}: {error}"
            service, target = self._upstream.name, self._target.name
            log.event("check_failed", level="error", service=service, target=target, reason=reason)
        self._task = None
        self.seen(reason)
        spread = 1.0 + settings.jitter * (random.random() - 0.5)  # noqa: S311
        self.deadline = self._loop.time() + settings.interval * spread

    def seen(self, reason: str) -> None:
        """A check's result: "" where all was well, else what was wrong."""
        well = not reason
        self._in_a_row = self._in_a_row + 1 if well is self._well else 1
        self._well = well
        upstream, target, settings = self._upstream, self._target, self._settings
        if well and self._in_a_row >= settings.healthy:
            upstream.turn(target, Event.CHECKS_PASSED)
        elif not well and self._in_a_row >= settings.unhealthy and target.health is not Health.DOWN:
            upstream.turn(target, Event.CHECKS_FAILED, f"its checks failed: {reason}")


async def ask(upstream: Upstream, target: Target, settings: HealthCheck) -> str:
    """One check: "" where all is well, else what is wrong. On a connection of its own: a new client could not use one
    that was kept."""
    try:
        async with asyncio.timeout(settings.timeout):
            connection = await connect(upstream, target, settings.timeout)
            connection.for_one_exchange()  # it is dropped below, a turn of the loop after its answer
            if settings.kind == "tcp":
                connection.drop()
                return ""
            return await _Asking(connection, target, settings).answer()
    except TimeoutError:
        return f"no answer within {settings.timeout:g} s"
    except UpstreamError as error:
        return error.problem.detail


class _Asking:
    """The owner of a check's connection."""

    __slots__ = ("_connection", "_request", "_result", "_settings", "_x", "first_byte", "idle", "total")

    def __init__(self, connection: UpstreamConnection, target: Target, settings: HealthCheck) -> None:
        loop = asyncio.get_running_loop()
        self.first_byte = self.idle = settings.timeout
        self.total = 0.0
        self._settings = settings
        self._connection = connection
        self._result: asyncio.Future[str] = loop.create_future()
        self._x = question(loop, self._done)
        host = settings.host.encode() if settings.host else target.host_header
        self._request = b"GET %b%b HTTP/1.1\r\nhost: %b\r\nuser-agent: Gatepost\r\nconnection: close\r\n\r\n" % (
            target.base,
            settings.path.encode(),
            host,
        )

    async def answer(self) -> str:
        try:
            self._connection.start(self._x, self, self._request, b"")
            return await self._result
        finally:
            self._connection.drop()

    def failed(self, connection: UpstreamConnection, x: Exchange, problem: Problem, *, retry: bool) -> None:
        self._end(problem.detail)

    def _done(self, status: int) -> None:
        settings = self._settings
        good = status in settings.statuses if settings.statuses else 200 <= status < 300
        self._end("" if good else f"it answered {status}" if status else "its answer broke off")

    def _end(self, reason: str) -> None:
        if not self._result.done():
            self._result.set_result(reason)
