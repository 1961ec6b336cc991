"""`api_key`: the caller shows a key."""

from __future__ import annotations

from gatepost.config.values import Header, Strict


class ApiKeyPolicy(Strict, frozen=True):
    header: Header = "X-Api-Key"
    query: str | None = None  # name of a query parameter that may carry the key instead
    cookie: str | None = None  # name of a cookie that may carry the key instead
