"""Heads that are nearly right: only our own error comes of them, and what is taken is sound."""

from __future__ import annotations

import re

import httptools
from httptools import HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.mutations import mutated
from tests.support.strict_http import FIELD_VALUE, TARGET, TOKEN, Reader

from gatepost.errors import ProtocolError
from gatepost.http1.fields import FieldBlock, read_lines
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import CHUNKED, UNTIL_CLOSE, Fields, RequestHead, ResponseHead
from gatepost.http1.request import HeadLimits, RequestParser, check_unfinished
from gatepost.http1.response import ResponseParser
from gatepost.http1.targets import normalise, split_target
from gatepost.http1.writer import response_head

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /orders?x=1 HTTP/1.1\r\nHost: shop.example:8080\r\nContent-Length: 5\r\nX-A: b\r\n\r\n",
    b"PUT /a/%7Eb/../c HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nConnection: close, X-B\r\n"
    b"X-B: c\r\n\r\n",
    b"GET http://other.example/x HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 204\r\nConnection: close, X-B\r\nX-B: c\r\n\r\n",
]


def heads(messages: list[bytes]) -> st.SearchStrategy[bytes]:
    """A mutated message as its caller hands it in: cut at its first empty line."""

    def cut(data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        return data + b"\r\n\r\n" if end < 0 else data[: end + 4]

    return mutated(messages).map(cut)


def request(data: bytes, parser: RequestParser | None = None) -> RequestHead | None:
    status = 400
    try:
        return (parser or RequestParser(HeadLimits())).parse(data)
    except ProtocolError as error:
        status = error.problem.status
    assert status in (400, 411, 414, 417, 431, 501, 505)
    return None


def said(head: RequestHead | None) -> list[object]:
    if head is None:
        return []
    names = [name for name in RequestHead.__slots__ if name != "block" and hasattr(head, name)]
    return [head.block.lines, head.fields, *(getattr(head, name) for name in names)]


def sound(fields: Fields) -> None:
    for name, value in fields:
        assert TOKEN.fullmatch(name)
        assert name == name.lower()
        assert FIELD_VALUE.fullmatch(value.strip(b" \t")), value


@settings(max_examples=400, deadline=None)
@given(data=heads(REQUESTS))
def test_a_request_that_is_taken_is_sound(data: bytes) -> None:
    head = request(data)
    if head is None:
        return
    assert TOKEN.fullmatch(head.method)
    assert re.fullmatch(rb"[\x21-\xff]+", head.target)
    sound(head.fields)
    sound(head.special)
    assert not [name for name, _ in head.fields if b"_" in name]
    assert len(head.all(b"host")) == 1 or head.http10
    lengths, codings = head.all(b"content-length"), head.all(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1
    if codings:
        assert codings[0].lower() == b"chunked"
        assert head.framing == CHUNKED
        assert not head.http10
    else:
        assert head.framing == (int(lengths[0]) if lengths else 0)
    if head.upgrade is not None:
        assert head.framing == 0
    try:
        target = split_target(head.method, head.target)
    except ProtocolError:
        return
    assert target.path == "*" or TARGET.fullmatch(target.path.encode())
    assert target.path == "*" or normalise(target.path.encode()) == target.path
    assert re.fullmatch(rb"[\x21-\x7e]*", target.query)


@settings(max_examples=500, deadline=None)
@given(data=heads(REQUESTS))
def test_what_goes_on_as_it_came_is_what_llhttp_read(data: bytes) -> None:
    """The lines are cut by us; llhttp, which calls back with each field, is the independent reader."""
    head = request(data)
    if head is None:
        return
    read = Collecting()
    try:
        httptools.HttpRequestParser(read).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    fields = [f for f in read.fields if b"_" not in f[0] and f[0] not in SPECIAL and f[0] not in head.connection]
    assert head.fields == fields
    assert head.special == [f for f in read.fields if f[0] in SPECIAL]
    again = Collecting()
    httptools.HttpRequestParser(again).feed_data(b"GET / HTTP/1.1\r\n" + head.block.lines + b"\r\n")
    assert again.fields == fields


FIELDS = [b"A: 1", b"a:2 ", b"AB: a: b", b"B:", b"X-Api-Key: \tk", b"x-api-key: l\t", b"B-A: x-api-key: m"]


@given(lines=st.lists(st.sampled_from(FIELDS)), listed=st.booleans())
def test_a_block_answers_as_the_list_would(lines: list[bytes], listed: bool) -> None:
    fields = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    block = FieldBlock.of(fields) if listed else FieldBlock(b"".join([line + b"\r\n" for line in lines]))
    for name in (b"a", b"ab", b"b", b"x-api-key", b"m"):
        values = [v for k, v in fields if k == name]
        assert block.get(name) == (values[0] if values else None)
        assert block.all(name) == values
        for _ in range(2):
            taken, rest = block.without(name)
            assert taken == values
            assert rest.fields == read_lines(rest.lines) == [field for field in fields if field[0] != name]
    assert block.fields == fields == read_lines(block.lines)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), before=heads(REQUESTS), again=st.booleans())
def test_what_came_before_on_a_connection_changes_nothing(data: st.DataObject, before: bytes, again: bool) -> None:
    """Parsers remember heads and request lines: what is nearly the same must be read as if it were the first."""
    limits = HeadLimits()
    used = RequestParser(limits)
    for _ in range(1 + again):
        first = request(before, used)
        if first is None or not first.keep_alive:
            return  # the connection ends there
        assert said(first) == said(request(before))
    following = data.draw(heads([before]) if data.draw(st.booleans()) else heads(REQUESTS))
    alone = said(request(following))
    assert said(request(following, RequestParser(limits))) == alone, "on another connection"
    assert said(request(following, used)) == alone, "on the same connection"


@settings(max_examples=300, deadline=None)
@given(data=heads(REQUESTS), at=st.floats(0, 1))
def test_nothing_is_refused_unfinished_that_would_be_taken_whole(data: bytes, at: float) -> None:
    part = data[: int(at * (len(data) - 1))]
    try:
        check_unfinished(part, HeadLimits())
    except ProtocolError:
        assert request(data) is None


@settings(max_examples=500, deadline=None)
@given(data=st.data(), before=heads(RESPONSES), method=st.sampled_from([b"GET", b"HEAD"]))
def test_what_an_upstream_said_before_changes_nothing(data: st.DataObject, before: bytes, method: bytes) -> None:
    used = ResponseParser()
    if response(before, b"GET", used) is None:
        return
    following = data.draw(heads([before]))
    assert response(following, method, used) == response(following, method, ResponseParser())


LENGTHS = [
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: %b\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: %b\r\nETag: a\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nCONTENT-LENGTH: \t%b\r\nETag: a\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length:%b \r\n\r\n",
]


@given(lengths=st.lists(st.sampled_from([b"0", b"5", b"17", b"", b"+1", b"1" * 19, b"5 ", b"5\r\nContent-Length: 5"])))
def test_answers_that_differ_in_their_length_only_read_as_if_alone(lengths: list[bytes]) -> None:
    for method in (b"GET", b"HEAD"):
        for pattern in LENGTHS:
            used = ResponseParser()
            for length in lengths:
                assert response(pattern % length, method, used) == response(pattern % length, method, ResponseParser())


@settings(max_examples=500, deadline=None)
@given(data=heads(RESPONSES))
def test_a_response_that_is_taken_llhttp_takes_as_well(data: bytes) -> None:
    """We read responses ourselves; strict llhttp is the independent opinion."""
    if response(data, b"GET", ResponseParser()) is not None and b" 101" not in data[:12]:  # it pauses there
        HttpResponseParser(object()).feed_data(data)


def response(data: bytes, method: bytes, parser: ResponseParser) -> list[object] | None:
    try:
        head = parser.parse(data, method)
    except ProtocolError:
        return None
    return [getattr(head, name) for name in ResponseHead.__slots__ if hasattr(head, name)]


@settings(max_examples=400, deadline=None)
@given(data=heads(RESPONSES), method=st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_a_response_that_is_taken_is_sound_to_its_client(data: bytes, method: bytes) -> None:
    status = 502
    head: ResponseHead | None = None
    try:
        head = ResponseParser().parse(data, method)
    except ProtocolError as error:
        status = error.problem.status
    assert status == 502
    if head is None:
        return
    assert 100 <= head.status <= 599
    sound(head.fields)
    sound(head.special)
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        assert head.framing == 0
    elif head.framing == UNTIL_CLOSE:
        assert not head.keep_alive
    # What goes on to the client can be read back by a strict reader, with the same fields.
    reader = Reader(b"HEAD")
    assert reader.feed(response_head(head.status, head.fields, b"")) == b""
    assert reader.message.status == head.status
    assert reader.message.fields == [(name, value.strip(b" \t")) for name, value in head.fields]


class Collecting:
    """What llhttp reads of a head."""

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))


@settings(max_examples=400, deadline=None)
@given(data=heads(RESPONSES))
def test_no_response_is_taken_that_llhttp_refuses_or_reads_otherwise(data: bytes) -> None:
    try:
        head = ResponseParser().parse(data, b"GET")
    except ProtocolError:
        return
    if head.status == 101:
        return  # llhttp only pauses there; whether it was asked for is the connection's to see
    read = Collecting()
    try:
        httptools.HttpResponseParser(read).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    gone = set(head.connection)
    assert sorted(head.fields + head.special) == sorted(f for f in read.fields if f[0] not in gone)


@settings(max_examples=300, deadline=None)
@given(before=heads(RESPONSES), data=heads(RESPONSES))
def test_known_lines_change_nothing(before: bytes, data: bytes) -> None:
    def answer(parser: ResponseParser, data: bytes) -> list[object]:
        try:
            head = parser.parse(data, b"GET")
        except ProtocolError as error:
            return [error.problem]
        return [getattr(head, name) for name in ResponseHead.__slots__]

    used = ResponseParser()
    answer(used, before)
    assert answer(used, data) == answer(ResponseParser(), data)


@settings(max_examples=300, deadline=None)
@given(data=heads(REQUESTS), line=st.sampled_from([b"GET /b HTTP/1.1", b"POST / HTTP/1.0", b"BREW / HTTP/1.1"]))
def test_what_repeats_itself_reads_as_it_did_the_first_time(data: bytes, line: bytes) -> None:
    used = RequestParser(HeadLimits())
    first = request(data, used)
    if first is None or not first.keep_alive:
        return
    block = data[data.find(b"\r\n") :]
    for again in (data, line + block, line + block, data):
        fresh = request(again)
        if fresh is None or not fresh.keep_alive:
            return  # the connection ends there
        assert said(request(again, used)) == said(fresh)


def test_a_policy_that_takes_a_field_out_takes_it_out_of_one_request() -> None:
    parser = RequestParser(HeadLimits())
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\n\r\n"
    head = parser.parse(data)
    head.fields = []
    assert parser.parse(data).fields == [(b"x-api-key", b"k")]
    head.fields = []
    assert parser.parse(data.replace(b"/", b"/b", 1)).fields == [(b"x-api-key", b"k")]
