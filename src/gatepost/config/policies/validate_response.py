"""`validate_response`: what the service must answer."""

from __future__ import annotations

import re
from typing import Final, Literal

from gatepost.config.policies.validate import MEDIA_TYPE, Parameter
from gatepost.config.values import Bytes, Header, SchemaText, Strict

_STATUS: Final = re.compile(r"[1-5][0-9]{2}|[1-5]XX|default")


class ResponseRule(Strict, frozen=True):
    """A response of one status."""

    content: dict[str, SchemaText] = {}  # media type, or a range: its schema; none: its body is not looked at
    headers: dict[Header, Parameter] = {}

    def __post_init__(self) -> None:
        for media in self.content:
            if not MEDIA_TYPE.fullmatch(media):
                raise ValueError(f"content: `{media}` is not a media type such as application/json")


class ValidateResponsePolicy(Strict, frozen=True):
    responses: dict[str, ResponseRule]  # by status: 200, 2XX or default
    on_violation: Literal["refuse", "log"] = "refuse"
    formats: bool = True  # `format` is checked, not only noted
    response_bytes: Bytes = 1_048_576  # of a body, held until it has been checked; a larger one is a violation

    def __post_init__(self) -> None:
        for status in self.responses:
            if not _STATUS.fullmatch(status):
                raise ValueError(f"responses: `{status}` must be a status such as 200, 2XX or default")
