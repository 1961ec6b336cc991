"""`nats`: a message on a JetStream subject, taken once the stream has stored it.

`Nats-Msg-Id` is the message's id, by which JetStream drops a repeated one within the stream's duplicate window (two
minutes unless it says otherwise).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatepost.config.destinations import Nats
from gatepost.destinations.base import Context, Done, Sender, Sending
from gatepost.destinations.tries import NotTaken, Tries, Unsendable
from gatepost.errors import GatepostError
from gatepost.model import Endpoint

if TYPE_CHECKING:
    from nats.aio.client import Client


class NatsDestination:
    """One connection for all endpoints, made at the first try; the client makes it again by itself."""

    def __init__(self, settings: Nats, context: Context) -> None:
        try:
            import nats
        except ImportError:
            raise GatepostError("the destination nats needs `pip install gatepost[nats]`") from None
        self._library = nats
        self._settings = settings
        self._tries = Tries(context.clock, context.loop, settings.timeout)
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    def sender(self, endpoint: Endpoint) -> Sender:
        subject = self._settings.subject or endpoint.settings.options.get("subject", "")
        if not subject or any(character in " \t\r\n*>" for character in subject):
            return Unsendable(self._tries, "the endpoint's option `subject` is missing, or none to publish to")
        return _Subject(self, subject)

    async def stop(self) -> None:
        await self._tries.stop()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def send(self, subject: str, id: bytes, body: bytes, done: Done) -> Sending:
        return self._tries.start(self._publish(subject, id, body), done)

    async def _publish(self, subject: str, id: bytes, body: bytes) -> bytes:
        from nats.errors import Error
        from nats.js.errors import APIError

        try:
            stream = (await self._connected()).jetstream(timeout=self._settings.timeout)
            stored = await stream.publish(
                subject, body, stream=self._settings.stream, headers={"Nats-Msg-Id": id.decode()}
            )
        except APIError as error:
            raise NotTaken(f"JetStream: {error.description or error}") from None
        except Error as error:
            raise NotTaken(_why(error)) from None
        return f"{stored.stream} {stored.seq}".encode()

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                # `allow_reconnect` does not concern the first connection: that one fails here, and with it the try.
                self._client = await self._library.connect(
                    servers=[str(server) for server in self._settings.servers],
                    name="gatepost",
                    connect_timeout=max(1, int(self._settings.timeout)),
                    max_reconnect_attempts=-1,
                    error_cb=_ignore,  # each try tells how it went; the library would log with a traceback
                )
            return self._client


class _Subject:
    __slots__ = ("_destination", "_subject")

    def __init__(self, destination: NatsDestination, subject: str) -> None:
        self._destination = destination
        self._subject = subject

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        return self._destination.send(self._subject, id, body, done)


async def _ignore(error: Any) -> None:
    pass


def _why(error: Exception) -> str:
    name = type(error).__name__.removesuffix("Error")
    return {
        "NoServers": "no NATS server can be reached",
        "NoStreamResponse": "no stream has this subject",
        "Timeout": "NATS did not answer in time",
    }.get(name, f"NATS: {error}")
