"""Forwarding with a guard: failed tries are repeated, a breaker keeps a sick service from being asked, targets whose
answers are bad are left alone.

One `Tries` accompanies an exchange. It stands between the target and the client (as a stage does), so it sees the head
of a response before the client does, and can throw it away as long as it may try again. What was decided stands in pure
code: `retries.py`, `breaker.py`, `ejection.py`.
"""

from __future__ import annotations

import asyncio
import random
import time

from gatepost.config.services import Timeouts
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Source, Through, TunnelEnd
from gatepost.http1.messages import Fields
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.forward import IDEMPOTENT, Forward
from gatepost.upstream.targets import Target, Upstream


def forwarding(
    upstream: Upstream,
    *,
    prefix: str | None = None,
    identity_encoding: bool = False,
    timeouts: Timeouts | None = None,
) -> Forward:
    """The handler that the service's settings ask for: the plain one pays for none of what it does not use."""
    config = upstream.config
    guarded = config.retries is not None or config.breaker is not None or config.ejection is not None
    kind = Guarded if guarded else Forward
    return kind(upstream, prefix=prefix, identity_encoding=identity_encoding, timeouts=timeouts)


def let_go(x: Exchange) -> None:
    """The client of an exchange left, whichever forwarder has it."""
    work, x.upstream = x.upstream, None
    if isinstance(work, UpstreamConnection):
        work.leave(x)
    elif isinstance(work, asyncio.Task):
        work.cancel()
    tries = x.downstream
    if isinstance(tries, Tries):
        tries.gone()


class Guarded(Forward):
    """Forwards the exchanges of one route to one service, each with its `Tries`."""

    __slots__ = ()

    def handle(self, x: Exchange) -> None:
        upstream = self.upstream
        now = time.monotonic()
        breaker = upstream.breaker
        admission = 0
        if breaker is not None:
            admission = breaker.admit(now)
            if not admission:
                self.answer(x, breaker_open(upstream), breaker.wait(now))
                return
        if upstream.budget is not None:
            upstream.budget.request(now)
        x.downstream = Tries(self, x, admission)
        self.send(x, (), retried=False)

    def client_gone(self, x: Exchange) -> None:
        let_go(x)

    def _start(self, x: Exchange, connection: UpstreamConnection, target: Target) -> None:
        tries = x.downstream
        assert isinstance(tries, Tries)
        tries.target = target
        connection.start(x, tries, self._request(x, target), x.body)

    def _unconnected(self, x: Exchange, target: Target, tried: tuple[Target, ...], p: Problem) -> None:
        tries = x.downstream
        assert isinstance(tries, Tries)
        tried = (*tried, target)
        other = self.upstream.choose(tried, x)
        if other is not None:
            self._dial(x, other, tried)  # no repetition: nothing was sent
        else:
            tries.unsent(p if len(self.upstream.targets) == 1 else self.all_down(), p.slug)

    def _refused(self, x: Exchange, p: Problem) -> None:
        tries = x.downstream
        if isinstance(tries, Tries):
            tries.refused(p)
        else:
            self.answer(x, p)

    def again(self, x: Exchange, tried: tuple[Target, ...]) -> None:
        """Another try: at a target that was not asked yet, if there is one that is up."""
        first = self.upstream.choose(tried, x) if tried else None
        if first is None:
            self.send(x, (), retried=False)
            return
        connection = first.take(fresh=x.head.method not in IDEMPOTENT)
        if connection is not None:
            self._start(x, connection, first)
        else:
            self._dial(x, first, tried)


class Tries(Through):
    """The tries of one exchange: its `Downstream` as targets see it, and the owner of their connections.

    Mutable; ends with the exchange, or with its client.
    """

    __slots__ = (
        "_admission",
        "_ended",
        "_forward",
        "_repeated",
        "_skipping",
        "_tried",
        "_waiting",
        "_x",
        "first_byte",
        "idle",
        "target",
        "total",
    )

    target: Target  # that is being asked

    def __init__(self, forward: Guarded, x: Exchange, admission: int) -> None:
        super().__init__(x.downstream)
        self._forward = forward
        self._x = x
        self._admission = admission  # of the breaker, while its result is open
        self._repeated = 0
        self._tried: tuple[Target, ...] = ()
        self._waiting: asyncio.TimerHandle | None = None
        self._skipping = False  # what still comes of a response that is thrown away
        self._ended = False
        self.first_byte = forward.first_byte
        self.idle = forward.idle
        self.total = forward.total
        settings = forward.upstream.config.retries
        if settings is not None and settings.try_timeout:
            self.first_byte = min(self.first_byte, settings.try_timeout)

    # What becomes of a try.

    def failed(self, connection: UpstreamConnection, x: Exchange, problem: Problem, *, retry: bool) -> None:
        """The connection's owner hears that a try failed before a byte of its response had passed."""
        if retry and x.body is not None and x.head.method in IDEMPOTENT:
            # RFC 9112 §9.3.1: a connection that was kept may be closed while the request is on its way. That says
            # nothing of the target, and is no repetition.
            self._forward.send(x, (), retried=True)
            return
        self._outcome(bad=True)
        self._repeat_or_answer(problem, problem.slug)

    def unsent(self, problem: Problem, slug: str) -> None:
        """No target could be connected to. `slug` says what was wrong with the last."""
        self._count(failed=True)
        self._repeat_or_answer(problem, slug)

    def refused(self, problem: Problem) -> None:
        """No target was asked."""
        self._forget()
        self._answer(problem)

    def _repeat_or_answer(self, problem: Problem, slug: str) -> None:
        rule = self._forward.upstream.retries
        if rule is not None and rule.repeats_failure(slug, self._x.head.method) and self._repeat():
            return
        self._answer(problem)

    def _repeats(self, status: int) -> bool:
        """A response came; throw it away?"""
        self._outcome(bad=status >= 500)
        rule = self._forward.upstream.retries
        return rule is not None and rule.repeats_status(status, self._x.head.method) and self._repeat()

    def _repeat(self) -> bool:
        """Try again after a while, if there is a try left, in its bounds and in the budget."""
        x = self._x
        forward = self._forward
        upstream = forward.upstream
        rule, budget, breaker = upstream.retries, upstream.budget, upstream.breaker
        assert rule is not None
        assert budget is not None
        if self._repeated >= rule.attempts or (x.body is None and x.sent_upstream):
            return False  # a body that streamed is gone
        now = time.monotonic()
        pause = rule.pause(self._repeated, random.random())  # noqa: S311 - not a secret
        if self.total and x.sent_upstream and now + pause >= x.sent_upstream + self.total:
            return False
        if not budget.take(now):
            return False
        if breaker is not None:
            self._admission = breaker.admit(now)
            if not self._admission:
                return False
        self._repeated += 1
        if x.sent_upstream and self.target not in self._tried:
            self._tried = (*self._tried, self.target)
        x.upstream = None
        self._waiting = x.loop.call_later(pause, self._go)
        return True

    def _go(self) -> None:
        self._waiting = None
        self._skipping = False
        self._forward.again(self._x, self._tried)

    def _outcome(self, *, bad: bool) -> None:
        self._forward.upstream.answered(self.target, bad=bad)
        self._count(failed=bad)

    def _count(self, *, failed: bool) -> None:
        breaker, admission = self._forward.upstream.breaker, self._admission
        if breaker is not None and admission:
            self._admission = 0
            breaker.record(admission, time.monotonic(), failed=failed)

    def _forget(self) -> None:
        breaker, admission = self._forward.upstream.breaker, self._admission
        if breaker is not None and admission:
            self._admission = 0
            breaker.forget(admission)

    def _answer(self, problem: Problem) -> None:
        self._ended = True
        self._x.downstream = self._downstream
        self._forward.answer(self._x, problem)

    def gone(self) -> None:
        """The client left."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._ended = True
        self._forget()

    # The response, as the target's connection tells it.

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        if self._repeats(status):
            self._skipping = True
            source.cancel()
        else:
            self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        if not self._repeats(status):
            self._ended = True
            self._downstream.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        if not self._skipping:
            self._downstream.send(data)

    def finish(self) -> None:
        if not self._skipping:
            self._ended = True
            self._downstream.finish()

    def abort(self) -> None:
        """The response broke off after it had begun: too late to try again, but not to learn of it."""
        if not self._skipping and not self._ended:
            self._ended = True
            self._forward.upstream.answered(self.target, bad=True)
            self._downstream.abort()

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        self._outcome(bad=False)
        self._ended = True
        return self._downstream.tunnel(x, status, fields, source)


def breaker_open(upstream: Upstream) -> Problem:
    return Problem(
        503,
        "breaker-open",
        "The service fails too often to be asked now",
        f"the breaker of {upstream.name!r} is open: too many requests to it failed",
    )
