"""`transform`: another JSON body, of the request, of the response or of both."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Bytes, Expr, Strict


class TransformPolicy(Strict, frozen=True):
    request: Expr | None = None  # the new body, as JSON
    response: Expr | None = None
    when: Expr = "response.status >= 200 && response.status < 300"  # which responses
    on_error: Literal["refuse", "pass"] = "refuse"
    response_bytes: Bytes = 1_048_576  # the largest response that is held in memory

    def __post_init__(self) -> None:
        if self.request is None and self.response is None:
            raise ValueError("must have `request`, `response` or both")
