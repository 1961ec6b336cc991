import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.errors import ProtocolError
from gatepost.http1.targets import Target, join, normalise, split_target, strip_prefix


def path(raw: bytes) -> str:
    return split_target(b"GET", raw).path


# Forms (RFC 9112 §3.2)


def test_a_plain_target_is_its_path_and_query() -> None:
    assert split_target(b"GET", b"/orders/1?a=%zz&b=//..") == Target("/orders/1", b"/orders/1", b"a=%zz&b=//..", None)
    assert split_target(b"GET", b"/?") == Target("/", b"/", b"", None)


def test_the_raw_path_stays_beside_the_normalised_one() -> None:
    assert split_target(b"GET", b"/a/../%7ejoe?x") == Target("/~joe", b"/a/../%7ejoe", b"x", None)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://Example.COM:8080/a//b?q", Target("/a/b", b"/a//b", b"q", b"example.com:8080")),
        (b"HTTPS://example.com", Target("/", b"/", b"", b"example.com")),
        (b"http://example.com?q=/", Target("/", b"/", b"q=/", b"example.com")),
        (b"http://[::1]:80/", Target("/", b"/", b"", b"[::1]:80")),
    ],
)
def test_an_absolute_target_names_its_host(target: bytes, expected: Target) -> None:
    assert split_target(b"GET", target) == expected


def test_the_asterisk_belongs_to_options() -> None:
    assert split_target(b"OPTIONS", b"*") == Target("*", b"*", b"", None)
    assert split_target(b"OPTIONS", b"http://example.com") == Target("*", b"*", b"", b"example.com")
    with pytest.raises(ProtocolError, match="OPTIONS only"):
        split_target(b"GET", b"*")


@pytest.mark.parametrize("target", [b"example.com:443", b"/", b"http://example.com/", b"*"])
def test_connect_is_refused(target: bytes) -> None:
    with pytest.raises(ProtocolError, match="CONNECT"):
        split_target(b"CONNECT", target)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"orders",
        b"?q",
        b"example.com:80",
        b"ftp://example.com/",
        b"http:/example.com",
        b"http:///orders",
        b"http://user@example.com/",
        b"http://user:secret@example.com/",
        b"http://exa%6dple.com/",
        b"http://example.com:port/",
        b"http://a b/",
        b"http://example.com\\@evil.example/",
        b"http://example.com#/",
    ],
)
def test_other_forms_are_refused(target: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        split_target(b"GET", target)
    assert (caught.value.problem.status, caught.value.problem.slug) == (400, "bad-target")


# The path rule


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/", "/"),
        (b"/a/b/", "/a/b/"),
        (b"//", "/"),
        (b"//a///b", "/a/b"),
        (b"/a/./b", "/a/b"),
        (b"/a/../b", "/b"),
        (b"/a//../b", "/b"),
        (b"/a/..", "/"),
        (b"/a/b/..", "/a/"),
        (b"/a/.", "/a/"),
        (b"/.", "/"),
        (b"/a/%2e%2E/b", "/b"),
        (b"/a/%2e/b", "/a/b"),
        (b"/a/.%2e/b", "/b"),
        (b"/%61%2D%7E%5f", "/a-~_"),
        (b"/caf%c3%a9", "/caf%C3%A9"),
        (b"/a%20b%3fc", "/a%20b%3Fc"),
        (b"/a%252e%252e/b", "/a%252e%252e/b"),
        (b"/%252f", "/%252f"),
        (b"/a;v=1/b", "/a;v=1/b"),
        (b"/.well-known/x", "/.well-known/x"),
        (b"/..x/...", "/..x/..."),
        (b"/a:b@c!$&'()*+,;=|^`{}[]\"<>", "/a:b@c!$&'()*+,;=|^`{}[]\"<>"),
    ],
)
def test_a_path_has_one_spelling(raw: bytes, expected: str) -> None:
    assert path(raw) == expected
    assert normalise(raw) == expected  # the fast way and the long way agree


@pytest.mark.parametrize(
    "raw",
    [
        b"/..",
        b"/a/../..",
        b"/a/%2e%2e/%2e%2e",
        b"/%2e./etc",
        b"/a%2Fb",
        b"/a%2fb",
        b"/a/..%2fb",
        b"/a%5Cb",
        b"/a%5cb",
        b"/a\\b",
        b"/a%00",
        b"/a\x00",
        b"/a\x1f",
        b"/a\x7f",
        b"/a b",
        b"/a\tb",
        b"/caf\xc3\xa9",
        b"/a#b",
        b"/a%",
        b"/a%4",
        b"/a%zz",
        b"/a%%34%31",
        b"/a/..;/b",
        b"/a/..;x=1/b",
        b"/a/.;x/b",
        b"/a/..%3bx/b",
        b"/a/%2e%2E;x",
        b"/a?b#c",
        b"/a?b c",
        b"/a?\xff",
        b"/a?\x00",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        path(raw)
    assert caught.value.problem.status == 400


@pytest.mark.parametrize("raw", [b"/a/..%2Fb", b"/a%2F..", b"/a%2f%2e%2e%2fb", b"/a/.%2Fb", b"/a%2F..;x", b"/a%5Cb"])
def test_an_encoded_separator_is_refused_in_every_form_of_target(raw: bytes) -> None:
    for target in (raw, b"http://h" + raw):
        with pytest.raises(ProtocolError):
            split_target(b"GET", target)


PIECES = st.sampled_from(rb"/ // . .. %2e %2E a B %61 %2F %2f %25 2e 2f ; %3b %C3%a9 \ %5c %00 % ~ %20 { |".split(b" "))


@given(st.one_of(st.lists(PIECES).map(b"".join), st.binary()))
@example(b"/%252e%252e/")
def test_normalising_twice_changes_nothing_and_leaves_nothing_to_resolve(tail: bytes) -> None:
    raw = b"/" + tail
    try:
        once = normalise(raw)
    except ProtocolError:
        return
    assert normalise(once.encode()) == once
    assert once.startswith("/")
    assert "//" not in once
    assert not {".", ".."} & set(once.split("/"))
    assert "%2E" not in once
    assert "%2F" not in once


@given(st.one_of(st.lists(PIECES).map(b"".join), st.binary()))
def test_the_fast_way_takes_only_what_the_rule_leaves_alone(tail: bytes) -> None:
    raw = (b"/" + tail).partition(b"?")[0]
    try:
        expected: str | None = normalise(raw)
    except ProtocolError:
        expected = None
    try:
        found: str | None = split_target(b"GET", raw).path
    except ProtocolError:
        found = None
    assert found == expected


# Base paths and prefixes


def test_a_base_path_is_joined_without_doubling_the_slash() -> None:
    assert join(b"", b"/orders") == b"/orders"
    assert join(b"/", b"/orders") == b"/orders"
    assert join(b"/api", b"/orders") == b"/api/orders"
    assert join(b"/api/", b"/orders/") == b"/api/orders/"
    assert join(b"/api", b"/") == b"/api/"
    assert join(b"/api", b"*") == b"*"


def test_a_prefix_is_stripped_by_whole_segments() -> None:
    assert strip_prefix(b"/api/orders", b"/api") == b"/orders"
    assert strip_prefix(b"/api/orders", b"/api/") == b"/orders"
    assert strip_prefix(b"/api", b"/api") == b"/"
    assert strip_prefix(b"/api/", b"/api") == b"/"
    assert strip_prefix(b"/apiary", b"/api") == b"/apiary"
    assert strip_prefix(b"/other", b"/api") == b"/other"
    assert strip_prefix(b"/orders", b"") == b"/orders"
    assert strip_prefix(b"*", b"/api") == b"*"


def test_a_stripped_path_never_reads_as_an_authority() -> None:
    assert strip_prefix(b"/api//evil.example/x", b"/api") == b"/evil.example/x"
