"""How Gatepost shows receivers who it is: `Authorization` fields, OAuth 2.0 tokens, client certificates.

The signature says that a message is ours; this is for receivers, and what stands before them, that ask for more.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from gatepost.clock import Clock
from gatepost.errors import GatepostError
from gatepost.model import Auth, Basic, Bearer, ClientCertificate, ClientCredentials
from gatepost.net.fetch import Fetcher, FetchError
from gatepost.net.guard import Guard

EARLY: Final = 30.0  # seconds before its end that a token is fetched anew
LIFETIME: Final = 300.0  # seconds that a token is used whose end was not said
ANSWER: Final = 65_536  # bytes of an authorization server's answer
MOST_TOKENS: Final = 10_000  # kept; the oldest leave first


class TokenError(GatepostError):
    """No token: what the attempt says. Holds nothing of the credentials."""


def authorization(auth: Auth | None) -> bytes:
    """The value of `Authorization` where it is always the same; b"" otherwise. Raises ValueError for what a field
    cannot carry."""
    if isinstance(auth, Basic):
        if ":" in auth.username:
            raise ValueError("a user name cannot hold a ':' (RFC 7617)")
        return b"Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode())
    if isinstance(auth, Bearer):
        return b"Bearer " + _visible(auth.token)
    return b""


def _visible(token: str) -> bytes:
    # RFC 6750 §2.1 allows less; what is refused is only what would end the field or break it.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a bearer token holds only visible ASCII characters")
    return token.encode()


class _Token(msgspec.Struct, frozen=True):
    value: str
    until: float  # monotonic


class _Answer(msgspec.Struct):
    access_token: str
    token_type: str = "bearer"  # noqa: S105
    expires_in: float | None = None


class Tokens:
    """Access tokens by client credentials (RFC 6749 §4.4), shared by all endpoints that ask with the same ones.

    Owned by the webhook destination. The authorization server is one that somebody else names: the guard stands
    before it.
    """

    __slots__ = ("_clock", "_fetcher", "_guard", "_tokens", "_under_way")

    def __init__(self, fetcher: Fetcher, guard: Guard, clock: Clock) -> None:
        self._fetcher = fetcher
        self._guard = guard
        self._clock = clock
        self._tokens: dict[ClientCredentials, _Token] = {}
        self._under_way: dict[ClientCredentials, asyncio.Task[str]] = {}

    def get(self, client: ClientCredentials) -> str | None:
        """The token in memory, if it is still good."""
        token = self._tokens.get(client)
        return token.value if token is not None and token.until > self._clock.monotonic() else None

    def forget(self, client: ClientCredentials, token: str) -> None:
        """The receiver refused it. A newer one stays."""
        known = self._tokens.get(client)
        if known is not None and known.value == token:
            del self._tokens[client]

    async def fetch(self, client: ClientCredentials, timeout: float) -> str:
        """The token, from memory or the authorization server; who asks at the same time shares one request. Raises
        TokenError."""
        known = self.get(client)
        if known is not None:
            return known
        task = self._under_way.get(client)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(client, timeout), name="gatepost-token")
            self._under_way[client] = task
            task.add_done_callback(lambda done: self._ended(client, done))
        # Shielded: a try that is cancelled must not take the token from those who wait for it too.
        return await asyncio.shield(task)

    def close(self) -> None:
        for task in list(self._under_way.values()):
            task.cancel()

    def _ended(self, client: ClientCredentials, task: asyncio.Task[str]) -> None:
        self._under_way.pop(client, None)
        if not task.cancelled():
            task.exception()  # told to those who wait; if nobody does any more, it is no fault of the program

    async def _ask(self, client: ClientCredentials, timeout: float) -> str:
        form = {"grant_type": "client_credentials"} | ({"scope": client.scope} if client.scope else {})
        # RFC 6749 §2.3.1: both are form-encoded before they stand in Basic.
        login = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        fields = [
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"accept", b"application/json"),
            (b"authorization", b"Basic " + base64.b64encode(login.encode())),
        ]
        try:
            answer = await self._fetcher.fetch(
                "POST",
                client.token_url,
                fields=fields,
                body=urlencode(form).encode(),
                timeout=timeout,
                limit=ANSWER,
                guard=self._guard,
            )
        except (FetchError, ValueError) as error:
            raise TokenError(f"no access token: {error}") from None
        if answer.status != 200:
            raise TokenError(f"no access token: the authorization server answered {answer.status}")
        try:
            got = msgspec.json.decode(answer.body, type=_Answer)
            _visible(got.access_token)
        except (ValueError, msgspec.DecodeError):
            raise TokenError("no access token: the authorization server's answer holds none") from None
        if got.token_type.lower() != "bearer":
            raise TokenError("no access token: the authorization server gives none of the type Bearer")
        life = LIFETIME if got.expires_in is None else got.expires_in
        while len(self._tokens) >= MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        # A short-lived one is used for half of its life at least.
        self._tokens[client] = _Token(got.access_token, self._clock.monotonic() + max(life - EARLY, life / 2))
        return got.access_token


def identity(auth: Auth | None) -> bytes:
    """Tells client certificates apart; b"" without one. Connections are shared only under the same identity."""
    if not isinstance(auth, ClientCertificate):
        return b""
    return sha256(f"{auth.certificate}\0{auth.key}".encode()).digest()


def load_identity(context: ssl.SSLContext, auth: ClientCertificate) -> None:
    """Let `context` show this certificate. Blocks. Raises ValueError.

    OpenSSL reads files only: for the moment it takes there are two, which nobody else can read.
    """
    with tempfile.TemporaryDirectory(prefix="gatepost-") as folder:  # of mode 0700
        paths = []
        for name, text in (("certificate", auth.certificate), ("key", auth.key)):
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            paths.append(path)
        try:
            # A function for the password: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(paths[0], paths[1], password=lambda: b"")
        except (ssl.SSLError, OSError):
            raise ValueError("the client certificate and key are not a pair in PEM, without a password") from None
