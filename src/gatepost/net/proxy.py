"""Egress proxies: a connection to somewhere, made by somebody who may reach it. HTTP CONNECT (RFC 9110 §9.3.6) and
SOCKS5 (RFC 1928, RFC 1929).

The proxy is the operator's; where to is not. Names are therefore looked up and checked here, and the proxy is asked
for the address that was checked, unless the operator lets the proxy look up names: then it is the proxy that has to
guard its network.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple, TypeVar, cast
from urllib.parse import unquote

from gatepost.errors import AddressRefused, Problem, UpstreamError
from gatepost.net.dial import dial, permitted
from gatepost.net.guard import Guard
from gatepost.net.resolve import Resolver
from gatepost.net.tls import client_context
from gatepost.net.url import parse_url

P = TypeVar("P", bound=asyncio.BaseProtocol)

HEAD: Final = 16_384  # bytes of a proxy's answer
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
_URL: Final = re.compile(r"(http|https|socks5)://(?:([^@/]*)@)?([^@/]+)/?", re.IGNORECASE)


class Proxy(NamedTuple):
    scheme: str  # http, https, socks5
    host: str
    port: int
    username: str = ""
    password: str = ""
    resolves: bool = False  # it looks up names
    tls: ssl.SSLContext | None = None  # to the proxy itself

    @property
    def address(self) -> str:
        """Without its credentials."""
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_proxy(text: str, *, resolves: bool = False) -> Proxy:
    """`http://user:password@proxy.example:3128`. Raises ValueError."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("a proxy is given as http://host:port, https://host:port or socks5://host:port")
    scheme, login, authority = match[1].lower(), match[2] or "", match[3]
    there = parse_url(f"http://{authority}")
    given = re.search(r":\d+$", authority.rpartition("]")[2])
    username, _, password = login.partition(":")
    return Proxy(
        scheme,
        there.host,
        there.port if given else _PORTS[scheme],
        unquote(username),
        unquote(password),
        resolves,
        client_context() if scheme == "https" else None,
    )


async def dial_through(
    proxy: Proxy,
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    resolver: Resolver,
    guard: Guard | None = None,
    timeout: float,
) -> tuple[asyncio.Transport, P]:
    """As `net.dial.dial`, through the proxy. Raises the same: 502 `upstream-unreachable` where the proxy refuses."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            where = await _where(proxy, host, port, resolver, guard, timeout)
            transport, asking = await dial(
                _Asking,
                proxy.host,
                proxy.port,
                tls=proxy.tls,
                resolver=resolver,
                timeout=timeout,
            )
            try:
                if proxy.scheme == "socks5":
                    await _socks5(proxy, asking, where, port)
                else:
                    await _connect(proxy, asking, where, port)
                protocol = protocol_factory()
                if tls is None:
                    transport.set_protocol(protocol)
                    protocol.connection_made(transport)
                    return transport, protocol
                secure = await loop.start_tls(transport, protocol, tls, server_hostname=host)
                if secure is None:
                    raise _refused(proxy, "it closed the connection")
                protocol.connection_made(secure)
                return secure, protocol
            except BaseException:
                transport.abort()
                raise
    except TimeoutError:
        detail = f"{host}:{port} did not accept a connection through {proxy.address} within {timeout:g} s"
        raise UpstreamError(
            Problem(504, "upstream-connect-timeout", "The upstream did not answer in time", detail), sent=False
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise _tls_failed(f"{host}:{port}: its certificate was not accepted ({error.verify_message})") from None
    except (ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or "it closed the connection"
        raise _tls_failed(f"{host}:{port}: the TLS handshake failed ({reason.replace('_', ' ').lower()})") from None


async def _where(proxy: Proxy, host: str, port: int, resolver: Resolver, guard: Guard | None, timeout: float) -> str:
    """What the proxy is asked for. A literal address is checked whoever looks up names."""
    if proxy.resolves:
        try:
            ip_address(host)
        except ValueError:
            return host
    addresses = resolver.cached(host, port) or await resolver.resolve(host, port)
    allowed = addresses if guard is None else permitted(guard, host, addresses)
    if not allowed:
        raise AddressRefused(f"{host} has no address")
    return allowed[0].ip


class _Asking(asyncio.Protocol):
    """The conversation with the proxy, before the connection is handed over. What comes behind its answer would be
    the first word of a server that speaks before it is spoken to: there is none in HTTP and TLS, so it is refused."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._news = asyncio.Event()
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self._news.set()

    async def exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            await self._more()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    async def head(self) -> bytes:
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if len(self._data) > HEAD:
                raise ConnectionError
            await self._more()
        return await self.exactly(end + 4)

    def over(self) -> bool:
        return not self._data

    async def _more(self) -> None:
        if self._closed:
            raise ConnectionError
        self._news.clear()
        await self._news.wait()


async def _connect(proxy: Proxy, asking: _Asking, host: str, port: int) -> None:
    authority = (f"[{host}]" if ":" in host else host) + f":{port}"
    request = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
    if proxy.username:
        login = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        request += f"proxy-authorization: Basic {login}\r\n"
    asking.transport.write((request + "\r\n").encode())
    try:
        head = await asking.head()
    except ConnectionError:
        raise _refused(proxy, "it gave no answer") from None
    match = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", head)
    if match is None:
        raise _refused(proxy, "its answer is not HTTP")
    if not 200 <= int(match[1]) < 300:
        raise _refused(proxy, f"it answered {int(match[1])}")
    if not asking.over():
        raise _refused(proxy, "it said more than it was asked")


_SOCKS_ERRORS: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


async def _socks5(proxy: Proxy, asking: _Asking, host: str, port: int) -> None:
    method = 2 if proxy.username else 0
    asking.transport.write(bytes([5, 1, method]))
    try:
        version, chosen = await asking.exactly(2)
        if version != 5 or chosen != method:
            raise _refused(proxy, "it does not take our way to log in")
        if method == 2:  # RFC 1929
            name, password = proxy.username.encode(), proxy.password.encode()
            asking.transport.write(bytes([1, len(name)]) + name + bytes([len(password)]) + password)
            if (await asking.exactly(2))[1] != 0:
                raise _refused(proxy, "it refused the login")
        asking.transport.write(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2))
        _, reply, _, kind = await asking.exactly(4)
        if reply != 0:
            raise _refused(proxy, _SOCKS_ERRORS.get(reply, f"error {reply}"))
        size = {1: 4, 4: 16}.get(kind) or (await asking.exactly(1))[0]
        await asking.exactly(size + 2)
    except ConnectionError:
        raise _refused(proxy, "it closed the connection") from None
    if not asking.over():
        raise _refused(proxy, "it said more than it was asked")


def _socks_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode()
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def _refused(proxy: Proxy, why: str) -> UpstreamError:
    detail = f"the proxy {proxy.address} made no connection: {why}"
    return UpstreamError(Problem(502, "upstream-unreachable", "The upstream cannot be reached", detail), sent=False)


def _tls_failed(detail: str) -> UpstreamError:
    return UpstreamError(Problem(502, "upstream-tls", "No secure connection to the upstream", detail), sent=False)
