"""`method`: another method for the service."""

from __future__ import annotations

from typing import ClassVar

from gatepost.config.values import Method, Strict


class MethodPolicy(Strict, frozen=True):
    short: ClassVar[str] = "to"

    to: Method

    def __post_init__(self) -> None:
        if self.to in ("HEAD", "CONNECT", "TRACE", "OPTIONS"):
            raise ValueError(f"{self.to} cannot stand in for another method")
