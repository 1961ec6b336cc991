"""`rate_limit`: at most so many requests in a window."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Count, Expr, Name, Seconds, Strict


class RateLimitPolicy(Strict, frozen=True):
    limit: Count
    window: Seconds
    algorithm: Literal["sliding", "gcra", "fixed"] = "sliding"
    burst: Count | None = None  # gcra only; `limit` otherwise
    by: Expr = "client.address"
    plan: bool = False  # identified callers count by consumer, with the numbers of their plans where these have some
    shared: bool = False  # routes that use the same limit count together
    name: Name = "default"  # as it stands in RateLimit-Policy, and in plans

    def __post_init__(self) -> None:
        if self.window == 0:
            raise ValueError("`window` must be longer than 0")
        if self.burst is not None and self.algorithm != "gcra":
            raise ValueError("`burst` needs `algorithm: gcra`")
