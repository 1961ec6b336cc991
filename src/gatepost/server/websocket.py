"""A WebSocket that passes through, and how it is ended on purpose.

    client ══ `for_client` ── one way of frames up, one down ── `for_upstream` ══ upstream

Until the node stops, bytes go through as in any tunnel, and only where frames end is followed. Then, as soon as a way
stands between two frames, a Close with 1001 is said into it and nothing after that; what still comes the other way is
read until its sender has said Close as well. Once both have, both connections end. Who takes too long is cut.
"""

from __future__ import annotations

from collections.abc import Callable

from gatepost.exchange import TunnelEnd
from gatepost.http1.messages import Fields
from gatepost.http1.websocket import Frames, close_frame


def is_websocket(upgrade: bytes | None, fields: Fields) -> bool:
    """Whether a 101 with these fields, to a request with this Upgrade, opens a WebSocket: RFC 6455 §4.2.2."""
    if upgrade is None or upgrade.lower() != b"websocket":
        return False
    return any(name == b"sec-websocket-accept" for name, _ in fields)


class WebSocket:
    """Owns both ways. `for_client` is where the client's bytes go, `for_upstream` where the upstream's do."""

    __slots__ = ("_client", "_down", "_leaving", "_up", "_upstream", "for_client", "for_upstream")

    def __init__(self, client: TunnelEnd, upstream: TunnelEnd) -> None:
        self._client = client
        self._upstream = upstream
        self._leaving = False
        self._up = _Way(upstream.send, masked=True)
        self._down = _Way(client.send, masked=False)
        self.for_client = _End(self, self._up, upstream)
        self.for_upstream = _End(self, self._down, client)

    def go_away(self) -> None:
        """Say 1001 to both, once, each as soon as it can be said."""
        if not self._leaving:
            self._leaving = True
            self._up.leave()
            self._down.leave()
            self.look()

    def look(self) -> None:
        """End both connections if both ends have said Close."""
        if self._leaving and self._up.over and self._down.over:
            self._upstream.abort()
            self._client.finish()

    def finished(self, way: _Way, other: TunnelEnd) -> None:
        """The sender of a way says no more. Once we are leaving, that is no reason to end `other` without its Close."""
        way.end()
        if not self._leaving:
            other.finish()
        else:
            self.look()


class _Way:
    """The frames of one direction."""

    __slots__ = ("_frames", "_leaving", "_masked", "_out", "_said", "over")

    def __init__(self, out: Callable[[bytes], None], *, masked: bool) -> None:
        self._out = out
        self._masked = masked
        self._frames = Frames()
        self._leaving = False
        self._said = False  # the last frame of this way, a Close, is out
        self.over = False  # its sender has said Close, or no more at all

    def send(self, data: bytes) -> None:
        frames = self._frames
        if not self._leaving:
            frames.feed(data)
            self._out(data)
            return
        if not self._said:
            used = frames.step(data)
            self._out(data[:used])
            data = data[used:]
            self._say()
        frames.feed(data)
        self.over = self.over or frames.closed

    def leave(self) -> None:
        self._leaving = True
        self._say()
        self.over = self.over or self._frames.closed

    def end(self) -> None:
        self._said = self.over = True

    def _say(self) -> None:
        if self._said:
            return
        if self._frames.closed:
            self._said = True  # its sender's own Close went through
        elif self._frames.between:
            self._said = True
            self._out(close_frame(masked=self._masked))


class _End:
    """One end as the other one's connection sees it."""

    __slots__ = ("_other", "_socket", "_way")

    def __init__(self, socket: WebSocket, way: _Way, other: TunnelEnd) -> None:
        self._socket = socket
        self._way = way
        self._other = other

    def send(self, data: bytes) -> None:
        self._way.send(data)
        if self._way.over:
            self._socket.look()

    def finish(self) -> None:
        self._socket.finished(self._way, self._other)

    def abort(self) -> None:
        self._other.abort()

    def pause(self) -> None:
        self._other.pause()

    def resume(self) -> None:
        self._other.resume()

    def cancel(self) -> None:
        self._other.cancel()
