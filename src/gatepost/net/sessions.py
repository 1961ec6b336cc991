"""TLS sessions that are taken up again: a new connection to a host that was connected to before costs half a
handshake, and one signature less on both sides (RFC 8446 §2.2).
"""

from __future__ import annotations

import ssl
from typing import Any, Final

MOST: Final = 1_000  # sessions, of 1 to 4 KB each; the oldest leave first


class ResumingContext(ssl.SSLContext):
    """A client's context that hands the last session of a host to the next connection there.

    Neither event loop lets its caller choose a session, but both ask the context for the TLS object. A session holds
    only for the name whose certificate was verified when it was made, and for this context: its authorities and its
    client certificate.
    """

    _sessions: dict[str, ssl.SSLSession]

    def __new__(cls, *arguments: Any) -> ResumingContext:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self._sessions = {}
        return self

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, tls: ssl.SSLObject) -> None:
        """To be called once something was read: the tickets of TLS 1.3 come after the handshake."""
        session, name = tls.session, tls.server_hostname
        if session is None or not session.has_ticket or not isinstance(name, str):
            return
        self._sessions.pop(name, None)
        while len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[name] = session
