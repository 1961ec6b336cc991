"""`ip`: from which addresses a request may come."""

from __future__ import annotations

from gatepost.config.values import Network, Strict


class IpPolicy(Strict, frozen=True):
    allow: tuple[Network, ...] = ()  # none: every address that is not denied
    deny: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if not self.allow and not self.deny:
            raise ValueError("needs `allow` or `deny`")
