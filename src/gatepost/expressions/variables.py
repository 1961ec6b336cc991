"""The names that expressions may use, and their values for one exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from gatepost.errors import ExpressionError
from gatepost.exchange import CLAIMS, Exchange
from gatepost.expressions.payload import Json
from gatepost.expressions.runtime import Type
from gatepost.http1.messages import Fields

# Known as soon as the request is.
REQUEST_VARIABLES: Final[Mapping[str, Type]] = {
    "request.method": "string",
    "request.path": "string",  # normalised and decoded
    "request.host": "string",  # lower-case, with its port if it has one
    "request.query": "strings",  # the first value of each parameter
    "request.headers": "strings",  # by lower-case name; several values joined by ", "
    "request.params": "strings",  # of the route's path
    "request.body": "json",
    "consumer.id": "string",  # "" where nobody was identified
    "consumer.metadata": "strings",
    "consumer.claims": "json",  # of the token that was shown; {} where none was
    "client.address": "string",
    "route.name": "string",
}

# Known once the upstream has answered.
EXCHANGE_VARIABLES: Final[Mapping[str, Type]] = {
    **REQUEST_VARIABLES,
    "response.status": "int",
    "response.headers": "strings",
    "response.body": "json",
}


class ExchangeEnvironment:
    """The values for one exchange, each made when it is asked for. Bodies are decoded at most once, however many
    expressions look at them. Not to be kept after the exchange's end."""

    __slots__ = ("_request_body", "_request_json", "_response_body", "_response_json", "exchange")

    def __init__(self, x: Exchange, *, request_body: bytes | None = None, response_body: bytes | None = None) -> None:
        """A body that is not handed in (`request_body`: not in `x.body` either) is one that expressions cannot read."""
        self.exchange = x
        self._request_body = request_body
        self._response_body = response_body
        self._request_json: Json | None = None
        self._response_json: Json | None = None

    def __getitem__(self, name: str, /) -> Any:
        return _GETTERS[name](self)


class HeaderMap(Mapping[str, str]):
    """Fields by lower-case name, looked up where they stand: most expressions want one of them."""

    __slots__ = ("_lists",)

    def __init__(self, *lists: Fields) -> None:
        self._lists = lists

    def __getitem__(self, name: str, /) -> str:
        # RFC 9110 §5.2: several lines of a field mean their values joined by ", ".
        try:
            wanted = name.encode("latin-1")
        except UnicodeEncodeError:
            raise KeyError(name) from None
        values = [value for fields in self._lists for key, value in fields if key == wanted]
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter({key.decode("latin-1"): None for fields in self._lists for key, _ in fields})

    def __len__(self) -> int:
        return len({key for fields in self._lists for key, _ in fields})


def _query(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        found.setdefault(name, value)
    return found


def _request_body(env: ExchangeEnvironment) -> Json:
    if env._request_json is None:
        body = env.exchange.body if env._request_body is None else env._request_body
        if body is None:
            raise ExpressionError("request.body was not kept: it is streamed, or too large")
        env._request_json = Json(body, "request.body")
    return env._request_json


def _response_body(env: ExchangeEnvironment) -> Json:
    if env._response_json is None:
        if env._response_body is None:
            raise ExpressionError("response.body was not kept: it is streamed, or too large")
        env._response_json = Json(env._response_body, "response.body")
    return env._response_json


def _claims(env: ExchangeEnvironment) -> Json:
    notes = env.exchange.notes
    return Json(cast("bytes", notes[CLAIMS]) if notes is not None and CLAIMS in notes else b"{}", "consumer.claims")


_GETTERS: Final[dict[str, Callable[[ExchangeEnvironment], Any]]] = {
    "request.method": lambda env: env.exchange.head.method.decode("latin-1"),
    "request.path": lambda env: env.exchange.path,
    "request.host": lambda env: env.exchange.head.host.decode("latin-1"),
    "request.query": lambda env: _query(env.exchange.query),
    "request.headers": lambda env: HeaderMap(env.exchange.head.fields, env.exchange.head.special),
    "request.params": lambda env: env.exchange.params,
    "request.body": _request_body,
    "consumer.id": lambda env: "" if env.exchange.consumer is None else env.exchange.consumer.id,
    "consumer.metadata": lambda env: {} if env.exchange.consumer is None else env.exchange.consumer.metadata,
    "consumer.claims": _claims,
    "client.address": lambda env: env.exchange.client,
    "route.name": lambda env: env.exchange.route.name,
    "response.status": lambda env: env.exchange.status,
    "response.headers": lambda env: HeaderMap(env.exchange.response_fields),
    "response.body": _response_body,
}
