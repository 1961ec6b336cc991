"""A POST that is sent again with the same `idempotency-key` gets the first one's answer.

Svix's SDKs put a key on every POST and repeat it when an answer does not come: without this, a lost answer to "create
endpoint" would make two. Kept in memory, for these are few: creating a message, the one POST that is many, keeps its
keys in the store (`events/create.py`), and never comes here.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost.api.errors import Fault, unprocessable
from gatepost.clock import Clock

KEPT: Final = 10_000  # answers
SECONDS: Final = 43_200.0  # how long an answer is kept: twelve hours, as for messages
LONGEST_BODY: Final = 1_048_576  # bytes; a longer one is passed on without a key's protection


class Idempotency:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._first: dict[tuple[str, bytes, str], _First] = {}  # the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        key = Headers(scope=scope).get("idempotency-key")
        if not key or len(key) > 256:
            await self._app(scope, receive, send)  # too long: refused there
            return
        taken: list[Message] = []
        body = await _read(receive, taken)
        replay = _Replay(taken, receive)
        if body is None:
            await self._app(scope, replay, send)
            return
        place = (scope["path"], scope["query_string"], key)
        digest = hashlib.sha256(body).digest()
        while (first := self._known(place)) is not None:
            if first.digest != digest:
                reason = "This idempotency-key was used with another body. Use a new key for a new request."
                await unprocessable([Fault(("header", "idempotency-key"), reason)])(scope, receive, send)
                return
            await first.over.wait()
            if first.answer:
                for message in first.answer:
                    await send(message)
                return
            # The first one failed and was forgotten: this one takes its place, unless another already did.
        first = self._first[place] = _First(digest, self._clock.monotonic() + SECONDS)
        self._trim()
        try:
            answer: list[Message] = []

            async def record(message: Message) -> None:
                answer.append(message)
                try:
                    await send(message)
                except OSError:
                    pass  # this client has left; the answer is there when it asks again

            await self._app(scope, replay, record)
            # What failed for want of us, and what the request got wrong, may be tried again.
            if answer and answer[0]["status"] < 300:
                first.answer = answer
        finally:
            if not first.answer and self._first.get(place) is first:
                del self._first[place]
            first.over.set()

    def _known(self, place: tuple[str, bytes, str]) -> _First | None:
        first = self._first.get(place)
        if first is not None and first.until <= self._clock.monotonic():
            del self._first[place]
            return None
        return first

    def _trim(self) -> None:
        while len(self._first) > KEPT:
            del self._first[next(iter(self._first))]


class _First:
    """The first request with a key: under way until `over`; with an answer if it succeeded."""

    __slots__ = ("answer", "digest", "over", "until")

    def __init__(self, digest: bytes, until: float) -> None:
        self.digest = digest
        self.until = until
        self.over = asyncio.Event()
        self.answer: list[Message] = []


class _Replay:
    """`receive` of what was read already, and then of the rest."""

    def __init__(self, taken: list[Message], receive: Receive) -> None:
        self._taken = taken
        self._receive = receive

    async def __call__(self) -> Message:
        return self._taken.pop(0) if self._taken else await self._receive()


async def _read(receive: Receive, taken: list[Message]) -> bytes | None:
    """The whole body; None where it is too long or its client left. What was read stands in `taken`."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        taken.append(message)
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LONGEST_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)
