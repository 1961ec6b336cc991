"""Bodies that endpoints' transforms made, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import apsw

from gatepost.lifecycle import State
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("sqlite")


class _Engine(Protocol):
    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...


class SqliteShaped:
    """`ShapedStore`."""

    async def shaped(self: _Engine, endpoint: int, message: int) -> bytes | None:
        return await self._read(_body, endpoint, message)


def keep_or_drop(execute: Callable[..., Any], endpoint: int, message: int, state: State, body: bytes) -> None:
    """A delivery with the shaped body `body` has come to `state`."""
    if state is not State.PENDING:
        execute(_SQL["drop_shaped"], (endpoint, message))
    elif body:
        execute(_SQL["keep_shaped"], (endpoint, message, body))


def _body(connection: apsw.Connection, endpoint: int, message: int) -> bytes | None:
    body: bytes | None = connection.execute(_SQL["shaped"], (endpoint, message)).get
    return body
