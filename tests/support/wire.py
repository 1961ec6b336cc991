"""A gate: one node with its recording backend, and the sentences in which the wire tests speak about them."""

from __future__ import annotations

import json
from types import TracebackType

from tests.support.backend import Backend, Exchange
from tests.support.node import Node
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message, NotHttp

PROBE = b"/gate-probe"


class Gate:
    """Clients on one side, the backend on the other. On leaving, whatever reached the backend must have been sound."""

    def __init__(self, node: Node, backend: Backend) -> None:
        self.node = node
        self.backend = backend
        self._clients: list[RawClient] = []

    async def __aenter__(self) -> Gate:
        self.backend.reset()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.leave()
        if error is None:
            assert not self.backend.faults, self.backend.faults
            assert not self.node.tracebacks, self.node.errors[-20:]

    async def client(self, *, receive_buffer: int | None = None) -> RawClient:
        client = await RawClient.connect(self.node.traffic, receive_buffer=receive_buffer)
        self._clients.append(client)
        return client

    async def say(self, *pieces: bytes) -> RawClient:
        """A new client that has sent these bytes."""
        client = await self.client()
        client.send(*pieces)
        return client

    async def ask(self, request: bytes, method: bytes = b"GET") -> Message:
        """The one answer to one request, on a connection of its own."""
        return await (await self.say(request)).response(method)

    async def reached(self) -> list[Exchange]:
        """The requests that reached the backend, all that will: a probe that was sent after them has arrived."""
        before = len(self.backend.requests)
        script = self.backend.script
        self.backend.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        client = await self.say(b"GET %b HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n" % PROBE)
        probe = await client.response()
        assert probe.status == 204, probe
        self.backend.script = script
        found = [x for x in self.backend.requests if x.target != PROBE]
        assert len(self.backend.requests) > before
        self.backend.requests[:] = found
        return found

    async def refused(self, *pieces: bytes, status: int | tuple[int, ...] = 400) -> Message:
        """These bytes get one problem document of this status, then the end, and nothing reaches the backend."""
        client = await self.say(*pieces)
        message = await self.refusal(client, status)
        reached = await self.reached()
        assert not reached, f"refused with {message.status}, and yet {reached[0].message!r} reached the backend"
        return message

    async def refusal(self, client: RawClient, status: int | tuple[int, ...] = 400) -> Message:
        """The next answer is a problem document of this status, and the last."""
        expected = (status,) if isinstance(status, int) else status
        message = await client.response()
        assert message.status in expected, message
        check_problem(message)
        assert message.get(b"connection") == b"close"
        rest = await client.closed()
        if rest:
            raise NotHttp(f"a second answer: {rest[:200]!r}")
        return message

    async def cut_off(self, *pieces: bytes) -> None:
        """These bytes get no answer but the end of the connection, and nothing reaches the backend."""
        client = await self.say(*pieces)
        rest = await client.closed()
        assert not rest, rest
        assert not await self.reached()


def check_problem(message: Message) -> dict[str, object]:
    """RFC 9457, as every refusal is written."""
    assert message.get(b"content-type") == b"application/problem+json", message
    document: dict[str, object] = json.loads(message.body)
    assert document["status"] == message.status
    assert str(document["type"]).startswith("urn:gatepost:problem:")
    assert document["title"]
    assert document["request_id"]
    return document
