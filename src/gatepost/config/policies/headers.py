"""`headers`: set, add and remove fields of the request and of the response."""

from __future__ import annotations

from gatepost.config.values import Header, Strict, Template


class FieldEdits(Strict, frozen=True):
    set: dict[Header, Template] = {}  # instead of every field of that name
    add: dict[Header, Template] = {}  # beside those that are there
    remove: tuple[Header, ...] = ()


class HeadersPolicy(Strict, frozen=True):
    request: FieldEdits = FieldEdits()
    response: FieldEdits = FieldEdits()

    def __post_init__(self) -> None:
        if self.request == self.response == FieldEdits():
            raise ValueError("must set, add or remove something, in `request` or in `response`")
