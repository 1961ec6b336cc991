"""Plans, decided as pure values: what several of them open together, and which of their limits holds.

- A route and method are open where *one* plan opens both. (Not routes and methods each for themselves: `reports` with
  GET and `orders` with POST do not open POST on `reports`.)
- Only the plans that open a route and method have a say in their limits; of their numbers **the wider wins**. A plan
  that says nothing about a limit leaves it at the number of the policy that asks.
- So another plan never takes anything away from who has plans already.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatepost.model import Allotment, Plan, Rate

DAY: Final = 86_400.0
_SECONDS: Final = {
    "day": DAY,
    "month": 365.2425 / 12 * DAY,
}  # to compare periods with; they are counted by the calendar


def opening(plans: Iterable[Plan], route: str, method: str) -> tuple[Plan, ...]:
    """Those of `plans` that open `route` for `method`; none: it is closed. HEAD follows GET."""
    if method == "HEAD":
        method = "GET"
    return tuple(
        plan
        for plan in plans
        if (plan.routes is None or route in plan.routes) and (plan.methods is None or method in plan.methods)
    )


def widest_rate(plans: Iterable[Plan], name: str, otherwise: Rate) -> Rate:
    """The greatest rate under `name`; of equal ones that which lets more come at once. No plans: `otherwise`."""
    return max((plan.rates.get(name, otherwise) for plan in plans), key=_rate, default=otherwise)


def widest_quota(plans: Iterable[Plan], name: str, otherwise: Allotment) -> Allotment:
    """As `widest_rate`; different periods are compared by their requests a second."""
    return max((plan.quotas.get(name, otherwise) for plan in plans), key=_allotment, default=otherwise)


def widest_concurrency(plans: Iterable[Plan], otherwise: int) -> int:
    return max((otherwise if p.concurrency is None else p.concurrency for p in plans), default=otherwise)


def seconds_of(period: str | float) -> float:
    return _SECONDS[period] if isinstance(period, str) else period


def _rate(rate: Rate) -> tuple[float, int]:
    return rate.limit / rate.window, rate.limit


def _allotment(quota: Allotment) -> tuple[float, int, str]:
    return quota.limit / seconds_of(quota.period), quota.limit, str(quota.period)


class Opened:
    """The plans that open one route and method to one set of plans. `memo` is for what policies conclude from them."""

    __slots__ = ("memo", "plans")

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self.plans = plans
        self.memo: dict[object, object] = {}


class Grant:
    """What one set of plans grants. Shared by the consumers that have the same, made anew when a plan changes."""

    __slots__ = ("_opened", "by_method", "names", "plans")

    def __init__(self, names: tuple[str, ...], known: dict[str, Plan]) -> None:
        """A name that is not known grants nothing: of a consumer whose only plan is gone, every route is closed."""
        self.names = names
        self.plans = tuple(known[name] for name in names if name in known)
        self.by_method = any(plan.methods is not None for plan in self.plans)
        self._opened: dict[tuple[str, bytes], Opened | None] = {}

    def opened(self, route: str, method: bytes) -> Opened | None:
        """None where no plan opens the route for the method."""
        place = (route, method)
        try:
            return self._opened[place]
        except KeyError:
            pass
        plans = opening(self.plans, route, method.decode("latin-1"))
        found = Opened(plans) if plans else None
        if len(self._opened) < _REMEMBERED:  # methods are the callers' own words
            self._opened[place] = found
        return found


_REMEMBERED: Final = 16_384
