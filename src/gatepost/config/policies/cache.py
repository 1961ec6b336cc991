"""`cache`: answers from memory, as RFC 9111 lets a shared cache."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Bytes, Expr, Header, Seconds, Strict


class CachePolicy(Strict, frozen=True):
    ttl: Seconds | None = None  # instead of what responses say
    heuristic: Seconds = 3600.0  # the most that is guessed from Last-Modified; 0: nothing is
    stale_while_revalidate: Seconds = 0.0  # where the response does not say
    stale_if_error: Seconds = 0.0  # where the response does not say
    identified: Literal["marked", "own", "shared"] = "marked"
    set_cookie: bool = False  # store responses that set cookies
    key: Expr | None = None  # tells apart what the URL does not
    max_object: Bytes = 1_048_576
    collapse: Seconds = 5.0  # how long a request waits for the same one under way; 0: not at all
    targets: tuple[Header, ...] = ()  # fields of RFC 9213 that replace Cache-Control

    def __post_init__(self) -> None:
        if self.ttl is not None and self.ttl < 1:
            raise ValueError("`ttl` must be one second or more: HTTP counts ages in seconds")
        if self.max_object == 0:
            raise ValueError("`max_object` must be more than 0")
