from __future__ import annotations

from math import inf

from tests.support.exchanges import RecordingDownstream, make_exchange

from gatepost.realtime.subscriber import Subscriber


def subscriber(buffer_bytes: int = 10) -> tuple[Subscriber, RecordingDownstream, list[Subscriber]]:
    x, client = make_exchange()
    left: list[Subscriber] = []
    return Subscriber(x, buffer_bytes, inf, 0, left.append), client, left


def test_frames_go_out_at_once_while_the_connection_takes_them() -> None:
    stream, client, _ = subscriber()
    stream.push(b"1")
    stream.push(b"2")
    assert client.body == b"12"


def test_frames_wait_while_it_does_not_and_keep_their_order() -> None:
    stream, client, _ = subscriber()
    stream.pause()
    stream.push(b"1")
    stream.push(b"2")
    assert client.body == b""
    stream.resume()
    stream.push(b"3")
    assert client.body == b"123"


def test_a_pause_in_the_middle_of_the_queue_is_obeyed() -> None:
    stream, client, _ = subscriber()
    stream.pause()
    for frame in (b"1", b"2", b"3"):
        stream.push(frame)

    send = client.send

    def send_and_fill(data: bytes) -> None:
        send(data)
        stream.pause()

    client.send = send_and_fill  # type: ignore[method-assign]
    stream.resume()
    assert client.body == b"1"
    stream.resume()
    assert client.body == b"12"


def test_who_cannot_keep_up_is_cut_and_not_buffered() -> None:
    stream, client, left = subscriber(buffer_bytes=10)
    stream.pause()
    stream.push(b"12345")
    stream.push(b"67890")
    assert not stream.closed
    stream.push(b"!")
    assert client.aborted
    assert stream._x.outcome == "subscriber-too-slow"
    assert left == [stream]
    assert not stream._queue, "what waited is freed"
    stream.push(b"more")
    assert client.body == b""


def test_what_was_sent_no_longer_counts_as_waiting() -> None:
    stream, _, _ = subscriber(buffer_bytes=10)
    for _ in range(100):
        stream.pause()
        stream.push(b"12345678")
        stream.resume()
    assert not stream.closed


def test_live_frames_wait_for_the_backlog() -> None:
    stream, client, _ = subscriber(buffer_bytes=100)
    stream.catching_up = True
    stream.push(b"live")
    stream.write(b"old ")
    stream.caught_up()
    assert client.body == b"old live"


def test_a_live_flood_during_the_backlog_cuts_as_well() -> None:
    stream, client, _ = subscriber(buffer_bytes=10)
    stream.catching_up = True
    stream.push(b"12345678901")
    assert client.aborted


def test_an_end_on_purpose_is_a_complete_response() -> None:
    stream, client, left = subscriber()
    stream.end(b"bye", "token-expired")
    stream.end(b"again")
    stream.cut("too late")
    assert (client.body, client.finished, client.aborted) == (b"bye", True, False)
    assert stream._x.outcome == "token-expired"
    assert left == [stream]


def test_a_client_that_left_is_left_alone() -> None:
    stream, client, left = subscriber()
    stream.cancel()
    stream.cancel()
    stream.push(b"1")
    stream.write(b"2")
    stream.resume()
    assert client.calls == []
    assert left == [stream]


async def test_a_writer_waits_until_the_connection_takes_more_or_is_gone() -> None:
    stream, _, _ = subscriber()
    await stream.ready()
    stream.pause()
    loop = stream._x.loop
    loop.call_soon(stream.resume)
    await stream.ready()
    stream.pause()
    loop.call_soon(stream.cancel)
    await stream.ready()
    assert stream.closed
