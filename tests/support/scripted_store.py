"""A store whose commits happen when the test says so: for what depends on the moment of a commit.

It keeps what it was given in memory and answers as `stores/base.py` promises; the conformance suite does not run on
it, so nothing but moments may be tested with it.
"""

from __future__ import annotations

import msgspec

from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.ids import IdFactory
from gatepost.model import App, Endpoint
from gatepost.stores.base import Accepted, Done, EventIdTaken, NewMessage, Outcome, Refused, Repeated
from gatepost.stores.directory import Directory


class ScriptedStore:
    """`held` keeps what is handed in until `commit()`; `writable` False refuses it."""

    def __init__(self, clock: Clock, *, held: bool = False) -> None:
        self.directory = Directory()
        self.messages: list[NewMessage] = []
        self.held = held
        self.writable = True
        self._ids = IdFactory(clock)
        self._waiting: list[tuple[NewMessage, Done]] = []

    def add_app(self, uid: str, *endpoints: Endpoint) -> App:
        key = len(self.directory.apps) + 1
        app = App(key=key, id=self._ids.next(), name=uid, uid=uid)
        self.directory.put_app(app)
        for place, endpoint in enumerate(endpoints, start=1):
            self.directory.put_endpoint(
                msgspec.structs.replace(endpoint, key=key * 100 + place, id=self._ids.next(), app=key)
            )
        return app

    def accept(self, message: NewMessage, done: Done) -> None:
        message.id = self._ids.next()
        self._waiting.append((message, done))
        if not self.held:
            self.commit()

    def commit(self) -> None:
        """What waits is on disk now, or refused while the store is not `writable`."""
        waiting, self._waiting = self._waiting, []
        for message, done in waiting:
            done(self._write(message))

    async def put_app(self, app: App) -> App:
        if not self.writable:
            raise StoreUnavailable("the disk is full")
        if self.directory.app(app.uid or "") is not None:
            raise ValueError("the uid is taken")
        made = msgspec.structs.replace(app, key=len(self.directory.apps) + 1, id=self._ids.next())
        self.directory.put_app(made)
        return made

    def _write(self, message: NewMessage) -> Outcome:
        if not self.writable:
            return Refused("the disk is full")
        for other in self.messages:
            if other.app != message.app:
                continue
            if message.idempotency_key is not None and other.idempotency_key == message.idempotency_key:
                return Repeated(other.id, other.body_digest == message.body_digest)
            if message.event_id is not None and other.event_id == message.event_id:
                return EventIdTaken(other.id)
        self.messages.append(message)
        return Accepted(message.id)
