"""`queue`: requests wait for their turn instead of being refused."""

from __future__ import annotations

from gatepost.config.values import Count, Expr, Seconds, Strict


class QueuePolicy(Strict, frozen=True):
    limit: Count  # requests under way at once
    length: Count = 100  # requests that may wait
    timeout: Seconds = 5.0
    by: Expr | None = None  # a queue for each value; none: one for the route

    def __post_init__(self) -> None:
        if self.timeout == 0:
            raise ValueError("`timeout` must be longer than 0: what may not wait at all is `concurrency`")
