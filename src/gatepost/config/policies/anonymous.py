"""`anonymous`: nobody has to say who they are."""

from __future__ import annotations

from gatepost.config.values import Name, Strict


class AnonymousPolicy(Strict, frozen=True):
    consumer: Name | None = None  # whom such exchanges count as
