"""The client's end of a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatepost.server.connection import Connection


class ClientEnd:
    """What the upstream's connection sees of the client's. Nothing flows before its first `resume`."""

    __slots__ = ("_connection", "_flowing")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._flowing = False

    def send(self, data: bytes) -> None:
        self._connection.send_raw(data)

    def finish(self) -> None:
        """The upstream has no more to say. RFC 9110 §9.3.6: what was sent goes out, then both sides end."""
        self._connection.end_tunnel(cut=False)

    def abort(self) -> None:
        self._connection.end_tunnel(cut=True)

    def pause(self) -> None:
        self._connection.pause_tunnel()

    def resume(self) -> None:
        self._connection.resume_tunnel(first=not self._flowing)
        self._flowing = True

    def cancel(self) -> None:
        self.abort()
