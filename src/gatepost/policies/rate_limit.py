"""`rate_limit`: at most so many requests in a window, by client, consumer or any other expression.

Every answer says where the caller stands, in the fields of draft-ietf-httpapi-ratelimit-headers:

    RateLimit-Policy: "default";q=100;w=60
    RateLimit: "default";r=12;t=7        twelve more now; in seven seconds there may be more again

A refusal is a 429 with `Retry-After`. How requests are counted stands in `limiters.py`.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Limit, Response, problem
from gatepost.http1.messages import FieldList
from gatepost.policies.base import PolicyContext
from gatepost.policies.keys import Key, key_by
from gatepost.policies.limiters import EXACT_UP_TO, Gcra, Limiter, SlidingBuckets, SlidingLog


def build(use: RateLimitPolicy, context: PolicyContext) -> RateLimit:
    # What is counted goes on over a reload if the whole definition stays. The key by which it is counted is part of it.
    limiter = context.states.get((context.route, use), lambda: limiter_for(use))
    return RateLimit(use, limiter, key_by(use.by))


def limiter_for(config: RateLimitPolicy) -> Limiter[Any]:
    if config.algorithm == "gcra":
        return Gcra(config.limit, config.window, config.burst or config.limit)
    if config.limit <= EXACT_UP_TO:
        return SlidingLog(config.limit, config.window)
    return SlidingBuckets(config.limit, config.window)


class RateLimit(Limit):
    """One limit of one route. `key` says whom an exchange counts for."""

    name = "rate_limit"

    def __init__(self, config: RateLimitPolicy, limiter: Limiter[Any], key: Key) -> None:
        self._limiter = limiter
        self._key = key.of
        self.needs_request_body = key.needs_body
        self._note = f"rate_limit:{config.name}"
        self._quota = f"{config.limit} requests in {config.window:g} s"
        self._policy_field = (b"ratelimit-policy", b'"%b";q=%d;w=%d' % _policy(config))
        self._field = b'"' + config.name.encode() + b'";r=%d;t=%d'
        self._line = b"%b: %b\r\n" % self._policy_field

    def check(self, x: Exchange, now: float) -> Response | None:
        key = self._key(x)
        wait = self._limiter.check(key, now)
        if not wait:
            x.note(self._note, key)
            return None
        return self._refusal(x, wait)

    def check_and_take(self, x: Exchange) -> Response | None:
        usage = self._limiter.check_and_take(self._key(x), x.started)
        if usage[0] < 0:
            return self._refusal(x, usage[1])
        if x.notes is None:
            x.notes = {self._note: usage}
        else:
            x.notes[self._note] = usage
        return None

    def _refusal(self, x: Exchange, wait: float) -> Response:
        x.note(self._note, (0, wait))
        seconds = ceil(wait)
        detail = f"The limit is {self._quota}. Try again in {seconds} s."
        return problem(
            x.id, Problem(429, "rate-limited", "Too many requests", detail), [(b"retry-after", b"%d" % seconds)]
        )

    def take(self, x: Exchange, now: float) -> None:
        assert x.notes is not None
        key = x.notes[self._note]
        assert isinstance(key, str)
        x.notes[self._note] = self._limiter.take(key, now)

    def on_response(self, x: Exchange) -> None:
        added = [self._policy_field]
        lines = self._line
        usage = x.notes.get(self._note) if x.notes is not None else None
        if isinstance(usage, tuple):  # nothing was counted where another policy refused first
            remaining, reset = usage
            value = self._field % (remaining, ceil(reset))
            added.append((b"ratelimit", value))
            lines += b"ratelimit: " + value + b"\r\n"
        fields = x.response_fields
        x.response_fields = fields.plus(added, lines) if type(fields) is FieldList else [*fields, *added]


def _policy(config: RateLimitPolicy) -> tuple[bytes, int, int]:
    # Both are integers in the draft: a window of half a second is told as one of a second.
    return config.name.encode(), config.limit, ceil(config.window)
