"""`query`: set, add and remove parameters of the query."""

from __future__ import annotations

from gatepost.config.values import Strict, Template


class QueryPolicy(Strict, frozen=True):
    set: dict[str, Template] = {}  # instead of every parameter of that name
    add: dict[str, Template] = {}  # beside those that are there
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.set or self.add or self.remove):
            raise ValueError("must set, add or remove something")
