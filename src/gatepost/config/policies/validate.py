"""`validate`: what a request must look like."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal

from gatepost.config.values import Count, Header, SchemaText, Strict

MEDIA_TYPE: Final = re.compile(r"(\*/\*|[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)")


class Parameter(Strict, frozen=True):
    """One parameter of the path, the query, the header or a cookie, as OpenAPI describes it."""

    schema: SchemaText
    required: bool = False  # of the path: always
    style: Literal["form", "simple", "label", "matrix", "spaceDelimited", "pipeDelimited", "deepObject"] | None = None
    explode: bool | None = None  # true for `form`, false otherwise
    json: bool = False  # its value is JSON, `style` says nothing


class Body(Strict, frozen=True):
    """A body by its media type; a plain text is the file of its JSON Schema."""

    short: ClassVar[str] = "schema"

    schema: SchemaText | None = None  # of application/json and every …/…+json
    content: dict[str, SchemaText] = {}  # media type, or a range such as text/*: its schema
    required: bool = True

    def __post_init__(self) -> None:
        for media in self.content:
            if not MEDIA_TYPE.fullmatch(media):
                raise ValueError(f"content: `{media}` is not a media type such as application/json")
        if self.schema is None and not self.content:
            raise ValueError("must have a `schema` (of JSON), or `content` with one for each media type")


class ValidatePolicy(Strict, frozen=True):
    path: dict[str, Parameter] = {}
    query: dict[str, Parameter] = {}
    headers: dict[Header, Parameter] = {}
    cookies: dict[str, Parameter] = {}
    body: Body | None = None
    formats: bool = True  # `format` is checked, not only noted
    violations: Count = 50  # told at most

    def __post_init__(self) -> None:
        if not (self.path or self.query or self.headers or self.cookies or self.body):
            raise ValueError("must have at least one of path, query, headers, cookies, body")
