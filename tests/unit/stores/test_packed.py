from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from gatepost.stores.packed import PackedIndex

# Few first bytes, so that tags share buckets; few others, so that they overlap each other's ends.
tags = st.binary(min_size=14, max_size=14).map(lambda rest: b"\x00\x01" + rest) | st.lists(
    st.sampled_from([b"\x00", b"\x01"]), min_size=16, max_size=16
).map(b"".join)
acts = st.lists(st.tuples(st.sampled_from(["put", "drop"]), tags, st.integers(0, 2**32 - 1)), max_size=60)


@given(acts)
def test_it_is_a_dictionary(several: list[tuple[str, bytes, int]]) -> None:
    index, truth = PackedIndex(), dict[bytes, tuple[int, int]]()
    for act, tag, row in several:
        if act == "put":
            index.put(tag, row, row ^ 7)
            truth[tag] = (row, row ^ 7)
        else:
            index.drop(tag)
            truth.pop(tag, None)
        assert len(index) == len(truth)
    for _, tag, _ in several:
        assert index.get(tag) == truth.get(tag)


def test_a_tag_that_stands_across_two_entries_is_not_found() -> None:
    index = PackedIndex()
    index.put(bytes(16), 0x01010101, 0x01010101)
    index.put(b"\x00\x00" + b"\x01" * 14, 1)
    assert index.get(b"\x00\x00\x01" * 4 + bytes(4)) is None
    assert index.get(bytes(8) + b"\x01" * 8) is None
    assert index.get(bytes(16)) == (0x01010101, 0x01010101)


def test_thousands() -> None:
    index = PackedIndex()
    digests = [sha256(b"%d" % number).digest() for number in range(20_000)]
    for row, digest in enumerate(digests):
        index.put(digest, row, row + 1)
    assert [index.get(digest) for digest in digests] == [(row, row + 1) for row in range(20_000)]
    for digest in digests[::2]:
        index.drop(digest)
    assert len(index) == 10_000
    assert index.get(digests[0]) is None
    assert index.get(digests[1]) == (1, 2)
