"""The names that an endpoint's expressions may use (`filter`, `transform`, `ordering`), and their values for one
message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from gatepost.expressions.payload import Json
from gatepost.expressions.program import Program, compile_expression
from gatepost.expressions.runtime import Type

MESSAGE_VARIABLES: Final[dict[str, Type]] = {
    "payload": "json",
    "event_type": "string",
    "channels": "json",  # a list of texts
    "app": "string",  # the app's uid, or its id where it has none
}


def compile_filter(text: str) -> Program:
    """An endpoint's `filter`. Raises ExpressionError with the place and the reason."""
    return compile_expression(text, variables=MESSAGE_VARIABLES, result="bool")


def compile_transform(text: str) -> Program:
    """An endpoint's `transform`. Raises ExpressionError."""
    return compile_expression(text, variables=MESSAGE_VARIABLES, result="any")


class MessageEnvironment:
    """The values for one message. The payload is decoded at most once, however many endpoints' expressions look."""

    __slots__ = ("_app", "_channels", "_event_type", "_payload")

    def __init__(self, payload: bytes, event_type: str, channels: Sequence[str], app: str) -> None:
        self._payload = Json(payload, "payload")
        self._event_type = event_type
        self._channels = channels
        self._app = app

    def __getitem__(self, name: str, /) -> Any:
        return _GETTERS[name](self)


_GETTERS: Final[dict[str, Callable[[MessageEnvironment], Any]]] = {
    "payload": lambda env: env._payload,
    "event_type": lambda env: env._event_type,
    "channels": lambda env: Json(msgspec.json.encode(env._channels), "channels"),
    "app": lambda env: env._app,
}
