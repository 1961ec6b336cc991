"""`concurrency`: at most so many requests under way at once."""

from __future__ import annotations

from gatepost.config.values import Count, Expr, Name, Strict


class ConcurrencyPolicy(Strict, frozen=True):
    limit: Count
    by: Expr = "client.address"
    plan: bool = False  # identified callers count by consumer, with the number of their plans where these have one
    shared: bool = False  # routes that use the same limit count together
    name: Name = "default"
