"""A client that calls an ASGI application directly: no socket, no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class AsgiClient:
    """`headers` go with every request. `on_reply` sees each one: method, path, request document, reply."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        headers: Mapping[str, str] | None = None,
        on_reply: Callable[[str, str, Any, Reply], None] | None = None,
    ) -> None:
        self._app = app
        self._headers = dict(headers or {})
        self._on_reply = on_reply

    async def get(self, path: str, **query: Any) -> Reply:
        return await self.request("GET", path, query=query)

    async def post(self, path: str, document: Any = None, **options: Any) -> Reply:
        return await self.request("POST", path, document, **options)

    async def put(self, path: str, document: Any) -> Reply:
        return await self.request("PUT", path, document)

    async def patch(self, path: str, document: Any) -> Reply:
        return await self.request("PATCH", path, document)

    async def delete(self, path: str) -> Reply:
        return await self.request("DELETE", path)

    async def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        body = raw if raw is not None else b"" if document is None else json.dumps(document).encode()
        fields = {"content-type": "application/json", **self._headers, **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "query_string": urlencode(query or {}, doseq=True).encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
            "client": ("192.0.2.1", 1),
            "server": None,
            "state": {},
        }
        sent: list[dict[str, Any]] = []
        incoming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop(0)
            await asyncio.Event().wait()  # the client stays
            raise AssertionError

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        await self._app(scope, receive, send)
        start = sent[0]
        reply = Reply(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(event.get("body", b"") for event in sent[1:]),
        )
        if self._on_reply is not None:
            self._on_reply(method, path, document, reply)
        return reply
