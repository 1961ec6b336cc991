"""Bodies that endpoints' transforms made, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

from gatepost.lifecycle import State
from gatepost.stores.base import Completion
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    async def _read(self, function: Callable[[Any], Awaitable[T]]) -> T: ...


class PostgresShaped:
    """`ShapedStore`."""

    async def shaped(self: _Engine, endpoint: int, message: int) -> bytes | None:
        body: bytes | None = await self._read(lambda db: db.fetchval(_SQL["shaped"], endpoint, message))
        return body


async def keep_or_drop(execute: Callable[..., Awaitable[Any]], completions: Iterable[Completion]) -> None:
    """Those of these deliveries that have a shaped body have come to a new state."""
    kept: list[Completion] = []
    over: list[Completion] = []
    for completion in completions:
        if completion.shaped is not None:
            (kept if completion.state is State.PENDING else over).append(completion)
    kept = [c for c in kept if c.shaped]
    if kept:
        await execute(
            _SQL["keep_shaped"],
            [c.attempt.endpoint for c in kept],
            [c.attempt.message for c in kept],
            [c.shaped for c in kept],
        )
    if over:
        await execute(_SQL["drop_shaped"], [c.attempt.endpoint for c in over], [c.attempt.message for c in over])
