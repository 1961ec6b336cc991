"""`valkey`: an entry of a stream (XADD) in Valkey or Redis, with the fields `id` and `body`.

Streams do not know a repeated entry by its `id`: readers do, as with webhooks.
"""

from __future__ import annotations

from gatepost.config.destinations import Valkey
from gatepost.destinations.base import Context, Done, Sender, Sending
from gatepost.destinations.tries import NotTaken, Tries, Unsendable
from gatepost.errors import GatepostError
from gatepost.model import Endpoint


class ValkeyDestination:
    """One pool of connections for all endpoints."""

    def __init__(self, settings: Valkey, context: Context) -> None:
        try:
            from redis.asyncio import Redis
        except ImportError:
            raise GatepostError("the destination valkey needs `pip install gatepost[valkey]`") from None
        self._settings = settings
        self._tries = Tries(context.clock, context.loop, settings.timeout)
        try:
            self._client = Redis.from_url(
                str(settings.url),
                client_name="gatepost",
                socket_timeout=settings.timeout,
                socket_connect_timeout=settings.timeout,
            )
        except ValueError:
            raise GatepostError("`url` of a valkey destination must be redis://, rediss:// or unix://") from None

    def sender(self, endpoint: Endpoint) -> Sender:
        stream = self._settings.stream or endpoint.settings.options.get("stream", "")
        if not stream:
            return Unsendable(self._tries, "the endpoint's option `stream` is missing")
        return _Stream(self, stream)

    async def stop(self) -> None:
        await self._tries.stop()
        await self._client.aclose()

    def send(self, stream: str, id: bytes, body: bytes, done: Done) -> Sending:
        return self._tries.start(self._add(stream, id, body), done)

    async def _add(self, stream: str, id: bytes, body: bytes) -> bytes:
        from redis.exceptions import RedisError

        length = self._settings.length
        try:
            entry = await self._client.xadd(stream, {"id": id, "body": body}, maxlen=length, approximate=True)
        except RedisError as error:
            raise NotTaken(f"Valkey: {error}"[:200]) from None
        return entry if isinstance(entry, bytes) else str(entry).encode()


class _Stream:
    __slots__ = ("_destination", "_stream")

    def __init__(self, destination: ValkeyDestination, stream: str) -> None:
        self._destination = destination
        self._stream = stream

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        return self._destination.send(self._stream, id, body, done)
