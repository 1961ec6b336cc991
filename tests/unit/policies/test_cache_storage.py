"""Stored responses: bounded in bytes, found by key, let go by path, URL, prefix and tag."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.support.exchanges import make_exchange

from gatepost.http1.messages import FieldList
from gatepost.policies.caching.storage import CHANCES, PASSING, VARIANTS, Entry, Fill, Key, Place, Storage

X, _ = make_exchange()


def key(target: str) -> Key:
    return (None, "", b"http", b"h", target.encode())


def entry(target: str, size: int = 10, *, vary: tuple[tuple[bytes, bytes], ...] = (), tags: str = "") -> Entry:
    path, _, query = target.partition("?")
    made = Entry()
    made.key = key(target)
    made.place = Place(b"h", path)
    made.query = query.encode()
    made.fields = FieldList()
    made.body = b""
    made.varying = vary
    made.tags = frozenset(tag.encode() for tag in tags.split())
    made.size = size
    made.used = False
    made.served = made.encoded = None
    return made


def stored(storage: Storage, *targets: str) -> None:
    for target in targets:
        assert storage.put(entry(target))


def left(storage: Storage) -> set[str]:
    return {target for target in ("/a", "/a?x", "/ab", "/a/b", "/c") if storage.find(key(target), X) is not None}


def whole(steps: Generator[None, None, int]) -> int:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            removed: int = end.value
            return removed


def empty(storage: Storage) -> bool:
    """Nothing is left, in no index."""
    return not (len(storage) or storage.size or storage._by_key or storage._by_place or storage._by_tag)


def test_it_never_holds_more_than_its_memory() -> None:
    storage = Storage(memory=100)
    for number in range(1_000):
        storage.put(entry(f"/{number}", 7 + number % 20))
        assert storage.size <= 100
        assert storage.size == sum(each.size for each in storage._order)
    assert storage.evicted


def test_what_was_used_gets_a_second_chance() -> None:
    storage = Storage(memory=30)
    stored(storage, "/a", "/ab", "/c")
    found = storage.find(key("/a"), X)
    assert found is not None
    found.used = True
    stored(storage, "/a?x")
    assert left(storage) == {"/a", "/a?x", "/c"}
    stored(storage, "/a/b")
    assert left(storage) == {"/a", "/a?x", "/a/b"}  # asked for since, and only then


def test_chances_are_bounded() -> None:
    storage = Storage(memory=CHANCES * 100)
    for number in range(CHANCES * 10):
        made = entry(f"/{number}")
        storage.put(made)
        made.used = True
    storage.put(entry("/new"))
    assert storage.evicted == 1
    assert sum(not each.used for each in storage._order) == CHANCES + 1


def test_what_is_larger_than_all_of_it_is_not_stored() -> None:
    storage = Storage(memory=100)
    stored(storage, "/a")
    assert not storage.put(entry("/b", 101))
    assert left(storage) == {"/a"}


def test_a_smaller_memory_holds_at_once() -> None:
    storage = Storage(memory=100)
    stored(storage, "/a", "/ab", "/c")
    storage.resize(15)
    assert left(storage) == {"/c"}


def test_a_newer_answer_takes_the_place_of_the_older() -> None:
    storage = Storage()
    stored(storage, "/a", "/a")
    assert (len(storage), storage.size) == (1, 10)


def test_of_variants_that_match_the_most_recent_is_found() -> None:
    storage = Storage()
    stored(storage, "/a")
    newer = entry("/a", vary=((b"foo", b"\0"),))
    storage.put(newer)
    assert storage.find(key("/a"), X) is newer
    assert len(storage) == 2


def test_variants_of_one_key_are_bounded() -> None:
    storage = Storage()
    for number in range(VARIANTS + 10):
        storage.put(entry("/a", vary=((b"foo", b"%d" % number),)))
    assert len(storage) == VARIANTS
    variants = [each.varying[0][1] for each in storage._by_key[key("/a")]]
    assert variants == [b"%d" % number for number in range(VARIANTS + 9, 9, -1)]


def test_everything_that_is_removed_is_gone_from_every_index() -> None:
    storage = Storage()
    made = entry("/a", tags="t u")
    storage.put(made)
    assert storage.remove(made)
    assert not storage.remove(made)
    assert empty(storage)


@pytest.mark.parametrize(
    ("purge", "expected"),
    [
        (lambda s: s.invalidate(Place(b"h", "/a")), {"/ab", "/a/b", "/c"}),
        (lambda s: s.purge_url(Place(b"h", "/a"), b""), {"/a?x", "/ab", "/a/b", "/c"}),
        (lambda s: s.purge_url(Place(b"h", "/a"), b"x"), {"/a", "/ab", "/a/b", "/c"}),
        (lambda s: s.purge_url(Place(b"other", "/a"), b""), {"/a", "/a?x", "/ab", "/a/b", "/c"}),
        (lambda s: whole(s.purge_prefix(b"h", "/a")), {"/c"}),
        (lambda s: whole(s.purge_prefix(b"h", "/a/")), {"/a", "/a?x", "/ab", "/c"}),
        (lambda s: whole(s.purge()), set()),
    ],
)
def test_what_is_let_go_of(purge: object, expected: set[str]) -> None:
    storage = Storage()
    stored(storage, "/a", "/a?x", "/ab", "/a/b", "/c")
    assert callable(purge)
    assert purge(storage) == 5 - len(expected)
    assert left(storage) == expected


def test_a_tag_lets_go_of_all_that_carry_it() -> None:
    storage = Storage()
    storage.put(entry("/a", tags="t"))
    storage.put(entry("/c", tags="t u"))
    storage.put(entry("/ab", tags="u"))
    assert storage.purge_tag(b"t") == 2
    assert left(storage) == {"/ab"}
    assert storage.purge_tag(b"none") == 0


def test_a_purge_of_everything_takes_many_turns() -> None:
    storage = Storage()
    for number in range(2_000):
        storage.put(entry(f"/{number}"))
    assert sum(1 for _ in storage.purge()) == 4
    assert empty(storage)


def test_a_purge_spoils_what_is_on_its_way() -> None:
    storage = Storage()
    here, there = Fill(storage, Place(b"h", "/a")), Fill(storage, Place(b"h", "/b"))
    storage.invalidate(Place(b"h", "/a"))
    assert (here.spoiled, there.spoiled) == (True, False)
    storage.purge_tag(b"t")
    assert there.spoiled
    here.add(b"123")
    assert storage.filling == 3
    here.close()
    there.close()
    assert not storage.fills
    assert storage.filling == 0


def test_what_grows_is_counted_only_while_it_is_stored() -> None:
    storage = Storage(memory=100)
    made = entry("/a")
    assert not storage.grow(made, 5)
    storage.put(made)
    assert storage.grow(made, 5)
    assert storage.size == 15
    assert storage.grow(made, 500)
    assert empty(storage)


def test_keys_that_pass_are_bounded() -> None:
    storage = Storage()
    for number in range(PASSING + 5):
        storage.pass_on(key(f"/{number}"), 1.0)
    assert len(storage.passing) == PASSING
    assert key("/0") not in storage.passing
