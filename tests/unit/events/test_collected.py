"""A whole request body, bounded: wherever it stands when it is asked for."""

from __future__ import annotations

from tests.support.exchanges import make_exchange

from gatepost.exchange import Collected, collect_body


def test_a_body_that_is_there_comes_at_once() -> None:
    x, _ = make_exchange("POST", body=b"abc")
    got: list[bytes | None] = []
    collect_body(x, 3, got.append)
    assert got == [b"abc"]


def test_a_body_to_come_is_gathered() -> None:
    x, client = make_exchange("POST", body=None)
    got: list[bytes | None] = []
    collect_body(x, 10, got.append)
    assert got == []
    assert client.receiver is not None
    client.receiver.send(b"ab")
    client.receiver.send(b"c")
    client.receiver.finish()
    assert got == [b"abc"]


def test_more_than_the_limit_is_said_once() -> None:
    got: list[bytes | None] = []
    sink = Collected(3, got.append)
    for _ in range(3):
        sink.send(b"ab")
    sink.finish()
    assert got == [None]


def test_a_declared_length_above_the_limit_never_travels() -> None:
    x, client = make_exchange("POST", body=None)
    x.head.framing = 11
    got: list[bytes | None] = []
    collect_body(x, 10, got.append)
    assert got == [None]
    assert client.receiver is None


def test_a_whole_body_above_the_limit_is_refused() -> None:
    x, _ = make_exchange("POST", body=b"abcd")
    got: list[bytes | None] = []
    collect_body(x, 3, got.append)
    assert got == [None]


def test_a_body_that_breaks_off_calls_nobody() -> None:
    got: list[bytes | None] = []
    sink = Collected(3, got.append)
    sink.send(b"ab")
    sink.abort()
    assert got == []
