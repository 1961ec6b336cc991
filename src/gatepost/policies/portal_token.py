"""`portal_token`: an app's own people may see to its endpoints, and nothing else. Guards the control listener.

The tokens are made by `POST /api/v1/auth/app-portal-access/{app}`; the store keeps their SHA-256 and when they end.
What they open stands in `_OPENS`, as methods and paths below the app: a path that is added to the API is closed to
them. Everyone else is asked for the administrator's token.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

import msgspec

from gatepost.errors import StoreUnavailable
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response
from gatepost.policies.admin_token import LONGEST, AdminToken
from gatepost.stores.directory import Directory

PREFIX: Final = b"appsk_"

_ENDPOINT: Final = r"/endpoint/[^/]+"
_OPENS: Final = tuple(
    (frozenset(methods.split()), re.compile(path).fullmatch)
    for methods, path in (
        ("GET", r""),
        ("GET POST", r"/endpoint"),
        ("GET PUT PATCH DELETE", _ENDPOINT),
        ("GET PUT PATCH", rf"{_ENDPOINT}/headers"),
        ("GET", rf"{_ENDPOINT}/(?:secret|stats|msg)"),
        ("POST", rf"{_ENDPOINT}/(?:secret/rotate|recover|replay-missing|send-example|skip|try)"),
        ("GET", r"/attempt/(?:endpoint|msg)/[^/]+"),
        ("GET", r"/msg(?:/[^/]+(?:/endpoint|/attempt/[^/]+)?)?"),
        ("POST", rf"/msg/[^/]+{_ENDPOINT}/resend"),
    )
)
_ALSO: Final = ((frozenset(("GET",)), re.compile(r"/api/v1/event-type(?:/[^/]+)?").fullmatch),)
LOGOUT: Final = "/api/v1/auth/logout"
_APP: Final = re.compile(r"/api/v1/app/([^/]+)(.*)").fullmatch

_WRONG: Final = "This token is over, or was never given. Ask for a new link."
_FORBIDDEN: Final = "A portal's token opens the endpoints, messages and attempts of its own app, nothing else."


class PortalToken(Policy):
    """`look` gives the app's key for a token's SHA-256. With a token `x.consumer` is `portal`."""

    name = "portal_token"
    phase = Phase.IDENTIFY

    def __init__(self, admin: AdminToken, look: Callable[[bytes], Awaitable[int | None]], directory: Directory) -> None:
        self._admin = admin
        self._look = look
        self._directory = directory

    def on_request(self, x: Exchange) -> Response | Awaitable[Response | None] | None:
        token = token_of(x)
        return self._admin.on_request(x) if token is None else self._of_portal(x, token)

    async def _of_portal(self, x: Exchange, token: bytes) -> Response | None:
        try:
            app = await self._look(sha256(token).digest())
        except StoreUnavailable:
            return _refusal(503, "unavailable", "The store cannot be asked now.", [(b"retry-after", b"1")])
        if app is None or app not in self._directory.apps:
            challenge = b'Bearer realm="gatepost", error="invalid_token"'
            return _refusal(401, "authentication_failed", _WRONG, [(b"www-authenticate", challenge)])
        if not self._opens(app, x.head.method.decode("latin-1"), x.path):
            return _refusal(403, "forbidden", _FORBIDDEN)
        x.consumer = Consumer("portal")
        return None

    def _opens(self, app: int, method: str, path: str) -> bool:
        if method == "HEAD":
            method = "GET"
        if path == LOGOUT:
            return method == "POST"
        if any(method in methods and fits(path) for methods, fits in _ALSO):
            return True
        match = _APP(path)
        if match is None or "%" in path:  # no name that can be given needs one, and behind here it is decoded
            return False
        named = self._directory.app(match[1])
        return (
            named is not None
            and named.key == app
            and any(method in methods and fits(match[2]) for methods, fits in _OPENS)
        )


def token_of(x: Exchange) -> bytes | None:
    """The portal's token that was sent, if one was."""
    values = x.head.all(b"authorization")
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token.startswith(PREFIX) or len(token) > LONGEST:
        return None
    return token


def _refusal(status: int, code: str, detail: str, fields: list[tuple[bytes, bytes]] | None = None) -> Response:
    body = msgspec.json.encode({"code": code, "detail": detail})
    return Response(status, [(b"content-type", b"application/json"), *(fields or [])], body, code.replace("_", "-"))
