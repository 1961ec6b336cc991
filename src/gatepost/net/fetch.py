"""What the gateway itself asks of others: a key set, an introspection, a token, a health check.

One request, one answer, one connection: these are rare and remembered by those who ask, so that a connection kept for
them would mostly be one that the other side has closed. Redirects are not followed (the answer is handed over as it
is): a URL of the configuration is trusted, one that somebody else's answer names is not.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, cast

from gatepost import __version__
from gatepost.errors import GatepostError, ProtocolError
from gatepost.http1.messages import Field, Fields
from gatepost.http1.whole import Response
from gatepost.net.dial import dial
from gatepost.net.guard import Guard
from gatepost.net.proxy import Proxy, dial_through
from gatepost.net.resolve import Resolver
from gatepost.net.tls import client_context
from gatepost.net.url import Url, parse_url

LIMIT: Final = 1_048_576  # bytes of a body
TIMEOUT: Final = 5.0  # seconds, from the look-up of the name to the last byte
_AGENT: Final = f"Gatepost/{__version__}".encode()


class FetchError(GatepostError):
    """No whole answer came. The text says why in one sentence, and holds nothing of the request but its host."""


class Fetched(NamedTuple):
    """An answer, whatever its status. `fields` have lower-case names."""

    status: int
    fields: Fields
    body: bytes


class Fetcher:
    """Asks over HTTP/1.1. One serves a whole node. Without a resolver, as where a file is only checked, it asks
    nobody."""

    __slots__ = ("_proxy", "_resolver", "_tls")

    def __init__(
        self, resolver: Resolver | None, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> None:
        self._resolver = resolver
        self._proxy = proxy
        self._tls = tls  # the system's authorities otherwise, loaded when first needed: 20 ms

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        fields: Iterable[Field] = (),
        body: bytes = b"",
        timeout: float = TIMEOUT,
        limit: int = LIMIT,
        guard: Guard | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Fetched:
        """Ask once. `timeout` (seconds) bounds everything, `limit` (bytes) the answer's body.

        `fields` are added to Host, User-Agent and the framing. `guard` is needed where the URL is not the operator's;
        `tls` where its authorities are not the system's. Raises FetchError, ValueError for a URL that is none.
        """
        there = parse_url(url)
        if self._resolver is None:
            raise FetchError("this process asks nobody")
        request = _request(method.encode(), there, fields, body)
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._dialled(
                    self._resolver,
                    there,
                    lambda: _Connection(method.encode(), limit),
                    tls=(tls or self._default_tls()) if there.tls else None,
                    guard=guard,
                    timeout=timeout,
                )
                return await connection.ask(request)
        except TimeoutError:
            raise FetchError(f"{there.host} gave no whole answer within {timeout:g} s") from None
        except FetchError as error:
            raise FetchError(f"{there.host}: {error}") from None
        except GatepostError as error:  # of `dial`
            raise FetchError(str(error)) from None
        finally:
            if connection is not None:
                connection.drop()

    async def _dialled(
        self,
        resolver: Resolver,
        there: Url,
        factory: Callable[[], _Connection],
        *,
        tls: ssl.SSLContext | None,
        guard: Guard | None,
        timeout: float,
    ) -> _Connection:
        where = there.host, there.port
        if self._proxy is None:
            return (await dial(factory, *where, resolver=resolver, tls=tls, guard=guard, timeout=timeout))[1]
        return (
            await dial_through(self._proxy, factory, *where, resolver=resolver, tls=tls, guard=guard, timeout=timeout)
        )[1]

    def _default_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = client_context()
        return self._tls


def _request(method: bytes, url: Url, fields: Iterable[Field], body: bytes) -> bytes:
    own = [(b"host", url.host_header), (b"user-agent", _AGENT), (b"connection", b"close"), *fields]
    if body or method not in (b"GET", b"HEAD"):
        own.append((b"content-length", b"%d" % len(body)))
    lines = []
    for name, value in own:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"the field {name.decode()} holds a line end")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, url.target, b"".join(lines), body)


class _Connection(asyncio.Protocol):
    """One connection for one request."""

    __slots__ = ("_answer", "_response", "_transport")

    _transport: asyncio.Transport

    def __init__(self, method: bytes, limit: int) -> None:
        self._response = Response(limit, method)
        self._answer: asyncio.Future[Fetched] | None = None  # once it was asked

    def ask(self, request: bytes) -> asyncio.Future[Fetched]:
        """The answer, or FetchError."""
        answer = self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._fail(_CLOSED)
        else:
            self._transport.write(request)
        return answer

    def drop(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self._transport.abort()  # an answer before the question
            return
        if self._answer.done():
            return
        try:
            over = self._response.feed(data)
        except ProtocolError as error:
            self._fail(error.problem.detail)
            return
        if self._response.cut:
            self._fail("its answer is too long")
        elif over:
            self._end()

    def eof_received(self) -> None:
        if self._response.ends_here():
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(_CLOSED)

    def _end(self) -> None:
        response, answer = self._response, self._answer
        if answer is not None and not answer.done():
            answer.set_result(Fetched(response.status, response.fields, response.body))

    def _fail(self, reason: str) -> None:
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_exception(FetchError(reason))


_CLOSED: Final = "it closed the connection before its answer was complete"

# Where nothing is to be asked: a file that is only checked, a policy in a test.
OFFLINE: Final = Fetcher(None)
