"""Every change by the API leaves a record: who, what, when. `stores/audit.py` says how it gets to the disk together
with the change itself.

A request that reads, or that was refused, leaves none; neither does creating messages, which is traffic.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost import log
from gatepost.errors import StoreUnavailable
from gatepost.stores.audit import CHANGE, Change
from gatepost.stores.base import Store

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST: Final = 1_048_576  # bytes of a body in which names of fields are looked for
MOST_FIELDS: Final = 100
PORTAL: Final = "bearer appsk_"

_messages: Final = re.compile(r"/api/v1/(?:app/[^/]+/)?msg(?:/batch)?").fullmatch
_members: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Auditing:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READS or _messages(scope["path"]):
            await self._app(scope, receive, send)
            return
        taken: list[Message] = []
        change = _change(scope, await _body(receive, taken))

        async def replay() -> Message:
            return taken.pop(0) if taken else await receive()

        async def record(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400 and not change.taken:
                change.taken = True
                await self._record(change)
            await send(message)

        before = CHANGE.set(change)
        try:
            await self._app(scope, replay, record)
        finally:
            CHANGE.reset(before)

    async def _record(self, change: Change) -> None:
        """Of a change that the store has no part in: a cache that was purged, say."""
        try:
            await self._store.put_audit(change)
        except StoreUnavailable as error:
            log.event(
                "audit_lost", level="error", request_id=change.request, who=change.who, method=change.method,
                path=change.path, client=change.client, reason=error,
            )  # fmt: skip


def _change(scope: Scope, body: bytes) -> Change:
    headers = Headers(scope=scope)
    client = scope.get("client")
    return Change(
        _who(headers.get("authorization", "")),
        scope["method"],
        scope["path"],
        _fields(body),
        headers.get("x-request-id", ""),
        client[0] if client else "",
    )


def _who(authorization: str) -> str:
    """The listener has let it through: what is left is to say which token it was."""
    if not authorization.lower().startswith(PORTAL):
        return "admin"
    token = authorization.partition(" ")[2].strip(" ")
    return f"portal:{sha256(token.encode('latin-1')).hexdigest()[:8]}"


def _fields(body: bytes) -> tuple[str, ...]:
    """Names only: values may be secrets."""
    try:
        return tuple(list(_members(body))[:MOST_FIELDS]) if body else ()
    except msgspec.DecodeError:
        return ()


async def _body(receive: Receive, taken: list[Message]) -> bytes:
    """As much as is looked at; what was read stands in `taken`."""
    parts: list[bytes] = []
    size = 0
    while size <= LONGEST:
        message = await receive()
        taken.append(message)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if message["type"] != "http.request" or not message.get("more_body", False):
            return b"".join(parts)
    return b""
