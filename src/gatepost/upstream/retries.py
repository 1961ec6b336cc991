"""When a try is repeated, how soon, and how often in all. Pure; the caller brings the time and the chance."""

from __future__ import annotations

from typing import Final

from gatepost.config.services import Retries
from gatepost.upstream.window import Window

BUDGET_WINDOW: Final = 10.0  # seconds

# What became of a try, by the problem it would be for the client.
_FAILURES: Final = {
    "upstream-unresolved": "connect-failure",
    "upstream-unreachable": "connect-failure",
    "upstream-tls": "connect-failure",
    "upstream-connect-timeout": "connect-failure",
    "upstream-closed": "reset",
    "upstream-timeout": "timeout",
}
_GATEWAY_ERRORS: Final = frozenset({502, 503, 504})


class Rule:
    """What a service's `retries` say, at hand for each exchange."""

    __slots__ = ("_failures", "_methods", "attempts", "backoff", "longest", "statuses")

    def __init__(self, settings: Retries) -> None:
        self.attempts = settings.attempts
        self.backoff = settings.backoff
        self.longest = settings.longest_backoff
        self._methods = frozenset(method.encode() for method in settings.methods)
        self._failures = frozenset(on for on in settings.on if not on.isdigit() and on != "gateway-error")
        statuses = frozenset(int(on) for on in settings.on if on.isdigit())
        self.statuses = statuses | _GATEWAY_ERRORS if "gateway-error" in settings.on else statuses

    def repeats_status(self, status: int, method: bytes) -> bool:
        return status in self.statuses and method in self._methods

    def repeats_failure(self, slug: str, method: bytes) -> bool:
        """`slug` names the problem. What could not be connected to was sent nothing: any method may try again."""
        what = _FAILURES.get(slug)
        return what in self._failures and (what == "connect-failure" or method in self._methods)

    def pause(self, repeated: int, chance: float) -> float:
        """Seconds to wait before the next try, after `repeated` repetitions. `chance` from 0 to 1.

        The whole of it is random ("full jitter"): clients that failed together do not come back together.
        """
        return min(self.longest, self.backoff * 2.0**repeated) * chance


class Budget:
    """Repetitions may be a share of requests, and no more: a service that fails is not sent a multiple of its load."""

    __slots__ = ("_least", "_share", "_window")

    def __init__(self, share: float, least: float) -> None:
        """`least`: repetitions a second that are there whatever the requests."""
        self._share = share
        self._least = least * BUDGET_WINDOW
        self._window = Window(BUDGET_WINDOW)

    def request(self, now: float) -> None:
        self._window.add(now, 1, 0)

    def take(self, now: float) -> bool:
        """One repetition, if there is one left."""
        window = self._window
        window.move(now)
        if window.marked + 1 > self._least + self._share * window.total:
            return False
        window.add(now, 0, 1)
        return True
