"""`mock`: the gateway answers by itself."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gatepost.config.values import Document, Header, Seconds, Strict, Template

MAX_DELAY = 60.0  # seconds


class Answer(Strict, frozen=True):
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: dict[Header, Template] = {}
    body: Template = ""
    json: Document = None  # a body of JSON, as values
    name: str | None = None  # what a client asks for with `Prefer: example=NAME`

    def __post_init__(self) -> None:
        if self.body and self.json is not None:
            raise ValueError("`body` and `json` exclude each other")


class MockPolicy(Strict, frozen=True):
    """One answer, or several that a client chooses from."""

    short: ClassVar[str] = "body"

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: dict[Header, Template] = {}
    body: Template = ""
    json: Document = None
    answers: tuple[Answer, ...] = ()
    delay: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.delay > MAX_DELAY:
            raise ValueError(f"`delay` may be at most {MAX_DELAY:g}s")
        if self.answers and (self.body or self.json is not None or self.headers or self.status != 200):
            raise ValueError("`answers` stand by themselves: status, headers, body and json belong to each of them")
        if self.body and self.json is not None:
            raise ValueError("`body` and `json` exclude each other")
