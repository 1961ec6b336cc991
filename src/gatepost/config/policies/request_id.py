"""`request_id`: under which name an exchange is known."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Header, Strict


class RequestIdPolicy(Strict, frozen=True):
    header: Header = "X-Request-Id"
    accept: Literal["never", "trusted", "always"] = "trusted"  # whose id is taken: a trusted proxy's, anybody's
