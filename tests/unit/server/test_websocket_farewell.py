"""A WebSocket that the gateway ends: Close 1001 between frames, both ways, and nothing after it."""

from __future__ import annotations

import pytest

from gatepost.http1.websocket import close_frame
from gatepost.server.websocket import WebSocket, is_websocket

AWAY = close_frame(masked=False)
HELLO = b"\x81\x05hello"  # from the upstream
MASKED = b"\x81\x82mask\x05\x08"  # from the client
CLOSE = b"\x88\x82mask\x6e\x88"  # the client's reply


class End:
    def __init__(self) -> None:
        self.got = b""
        self.calls: list[str] = []

    def send(self, data: bytes) -> None:
        assert not self.calls, "bytes after the end"
        self.got += data

    def finish(self) -> None:
        self.calls.append("finish")

    def abort(self) -> None:
        self.calls.append("abort")

    pause = resume = cancel = abort


class Pair:
    def __init__(self) -> None:
        self.client, self.upstream = End(), End()
        self.socket = WebSocket(self.client, self.upstream)
        self.from_client = self.socket.for_client.send
        self.from_upstream = self.socket.for_upstream.send

    @property
    def ended(self) -> bool:
        return (self.client.calls, self.upstream.calls) == (["finish"], ["abort"])


@pytest.fixture
def pair() -> Pair:
    return Pair()


def unmasked(data: bytes) -> bytes:
    assert data[:2] == b"\x88\x82"
    return bytes(a ^ b for a, b in zip(data[6:], data[2:6], strict=False))


def test_both_are_told_and_both_end_once_both_have_replied(pair: Pair) -> None:
    pair.from_client(MASKED)
    pair.from_upstream(HELLO)
    pair.socket.go_away()
    assert pair.client.got == HELLO + AWAY
    assert pair.upstream.got.startswith(MASKED)
    assert unmasked(pair.upstream.got[len(MASKED) :]) == b"\x03\xe9"
    pair.from_client(CLOSE)
    assert not pair.client.calls, "the upstream has not replied"
    pair.from_upstream(AWAY)
    assert pair.ended


def test_nothing_follows_a_close(pair: Pair) -> None:
    pair.socket.go_away()
    pair.socket.go_away()
    told = pair.upstream.got
    pair.from_upstream(HELLO)
    pair.from_client(MASKED)
    assert (pair.client.got, pair.upstream.got) == (AWAY, told)


def test_a_frame_under_way_is_ended_first(pair: Pair) -> None:
    pair.from_upstream(HELLO[:4])
    pair.from_client(MASKED[:1])
    pair.socket.go_away()
    assert (pair.client.got, pair.upstream.got) == (HELLO[:4], MASKED[:1])
    pair.from_upstream(HELLO[4:] + HELLO)
    assert pair.client.got == HELLO + AWAY
    pair.from_client(MASKED[1:3])
    assert pair.upstream.got == MASKED[:3]
    pair.from_client(MASKED[3:] + CLOSE)
    assert pair.upstream.got.startswith(MASKED)
    assert unmasked(pair.upstream.got[len(MASKED) :]) == b"\x03\xe9"
    pair.from_upstream(AWAY)
    assert pair.ended


def test_a_close_that_went_through_before_is_not_said_again(pair: Pair) -> None:
    pair.from_client(CLOSE)
    pair.socket.go_away()
    assert (pair.client.got, pair.upstream.got) == (AWAY, CLOSE)
    pair.from_upstream(HELLO + AWAY)
    assert pair.client.got == AWAY
    assert pair.ended


def test_where_both_have_said_close_already_both_end(pair: Pair) -> None:
    pair.from_client(CLOSE)
    pair.from_upstream(AWAY)
    pair.socket.go_away()
    assert (pair.client.got, pair.upstream.got) == (AWAY, CLOSE)
    assert pair.ended


def test_an_upstream_that_ends_still_leaves_the_client_its_reply(pair: Pair) -> None:
    pair.socket.go_away()
    pair.socket.for_upstream.finish()
    assert not pair.client.calls
    pair.from_client(CLOSE)
    assert pair.ended


def test_nothing_is_said_to_an_upstream_whose_client_has_half_closed(pair: Pair) -> None:
    pair.socket.for_client.finish()
    assert pair.upstream.calls == ["finish"]
    pair.upstream.calls.clear()
    pair.socket.go_away()
    assert (pair.upstream.got, pair.client.got) == (b"", AWAY)
    pair.from_upstream(AWAY)
    assert pair.ended


def test_before_that_an_end_is_an_end(pair: Pair) -> None:
    pair.socket.for_upstream.finish()
    assert pair.client.calls == ["finish"]
    pair.socket.for_client.abort()
    assert pair.upstream.calls == ["abort"]


def test_what_is_a_websocket() -> None:
    accepted = [(b"sec-websocket-accept", b"x")]
    assert is_websocket(b"WebSocket", accepted)
    assert not is_websocket(b"websocket", [])
    assert not is_websocket(b"my-protocol", accepted)
    assert not is_websocket(None, accepted)
