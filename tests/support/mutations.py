"""Strategies for fuzzing: messages that are nearly right, in pieces of any size.

Random bytes are refused at the first one and find nothing. A sound message with a few bytes changed, where the bytes
come from those that parsers disagree about, goes deep.
"""

from __future__ import annotations

from hypothesis import strategies as st

# What parsers stumble over, one between two bars.
_TRICKY = (
    '\r|\n|\r\n|\n\n|\r\n\r\n|\r\r\n| |\t|\x0b|\x0c|\0|\x7f|\xa0|:|;|,|=|"|\\|/|//|..|%|%2e|%00|#|?|*|@|_|'
    "0|00|1|5|a|F|x|0x|-|+|-1|99999999999999999999|ffffffffffffffff|fffffffffffffffff|"
    "chunked|identity|gzip|close|keep-alive|upgrade|100-continue|HTTP/1.0|HTTP/1.1|HTTP/2.0| folded\r\n|X_Y: z\r\n|"
    "Host: b\r\n|Content-Length: 0\r\n|Content-Length: 7\r\n|Transfer-Encoding: chunked\r\n|"
    "Transfer-Encoding: gzip\r\n|Connection: close\r\n|Connection: Content-Length\r\n|Upgrade: h2c\r\n|"
    "Expect: 100-continue\r\n|GET / HTTP/1.1\r\nHost: a\r\n\r\n|0\r\n\r\n|5\r\nhello\r\n"
)
TRICKY = st.sampled_from(_TRICKY.encode("latin-1").split(b"|"))


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes], most: int = 3) -> bytes:
    """One of the messages with up to `most` places changed: bytes put in, taken out, replaced or repeated."""
    data = draw(st.sampled_from(messages))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20])))
        new = draw(st.one_of(st.just(b""), TRICKY, st.binary(max_size=3), st.just(data[at:until] * 2)))
        data = data[:at] + new + data[until:]
    return data


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes, cut anywhere."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if b > a]
