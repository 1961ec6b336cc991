"""One listener: its socket, its gate, its certificates. The app opens and closes it."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol

from gatepost.config.schema import Hsts, Listener
from gatepost.net.accepting import Acceptor
from gatepost.net.certificates import Certificates, Shown, client_auth
from gatepost.net.listen import BACKLOG, listen
from gatepost.net.proxied import read_header
from gatepost.server.connection import LINGER, Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.redirect import redirecting

TOLD: Final = 8  # handshakes that may be under way though the gateway is full


class Server(Protocol):
    def close(self) -> None: ...


class Listening:
    """Mutable, owned by the app. Raises TlsError when it is made, ListenError when it is opened."""

    def __init__(self, settings: Listener, gate: Gate) -> None:
        self.settings = settings
        self.gate = gate
        self.certificates = None if settings.tls is None else Certificates(settings.tls)
        self._server: Server | None = None
        self._set_hsts()

    async def open(self) -> None:
        gate, settings = self.gate, self.settings
        loop = asyncio.get_running_loop()
        sock = listen(settings.address)
        if self.certificates is None:
            self._server = await loop.create_server(lambda: Connection(gate), sock=sock, backlog=BACKLOG)
        else:
            self._server = Acceptor(sock, self._begin, self._room)

    def close(self) -> None:
        """No more connections."""
        if self._server is not None:
            self._server.close()

    def use(self, snapshot: Snapshot) -> None:
        """From the next head on."""
        port = self.settings.redirect_https
        self.gate.use(snapshot if port is None else redirecting(port, snapshot))

    def may_become(self, settings: Listener) -> bool:
        """Whether the listener can have these settings while it is open: all but certificates need a restart."""
        return _fixed(settings) == _fixed(self.settings)

    def read(self, settings: Listener) -> Shown | None:
        """The certificates of `settings`, read where they are not known. Raises TlsError; nothing has changed.

        About 1 ms a certificate: call it in a thread."""
        if self.certificates is None or settings.tls is None:
            return None
        return self.certificates.read(settings.tls)

    def show(self, settings: Listener, shown: Shown | None) -> None:
        """Go on with these settings and what was read for them."""
        self.settings = settings
        if self.certificates is not None and shown is not None:
            self.certificates.show(shown)
        self._set_hsts()

    def _room(self) -> int:
        """How many handshakes may be under way: they are connections like all others. A few may be always, so that
        who comes to a full gateway can be told so."""
        gate = self.gate
        return max(gate.limits.connections - len(gate.connections), TOLD)

    async def _begin(self, sock: socket.socket) -> None:
        assert self.certificates is not None
        # The loops' own are 60 and 30 s: a handshake is part of the header, and a client that does not answer our
        # goodbye must not hold up a stop.
        timeout = self.gate.limits.header_timeout or None
        named = (await read_header(sock, timeout)).source if self.settings.proxy_protocol else None
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Connection(self.gate, named),
            sock,
            ssl=self.certificates.context,
            ssl_handshake_timeout=timeout,
            ssl_shutdown_timeout=LINGER,
        )

    def _set_hsts(self) -> None:
        tls = self.settings.tls
        self.gate.hsts = b"" if tls is None or tls.hsts is None else _hsts_line(tls.hsts)


def _fixed(settings: Listener) -> tuple[object, ...]:
    tls = settings.tls
    mode = None if tls is None else client_auth(tls)
    return settings.address, settings.proxy_protocol, settings.redirect_https, mode


def _hsts_line(hsts: Hsts) -> bytes:
    """RFC 6797 §6.1."""
    line = b"strict-transport-security: max-age=%d" % int(hsts.max_age)
    if hsts.include_subdomains:
        line += b"; includeSubDomains"
    if hsts.preload:
        line += b"; preload"
    return line + b"\r\n"
