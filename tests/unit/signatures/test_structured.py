from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import SignatureError
from gatepost.signatures.structured import Bare, InnerList, Item, Member, Word, dictionary, serialize


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("  ", {}),
        ("a=1", {"a": Item(1, {})}),
        ("a", {"a": Item(True, {})}),
        ("a;b;c=2", {"a": Item(True, {"b": True, "c": 2})}),
        ('a="x\\"\\\\y", b=tok/en:*', {"a": Item('x"\\y', {}), "b": Item("tok/en:*", {})}),
        ("a=:aGk=:,\tb=?0", {"a": Item(b"hi", {}), "b": Item(False, {})}),
        ("a=-1.5", {"a": Item(-1.5, {})}),
        ('a=( "x";k  1 );p', {"a": InnerList((Item("x", {"k": True}), Item(1, {})), {"p": True})}),
        ("a=1, a=2", {"a": Item(2, {})}),
    ],
)
def test_dictionaries(text: str, members: dict[str, Member]) -> None:
    assert dictionary(text.encode()) == members


NONE = r"""A=1 a= a=1, ,a a=1,,b a=" a="\x" a=:AA a=:A: a=?2 a=1. a=1234567890123456 a=(1 a=(1)2 a=("x""y") a=1; a=1;B
a=- a=1.2345 a=é a=1.1.1"""


@pytest.mark.parametrize("text", [*NONE.split(), "a=1 b=2", "a=\0"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        dictionary(text.encode())


BARES: st.SearchStrategy[Bare] = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.booleans(),
    st.binary(max_size=20),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.just(Word("a-token")),
    st.integers(-(10**14), 10**14).map(lambda n: n / 1000),
)
ITEMS = st.builds(Item, BARES, st.dictionaries(st.sampled_from(["a", "b*", "c.d"]), BARES, max_size=3))
MEMBERS = st.one_of(
    ITEMS, st.builds(InnerList, st.lists(ITEMS, max_size=3).map(tuple), st.dictionaries(st.just("k"), BARES))
)


@given(MEMBERS)
def test_what_is_written_is_read_again(member: Member) -> None:
    (read,) = dictionary(f"a={serialize(member)}".encode()).values()
    assert serialize(read) == serialize(member)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        dictionary(data)
    except SignatureError:
        pass
