"""Where frames end is found whatever the pieces that they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.mutations import pieces

from gatepost.http1.websocket import Frames, close_frame


def frame(opcode: int, size: int, *, masked: bool) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 65_536:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + (b"mask" if masked else b"") + b"x" * size


FRAMES = st.builds(
    frame,
    st.sampled_from([0, 1, 2, 9, 10]),
    st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536]),
    masked=st.booleans(),
)


@given(frames=st.lists(FRAMES, max_size=5), data=st.data())
def test_the_ends_of_frames_are_found_in_any_pieces(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    ends = {sum(map(len, frames[:n])) for n in range(len(frames) + 1)}
    fed, stepped, at = Frames(), Frames(), 0
    for piece in data.draw(pieces(stream)):
        fed.feed(piece)
        while piece:
            used = stepped.step(piece)
            assert 0 < used <= len(piece)
            assert stepped.between == (at + used in ends)
            assert used == len(piece) or stepped.between, "it stops at ends only"
            piece = piece[used:]
            at += used
        assert fed.between == (at in ends)
    assert not fed.closed
    assert not stepped.closed


def test_a_close_has_passed_once_it_is_whole() -> None:
    frames = Frames()
    close = close_frame(masked=True)
    frames.feed(frame(1, 5, masked=True) + close[:-1])
    assert (frames.between, frames.closed) == (False, False)
    frames.feed(close[-1:])
    assert (frames.between, frames.closed) == (True, True)


def test_a_close_of_ours_says_1001_and_is_masked_towards_a_server() -> None:
    assert close_frame(masked=False) == b"\x88\x02\x03\xe9"
    head, key, payload = (masked := close_frame(masked=True))[:2], masked[2:6], masked[6:]
    assert head == b"\x88\x82"
    assert bytes(a ^ b for a, b in zip(payload, key, strict=False)) == b"\x03\xe9"
