"""What every route needs: finding objects by id or uid, and changing them one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Protocol, TypeAlias, cast
from weakref import WeakValueDictionary

from fastapi import Depends, Request

from gatepost import ids
from gatepost.api.errors import ApiError, conflict, not_found
from gatepost.clock import Clock
from gatepost.config.destinations import DestinationDecl
from gatepost.deliveries.replays import Replays
from gatepost.events.ingest import Ingest
from gatepost.model import App, BackgroundTask, Delivery, Endpoint, Message
from gatepost.net.guard import Guard
from gatepost.notices import OWN_APP
from gatepost.policies.caching.storage import Storage
from gatepost.stores.base import Store


class Resender(Protocol):
    """The delivery engine, as far as the API knows it."""

    replays: Replays

    async def skip(self, endpoint: int, message: int | None = None) -> int | None:
        """Cancel what holds up an endpoint: which message, None if none does."""
        ...

    async def resend(self, message: int, endpoint: int) -> Delivery | None:
        """Send a message to an endpoint again, now. None where the store knows no such message."""
        ...


class Context:
    """One API's surroundings. Made once, shared by its routes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        guard: Guard,
        resender: Resender | None,
        cache: Storage | None = None,
        ingest: Ingest | None = None,
        destinations: Mapping[str, DestinationDecl] = {},
    ) -> None:
        self.store = store
        self.directory = store.directory
        self.clock = clock
        self.guard = guard
        self.cache = cache
        self.destinations = destinations
        self.ingest = Ingest(store, clock) if ingest is None else ingest
        self._resender = resender
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # by app key, while in use

    async def look_again(self, app: str, endpoint: str | None) -> None:
        """Another node may just have made what a request names."""
        found = self.directory.app(app)
        if found is None or (endpoint is not None and self.directory.endpoint(found.key, endpoint) is None):
            await self.store.refresh()

    def app(self, name: str) -> App:
        app = self.directory.app(name)
        if app is None:
            raise not_found("app", name)
        return app

    def endpoint(self, app: App, name: str) -> Endpoint:
        endpoint = self.directory.endpoint(app.key, name)
        if endpoint is None:
            raise not_found("endpoint", name)
        return endpoint

    async def message(self, app: App, name: str) -> Message:
        identifier = ids.decode("msg", name)
        found = None
        if identifier is not None:
            found = await self.store.message(app.key, identifier)
        if found is None:
            found = await self.store.message_by_event_id(app.key, name)
        if found is None:
            raise not_found("message", name)
        return found

    def endpoint_id(self, key: int) -> str:
        """The id of an endpoint that is known by its key. A deleted one has only the key left: it makes an id that
        names nothing, and is the same wherever that endpoint's past is shown."""
        endpoint = self.directory.endpoints.get(key)
        return ids.encode("ep", key if endpoint is None else endpoint.id)

    @asynccontextmanager
    async def changing(self, app: App) -> AsyncIterator[None]:
        """Changes of one app and its endpoints come one after another: each reads what the one before it wrote."""
        lock = self._locks.get(app.key)
        if lock is None:
            lock = self._locks[app.key] = asyncio.Lock()
        async with lock:
            yield

    async def put_app(self, app: App) -> App:
        try:
            return await self.store.put_app(app)
        except ValueError as error:
            raise conflict(_sentence(error)) from None
        except LookupError as error:
            raise ApiError(404, "not_found", _sentence(error)) from None

    async def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        try:
            return await self.store.put_endpoint(endpoint)
        except ValueError as error:
            raise conflict(_sentence(error)) from None
        except LookupError as error:
            raise ApiError(404, "not_found", _sentence(error)) from None  # the app, or the endpoint, went meanwhile

    async def begin(self, task: BackgroundTask) -> BackgroundTask:
        """Keep a task, and begin with it."""
        try:
            if self._resender is not None:
                return await self._resender.replays.begin(task)
            return await self.store.new_task(task)
        except LookupError as error:
            raise ApiError(404, "not_found", _sentence(error)) from None

    async def skip(self, message: Message | None, endpoint: Endpoint) -> int | None:
        """Which message was skipped: this one, or the oldest that failed; None where none waits."""
        if self._resender is not None:
            return await self._resender.skip(endpoint.key, None if message is None else message.id)
        if message is None or not await self.store.skip(message.id, endpoint.key):
            return None
        return message.id

    async def resend(self, message: Message, endpoint: Endpoint) -> Delivery | None:
        if self._resender is not None:
            return await self._resender.resend(message.id, endpoint.key)
        return await self.store.resend(message.id, endpoint.key, self.clock.now())


async def _of_request(request: Request) -> Context:
    context = cast("Context", request.app.state.context)
    name = request.path_params.get("app_id")
    if name is not None and context.store.shared:
        await context.look_again(name, request.path_params.get("endpoint_id"))
    return context


Ctx: TypeAlias = Annotated[Context, Depends(_of_request)]


def changeable(thing: App | Endpoint) -> None:
    """Raises 409 for what stands in the configuration file."""
    if thing.declared:
        what = "app" if isinstance(thing, App) else "endpoint"
        raise conflict(f"This {what} is declared in gatepost.yaml, and can only be changed there.")


def not_own(app: App, uid: str | None = None) -> None:
    """Raises 409 where the gateway's own app would lose its uid, or itself: its events go there."""
    if app.uid == OWN_APP != uid:
        raise conflict(f"The app `{OWN_APP}` is the gateway's own: it keeps its uid and cannot be deleted.")


def _sentence(error: ValueError | LookupError) -> str:
    text = str(error.args[0])
    return text[:1].upper() + text[1:] + "."
