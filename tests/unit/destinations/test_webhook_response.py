from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import ProtocolError
from gatepost.http1.whole import HEAD_BYTES, INTERIM, Response

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
LIMIT = 100


def feed(data: bytes, limit: int = LIMIT) -> Response:
    response = Response(limit)
    response.feed(data)
    return response


@pytest.mark.parametrize(
    "wire", [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" + OK]
)
def test_it_is_the_same_in_whatever_pieces_it_comes(wire: bytes) -> None:
    for size in (1, 2, 3, 7, 1000):
        response = Response(LIMIT)
        over = [response.feed(wire[at : at + size]) for at in range(0, len(wire), size)]
        assert over == [False] * (len(over) - 1) + [True]
        assert (response.status, response.body, response.reusable) == (200, b"hello", True)


def test_it_can_be_used_again() -> None:
    response = Response(LIMIT)
    assert response.feed(OK)
    response.reset()
    assert (response.status, response.begun, response.body) == (0, False, b"")
    assert response.feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (response.status, response.body) == (204, b"")


def test_a_long_body_is_kept_to_its_limit_and_the_connection_is_not() -> None:
    response = Response(LIMIT)
    assert not response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 99)
    assert response.feed(b"x" * 500)
    assert response.body == b"x" * LIMIT
    assert not response.reusable


def test_a_body_of_exactly_the_limit_is_complete() -> None:
    response = feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert response.reusable


def test_bytes_behind_the_response_spoil_the_connection_not_the_result() -> None:
    response = Response(LIMIT)
    assert response.feed(OK + b"HTTP/1.1 200 OK\r\n")
    assert (response.body, response.reusable) == (b"hello", False)


def test_a_body_without_length_ends_with_the_connection() -> None:
    response = Response(LIMIT)
    assert not response.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not response.feed(b"lo")
    assert response.ends_here()
    assert not response.reusable
    assert response.body == b"hello"


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200", OK[:-1], CHUNKED[:-2]])
def test_elsewhere_the_end_of_the_connection_is_not_the_end_of_the_response(wire: bytes) -> None:
    response = Response(LIMIT)
    if wire:
        response.feed(wire)
    assert not response.ends_here()


def test_connection_close_is_obeyed() -> None:
    assert not feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").reusable
    assert not feed(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello-too-long\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES,
        b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM + 1),
    ],
)
def test_what_is_not_http_is_an_error_that_says_so(wire: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        feed(wire)
    assert caught.value.problem.detail.startswith("The response is not valid")


@given(st.binary(max_size=200), st.sampled_from([b"", OK[:-5], CHUNKED[:47], b"HTTP/1.1 200 OK\r\n"]))
def test_random_bytes_raise_nothing_but_a_protocol_error(data: bytes, before: bytes) -> None:
    response = Response(LIMIT)
    try:
        response.feed(before + data)
    except ProtocolError:
        return
    assert len(response.body) <= LIMIT
