"""What the routes of consumers, keys and plans share: finding them, and changing them one after another."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeAlias, cast
from weakref import WeakValueDictionary

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gatepost import ids
from gatepost.api.problems import DECLARED, INVALID, NOT_FOUND, TAKEN, Refused, fault, not_found
from gatepost.clock import Clock
from gatepost.model import Consumer, Key
from gatepost.notices import Facts, Notices
from gatepost.stores.access import Access
from gatepost.stores.base import AccessStore


class Callers:
    """Made once, shared by the routes. `access` gives the view of the snapshot that serves now."""

    def __init__(self, store: AccessStore, clock: Clock, access: Callable[[], Access], notices: Notices) -> None:
        self.store = store
        self.clock = clock
        self._access = access
        self._notices = notices
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by what, while in use

    @property
    def access(self) -> Access:
        return self._access()

    @asynccontextmanager
    async def changing(self, what: str) -> AsyncIterator[None]:
        """Changes of one thing come one after another: each reads what the one before it wrote."""
        lock = self._locks.get(what)
        if lock is None:
            lock = self._locks[what] = asyncio.Lock()
        async with lock:
            yield

    async def consumer(self, name: str) -> Consumer:
        """By id or name. One of the file has `key` 0 where the store has no key of its own for it."""
        declared = self.access.declared.get(name)
        if declared is None:
            identifier = ids.decode("csm", name)
            found = await (self.store.consumer_named(name) if identifier is None else self.store.consumer(identifier))
            if found is None:
                raise not_found("consumer", name)
            declared = self.access.declared.get(found.name)
            return found if declared is None else self._merged(found)
        return self._merged(await self.store.consumer_named(name) or Consumer(0, 0, name))

    async def key(self, consumer: Consumer, name: str) -> Key:
        identifier = ids.decode("key", name)
        found = None if identifier is None else await self.store.key(identifier)
        if found is None or not consumer.key or found.consumer != consumer.key:
            raise not_found("key", name)
        return found

    def declared_consumers(self) -> list[str]:
        return sorted(self.access.declared)

    async def declared_consumer(self, name: str) -> Consumer:
        return self._merged(await self.store.consumer_named(name) or Consumer(0, 0, name))

    def _merged(self, stored: Consumer) -> Consumer:
        each = self.access.declared[stored.name]
        return Consumer(
            stored.key, stored.id, stored.name, each.tags, each.metadata, each.plans,
            None if each.routes is None else frozenset(each.routes), each.disabled, True,
            stored.created, stored.updated,
        )  # fmt: skip

    def changeable(self, name: str) -> None:
        """Raises 409 for a consumer of the file."""
        if name in self.access.declared:
            raise Refused(DECLARED, f"The consumer {name!r} is declared there; keys may be made for it here.")

    def check_plans(self, names: tuple[str, ...]) -> None:
        """Raises 422 with every plan that there is not."""
        access = self.access
        unknown = [
            fault(f"/plans/{place}", f"there is no plan {name!r}")
            for place, name in enumerate(names)
            if access.plan(name) is None
        ]
        if unknown:
            raise Refused(INVALID, errors=unknown)

    async def put(self, consumer: Consumer) -> Consumer:
        try:
            return await self.store.put_consumer(consumer)
        except ValueError as error:
            raise Refused(TAKEN, _sentence(error)) from None
        except LookupError as error:
            raise Refused(NOT_FOUND, _sentence(error)) from None

    async def put_keys(self, keys: list[Key]) -> list[Key]:
        try:
            return await self.store.put_keys(keys)
        except LookupError as error:
            raise Refused(NOT_FOUND, _sentence(error)) from None

    def tell(self, event: str, key: str, consumer: str, more: Facts | None = None) -> None:
        """Of a key, by its id: never the key."""
        facts: Facts = {"key_id": key, "consumer": consumer}
        self._notices.tell(event, key or f"consumer:{consumer}", facts if more is None else facts | more)


async def _of_request(request: Request) -> Callers:
    # `async`, though it waits for nothing: FastAPI calls what is not in a thread.
    return cast("Callers", request.app.state.callers)


CallersCtx: TypeAlias = Annotated[Callers, Depends(_of_request)]


class Body(BaseModel):
    """A request's body. Types are taken as they come, and what is not known is a fault."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _no_id(name: str) -> str:
    if name.startswith("csm_") and ids.decode("csm", name) is not None:
        raise ValueError("a name must not look like an id that Gatepost makes")
    return name


# As in the file (`config.units.name`).
Name: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$"),
    AfterValidator(_no_id),
    Field(description="Unique; what expressions and the access record call it.", examples=["web-shop"]),
]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=256)]
Tags: TypeAlias = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=50)]
Metadata: TypeAlias = Annotated[
    dict[Annotated[str, StringConstraints(max_length=128)], Annotated[str, StringConstraints(max_length=1024)]],
    Field(max_length=50),
]
Names: TypeAlias = Annotated[list[Name], Field(max_length=1000)]

ConsumerName: TypeAlias = Annotated[str, Path(alias="consumer_id", description="The consumer's id or name.")]
KeyId: TypeAlias = Annotated[str, Path(alias="key_id", description="The key's id.")]
PlanNamed: TypeAlias = Annotated[str, Path(alias="plan", description="The plan's name.")]
ByTag: TypeAlias = Annotated[str | None, Query(description="Only those with this tag.")]


def by_name(names: list[str], after: str | None, limit: int) -> tuple[list[str], bool]:
    """A page of names in their order, and whether it is the last."""
    start = 0 if not after else bisect_right(names, after)
    return names[start : start + limit], start + limit >= len(names)


def page_by_name(data: list[Any], names: list[str], after: str | None, done: bool) -> dict[str, Any]:
    return {"data": data, "done": done, "iterator": names[-1] if names else after or "", "prevIterator": None}


def _sentence(error: ValueError | LookupError) -> str:
    text = str(error.args[0])
    return text[:1].upper() + text[1:] + "."
