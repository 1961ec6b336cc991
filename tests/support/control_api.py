"""The control API over a real store in a temporary file, called without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.asgi import AsgiClient, Reply
from tests.support.stores import a_message, accepted, an_attempt, completed

from gatepost import ids
from gatepost.api.control import create_api
from gatepost.clock import ManualClock
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint
from gatepost.net.guard import Guard
from gatepost.stores.sqlite import SqliteStore

URL = "https://partner.example/hook"


class Api(AsgiClient):
    """The client, and behind it the store and the clock."""

    def __init__(
        self,
        store: SqliteStore,
        clock: ManualClock,
        on_reply: Callable[[str, str, Any, Reply], None] | None,
        **parts: Any,
    ) -> None:
        self.store = store
        self.clock = clock
        self.app = create_api(store, clock=clock, version="1.2.3", **parts)
        super().__init__(self.app, on_reply=on_reply)

    async def make_app(self, uid: str | None = "shop") -> App:
        app = await self.store.put_app(App(0, 0, "Shop", uid=uid))
        self.clock.advance(0.001)
        return app

    async def make_endpoint(self, app: App, **document: Any) -> Endpoint:
        reply = await self.post(f"/api/v1/app/{ids.encode('app', app.id)}/endpoint", {"url": URL, **document})
        assert reply.status == 201, reply
        self.clock.advance(0.001)
        endpoint = self.store.directory.endpoint(app.key, reply.json["id"])
        assert endpoint is not None
        return endpoint

    async def make_message(self, app: App, *endpoints: Endpoint, **fields: Any) -> int:
        identifier = (await accepted(self.store, a_message(app, endpoints, **fields))).id
        self.clock.advance(0.001)
        return identifier

    async def make_attempt(self, message: int, endpoint: Endpoint, *, ok: bool = True, **fields: Any) -> None:
        state = State.DELIVERED if ok else fields.pop("state", State.EXHAUSTED)
        assert await completed(self.store, an_attempt(message, endpoint, state=state, **fields))
        self.clock.advance(0.001)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    allow: tuple[str, ...] = (),
    on_reply: Callable[[str, str, Any, Reply], None] | None = None,
    **parts: Any,
) -> AsyncIterator[Api]:
    clock = ManualClock(1_800_000_000.0)
    store = SqliteStore(str(folder / "gatepost.db"), clock=clock)
    await store.open()
    try:
        yield Api(store, clock, on_reply, guard=Guard(allow), **parts)
    finally:
        await store.close()
