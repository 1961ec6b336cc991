"""A POST that is sent again with the same `idempotency-key` gets the first one's answer.

Svix's SDKs put a key on every POST (`auto_…`) and repeat it when an answer does not come: without this, a lost answer
to "create endpoint" would make two. Those are kept in memory for ten minutes; keys that a client chose for twelve
hours, in the store, so that a restart or another node does not forget them. Answers that show a secret stand in memory
only.

Creating a message, the one POST that is many, keeps its keys in its own transaction (`events/create.py`), and never
comes here.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost.api import problems
from gatepost.api.errors import RETRY_AFTER, Fault, refusal, unprocessable
from gatepost.api.paths import own
from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.stores.control import KeptAnswer

KEPT: Final = 10_000  # answers in memory
SECONDS: Final = 43_200.0  # how long an answer is kept: twelve hours, as for messages
AUTO: Final = "auto_"  # keys that a client's library made for one request and its repetitions
AUTO_SECONDS: Final = 600.0
LONGEST_BODY: Final = 33_554_432  # bytes; a longer one is passed on without a key's protection
LONGEST_ANSWER: Final = 1_048_576  # bytes; a longer one stands in memory only

# Where answers show a key, a token or a secret.
_SECRETS: Final = re.compile(r"/api/v1/(?:consumer|auth)/|/secret/rotate$").search


class Answers(Protocol):
    """The part of the store that is needed here."""

    async def keep_answer(self, place: bytes, answer: KeptAnswer, expires: float) -> None: ...
    async def kept_answer(self, place: bytes) -> KeptAnswer | None: ...


class Idempotency:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, clock: Clock, store: Answers) -> None:
        self._app = app
        self._clock = clock
        self._store = store
        self._first: dict[bytes, _First] = {}  # the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = headers.get("idempotency-key")
        if not key or len(key) > 256:
            await self._app(scope, receive, send)  # too long: refused there
            return
        taken: list[Message] = []
        body = await _read(receive, taken)
        replay = _Replay(taken, receive)
        if body is None:
            await self._app(scope, replay, send)
            return
        place = _place(scope, headers, key)
        digest = hashlib.sha256(body).digest()
        while (first := self._known(place)) is not None:
            if first.digest != digest:
                await _other_body(scope)(scope, receive, send)
                return
            await first.over.wait()
            if first.answer:
                await _give(first.answer, send)
                return
            # The first one failed and was forgotten: this one takes its place, unless another already did.
        lasting = not key.startswith(AUTO) and _SECRETS(scope["path"]) is None
        seconds = AUTO_SECONDS if key.startswith(AUTO) else SECONDS
        first = self._first[place] = _First(digest, self._clock.monotonic() + seconds)
        self._trim()
        try:
            kept = await self._store.kept_answer(place) if lasting else None
            if kept is not None:
                first.digest = kept.digest
                first.answer = _messages(kept)
            else:
                answer: list[Message] = []

                async def record(message: Message) -> None:
                    answer.append(message)

                await self._app(scope, replay, record)
                # What failed for want of us, and what the request got wrong, may be tried again.
                if answer and answer[0]["status"] < 300:
                    if lasting:
                        await self._keep(place, digest, answer)
                    first.answer = answer
        except StoreUnavailable as error:
            detail = f"The store cannot be asked now: {error}. Nothing was changed; send the request again."
            again = {"retry-after": RETRY_AFTER}
            if own(scope["path"]):
                told = problems.document(Request(scope), problems.Refused(problems.UNAVAILABLE, detail), again)
            else:
                told = refusal(503, "unavailable", detail, again)
            await told(scope, receive, send)
            return
        finally:
            if not first.answer and self._first.get(place) is first:
                del self._first[place]
            first.over.set()
        if first.digest != digest:
            await _other_body(scope)(scope, receive, send)
        else:
            await _give(first.answer or answer, send)

    async def _keep(self, place: bytes, digest: bytes, answer: list[Message]) -> None:
        body = b"".join(message.get("body", b"") for message in answer)
        if len(body) <= LONGEST_ANSWER:
            kept = KeptAnswer(digest, answer[0]["status"], body)
            try:
                await self._store.keep_answer(place, kept, self._clock.now() + SECONDS)
            except StoreUnavailable:
                pass  # what was asked is done, and memory has the answer

    def _known(self, place: bytes) -> _First | None:
        first = self._first.get(place)
        if first is not None and first.until <= self._clock.monotonic():
            del self._first[place]
            return None
        return first

    def _trim(self) -> None:
        while len(self._first) > KEPT:
            del self._first[next(iter(self._first))]


_OTHER_BODY: Final = "This idempotency-key was used with another body. Use a new key for a new request."


def _other_body(scope: Scope) -> Response:
    if own(scope["path"]):
        fault = problems.ErrorOut(detail=_OTHER_BODY, parameter="idempotency-key")
        return problems.document(Request(scope), problems.Refused(problems.INVALID, errors=[fault]))
    return unprocessable([Fault(("header", "idempotency-key"), _OTHER_BODY)])


class _First:
    """The first request with a key: under way until `over`; with an answer if it succeeded."""

    __slots__ = ("answer", "digest", "over", "until")

    def __init__(self, digest: bytes, until: float) -> None:
        self.digest = digest
        self.until = until
        self.over = asyncio.Event()
        self.answer: list[Message] = []


def _place(scope: Scope, headers: Headers, key: str) -> bytes:
    """Who asked for what, under which key."""
    parts = (scope["path"].encode(), scope["query_string"], headers.get("authorization", "").encode(), key.encode())
    return hashlib.sha256(b"\0".join(parts)).digest()


def _messages(kept: KeptAnswer) -> list[Message]:
    fields = [(b"content-length", b"%d" % len(kept.body))]
    if kept.body:
        fields.append((b"content-type", b"application/json"))
    return [
        {"type": "http.response.start", "status": kept.status, "headers": fields},
        {"type": "http.response.body", "body": kept.body},
    ]


async def _give(answer: list[Message], send: Send) -> None:
    for message in answer:
        try:
            await send(message)
        except OSError:
            return  # this client has left; the answer is there when it asks again


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
