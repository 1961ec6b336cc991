"""A real store on a disk that the test governs: when a commit happens, and whether it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.stores import FaultyDisk, a_message, accepted

from gatepost.clock import Clock
from gatepost.model import App, Message
from gatepost.stores.base import Done, Filter, NewMessage, Refused
from gatepost.stores.sqlite import SqliteStore


class GovernedStore(SqliteStore):
    """`hold` keeps commits from happening until `go_on`; `fail` makes the disk full until `mend`."""

    def __init__(self, path: Path, clock: Clock, disk: FaultyDisk) -> None:
        super().__init__(str(path), clock=clock, probe_interval=0.002)
        self._disk = disk
        self._other: App | None = None
        self._handed_in = asyncio.Event()
        self._commit = asyncio.Event()
        self.on_commit(lambda messages: self._commit.set())

    def accept(self, message: NewMessage, done: Done) -> None:
        super().accept(message, done)
        self._handed_in.set()

    async def handed_in(self) -> None:
        """Until somebody hands a message in."""
        self._handed_in.clear()
        await asyncio.wait_for(self._handed_in.wait(), 5)

    def hold(self) -> None:
        self._disk.syncing.clear()

    def go_on(self) -> None:
        self._disk.syncing.set()

    async def committed(self) -> None:
        """Go on, and wait until everything that was handed in has its outcome."""
        self.go_on()
        await accepted(self, a_message(await self._other_app()))

    async def fail(self) -> None:
        other = await self._other_app()
        self._disk.full = True
        assert isinstance(await accepted(self, a_message(other)), Refused)
        assert not self.writable

    async def mend(self) -> None:
        better = asyncio.Event()
        self.on_writable(lambda writable: better.set() if writable else None)
        self._disk.full = False
        if not self.writable:
            await asyncio.wait_for(better.wait(), 5)

    def disk_full(self) -> None:
        """From the next commit on; the store does not know yet."""
        self._disk.full = True

    async def made(self, app: str = "shop", *, count: int = 0) -> list[Message]:
        """The messages of an app, oldest first; waits until there are `count`."""
        found = self.directory.app(app)
        assert found is not None
        while True:
            self._commit.clear()
            messages = (await self.list_messages(found.key, Filter(limit=250, ascending=True))).items
            if len(messages) >= count:
                return list(messages)
            await asyncio.wait_for(self._commit.wait(), 5)

    async def _other_app(self) -> App:
        if self._other is None:
            self._other = self.directory.app("not-the-shop") or await self.put_app(App(0, 0, "", uid="not-the-shop"))
        return self._other


@asynccontextmanager
async def governed_store(path: Path, clock: Clock) -> AsyncIterator[GovernedStore]:
    """Open, with the app `shop` in it."""
    disk = FaultyDisk()
    with disk.installed():
        store = GovernedStore(path, clock, disk)
        await store.open()
        if store.directory.app("shop") is None:
            await store.put_app(App(0, 0, "Shop", uid="shop"))
        await store._other_app()
        try:
            yield store
        finally:
            disk.full = False
            disk.syncing.set()
            await store.close()
