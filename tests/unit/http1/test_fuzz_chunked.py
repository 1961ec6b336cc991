"""The chunked coding against llhttp, an independent reader: what we take, it takes, with the same body."""

from __future__ import annotations

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.mutations import mutated, pieces

from gatepost.errors import ProtocolError
from gatepost.http1.chunked import LAST_CHUNK, ChunkedDecoder, chunk

SOUND = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n6;c\r\n world\r\n000\r\n\r\n",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\nX-Checksum: abc\r\nY: z\r\n\r\n",
    b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b'1;x="y;z"\r\n\r\r\n2\r\n\r\n\r\n0;last\r\n\r\n',
]


class Outcome:
    """What the decoder made of a stream."""

    def __init__(self, parts: list[bytes]) -> None:
        self.body = b""
        self.rest = b""
        self.error = ""
        decoder = ChunkedDecoder()
        try:
            for part in parts:
                if decoder.done:
                    self.rest += part
                else:
                    piece, self.rest = decoder.feed(part)
                    self.body += piece
        except ProtocolError as error:
            self.error = error.problem.slug
        self.done = decoder.done
        self.trailers = decoder.trailers


class Llhttp:
    """The same stream behind a head, read by llhttp."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@settings(max_examples=400, deadline=None)
@given(data=st.data(), wire=mutated(SOUND))
def test_the_pieces_make_no_difference(data: st.DataObject, wire: bytes) -> None:
    whole = Outcome([wire])
    cut = Outcome(data.draw(pieces(wire)))
    assert (cut.error, cut.done) == (whole.error, whole.done)
    if not whole.error:
        assert (cut.body, cut.rest, cut.trailers) == (whole.body, whole.rest, whole.trailers)


@settings(max_examples=400, deadline=None)
@given(wire=mutated(SOUND))
def test_what_we_take_llhttp_takes_with_the_same_body(wire: bytes) -> None:
    ours = Outcome([wire])
    if ours.done:
        theirs = Llhttp(wire[: len(wire) - len(ours.rest)])
        assert theirs.complete
        assert theirs.body == ours.body


@given(parts=st.lists(st.binary(min_size=1, max_size=300)), rest=st.binary(max_size=20))
def test_what_is_written_is_read_back(parts: list[bytes], rest: bytes) -> None:
    outcome = Outcome([b"".join([chunk(part) for part in parts]) + LAST_CHUNK + rest])
    assert outcome.done
    assert outcome.body == b"".join(parts)
    assert outcome.rest == rest


@settings(deadline=None)
@given(data=st.data(), parts=st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_the_end_is_exact_however_it_is_cut(data: st.DataObject, parts: list[bytes]) -> None:
    wire = b"".join([chunk(part) for part in parts]) + LAST_CHUNK
    outcome = Outcome([*data.draw(pieces(wire)), b"the next request"])
    assert (outcome.body, outcome.rest) == (b"".join(parts), b"the next request")
