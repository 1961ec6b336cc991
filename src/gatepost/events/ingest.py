"""Making messages: the one way into the store, for the API, `emit` and sources alike."""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.clock import Clock
from gatepost.events.aside import Aside
from gatepost.events.match import Matcher
from gatepost.events.rules import PAYLOAD_LIMIT, check
from gatepost.events.schemas import Schemas
from gatepost.model import App, Endpoint, Message
from gatepost.stores.base import Done, NewMessage, Store


class Ingest:
    """Checks a message, matches it against its app's endpoints and hands it to the store."""

    __slots__ = ("_aside", "_matcher", "_schemas", "clock", "payload_limit", "store")

    def __init__(self, store: Store, clock: Clock, *, payload_limit: int = PAYLOAD_LIMIT) -> None:
        self.store = store
        self.clock = clock
        self.payload_limit = payload_limit  # bytes
        self._matcher = Matcher(store.directory)
        self._aside = Aside(store.directory)
        self._schemas = Schemas(store.event_types)
        store.matcher = self._match

    def publish(
        self,
        app: App,
        event_type: str,
        payload: bytes,
        *,
        channels: Sequence[str] = (),
        event_id: str | None = None,
        tags: Sequence[str] = (),
        idempotency_key: str | None = None,
        body_digest: bytes = b"",
        keep: float | None = None,
        only: Sequence[int] | None = None,
        held: bool = True,
        more: bool = False,
        done: Done,
    ) -> NewMessage:
        """`payload` is JSON text, kept byte for byte. `done` runs once the message is on disk, or is not to be.

        `keep` is for how many seconds its payload is kept, instead of what the configuration says. `only` names the
        endpoints that get it, whatever they ask for. `held` false: it was promised already, before its event type's
        schema became what it is now. `more`: the next one, handed in in the same turn, is of the
        same transaction. Raises InvalidMessage, and then nothing was handed in and `done` is not called."""
        if channels:
            channels = tuple(dict.fromkeys(channels))
        check(event_type, payload, channels, event_id, tags, payload_limit=self.payload_limit)
        if held:
            self._schemas.check(event_type, payload)
        message = NewMessage(
            app.key,
            event_type,
            payload,
            self._matcher.match(app.key, event_type, channels, payload) if only is None else only,
            tuple(channels),
            event_id,
            tuple(tags),
            idempotency_key,
            body_digest,
            keep=keep,
            directed=only is not None,
            more=more,
        )
        self._aside.complete(message)
        self.store.accept(message, done)
        return message

    def check(
        self, event_type: str, payload: bytes, channels: Sequence[str], event_id: str | None, tags: Sequence[str]
    ) -> None:
        """Raises InvalidMessage where `publish` would."""
        check(event_type, payload, channels, event_id, tags, payload_limit=self.payload_limit)
        self._schemas.check(event_type, payload)

    def _match(self, message: NewMessage) -> Sequence[int]:
        if message.directed:
            return message.endpoints
        message.endpoints = self._matcher.match(message.app, message.event_type, message.channels, message.payload)
        self._aside.complete(message)
        return message.endpoints

    def selects(self, endpoint: Endpoint, message: Message) -> bool:
        """Whether an endpoint asks for a message, were it accepted now."""
        found = self._matcher.match(endpoint.app, message.event_type, message.channels, message.payload)
        return endpoint.key in found
