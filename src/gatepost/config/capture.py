"""`capture` of a route: which of its exchanges are kept whole, redacted. `captures`: how long they are."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from gatepost.config.values import Bytes, Count, Seconds, Strict

Status: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "status"})]  # "404", or a class: 5xx


class Capture(Strict, frozen=True):
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01  # share of the exchanges that are watched
    statuses: tuple[Status, ...] = ()  # of these, those with such a status are kept; none: every one
    body_bytes: Bytes = 4_096  # of each body; 0: none
    redact: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()  # further fields, parameters, keys of JSON

    def __post_init__(self) -> None:
        if self.body_bytes > 65_536:
            raise ValueError("`body_bytes` must be at most 64KiB")


class Captures(Strict, frozen=True):
    keep: Seconds = 86_400.0
    most: Count = 10_000  # in the store; the oldest go first
    buffer_bytes: Bytes = 8_388_608  # not written yet; more are dropped and counted
