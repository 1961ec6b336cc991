"""Requests that two servers could read differently. One invariant for all of them:

the backend sees exactly one well-formed, equivalent request, or none; the client gets one answer a request, and after
a refusal the end of the connection.
"""

from __future__ import annotations

import pytest
from tests.support.wire import Gate

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What an attacker wants to be read as a request of its own.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


def post(fields: bytes, body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (fields, body)


def get(fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % fields


def cases(table: dict[str, bytes]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("wire", list(table.values()), ids=list(table))


CL = b"Content-Length: %d\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"

FRAMING = {
    "CL.TE": post(CL % (len(END) + len(HIDDEN)) + TE, END + HIDDEN),
    "TE.CL": post(TE + CL % 4, b"21\r\n" + HIDDEN[:33] + b"\r\n" + END),
    "CL.TE with length 0": post(CL % 0 + TE, END + HIDDEN),
    "CL.TE with a bad chunk": post(CL % 6 + TE, b"0\r\n\r\nG"),
    "TE doubled": post(TE + TE, END + HIDDEN),
    "TE doubled in a list": post(b"Transfer-Encoding: chunked, chunked\r\n", END + HIDDEN),
    "TE with a list that ends otherwise": post(b"Transfer-Encoding: chunked, identity\r\n", END + HIDDEN),
    "TE identity then chunked": post(b"Transfer-Encoding: identity, chunked\r\n", END + HIDDEN),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", END + HIDDEN),
    "TE gzip": post(b"Transfer-Encoding: gzip\r\n", HIDDEN),
    "TE identity": post(b"Transfer-Encoding: identity\r\n", HIDDEN),
    "TE identity with CL": post(CL % 5 + b"Transfer-Encoding: identity\r\n", b"hello"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked\r\n", END + HIDDEN),
    "TE chunkedx": post(b"Transfer-Encoding: chunkedx\r\n", END + HIDDEN),
    "TE chunk": post(b"Transfer-Encoding: chunk\r\n", END + HIDDEN),
    "TE quoted": post(b'Transfer-Encoding: "chunked"\r\n', END + HIDDEN),
    "TE with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", END + HIDDEN),
    "TE with an empty member": post(b"Transfer-Encoding: ,chunked\r\n", END + HIDDEN),
    "TE empty": post(b"Transfer-Encoding: \r\n", HIDDEN),
    "TE with a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", END + HIDDEN),
    "TE with a form feed": post(b"Transfer-Encoding: \x0cchunked\r\n", END + HIDDEN),
    "TE with a NUL": post(b"Transfer-Encoding: chunked\0\r\n", END + HIDDEN),
    "TE with a non-breaking space": post(b"Transfer-Encoding: \xa0chunked\r\n", END + HIDDEN),
    "TE with a bare CR": post(b"Transfer-Encoding: chunked\rX: y\r\n", END + HIDDEN),
    "TE behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked\r\n", END + HIDDEN),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", END + HIDDEN),
    "TE space before the colon": post(b"Transfer-Encoding : chunked\r\n", END + HIDDEN),
    "TE tab before the colon": post(b"Transfer-Encoding\t: chunked\r\n", END + HIDDEN),
    "TE with a space in its name": post(b"Transfer Encoding: chunked\r\n", END + HIDDEN),
    "TE behind a space": post(b" Transfer-Encoding: chunked\r\n", END + HIDDEN),
    "TE from HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\n" + TE + b"\r\n" + END + HIDDEN,
    "TE from HTTP/1.0 with CL": b"POST / HTTP/1.0\r\nHost: a\r\n" + TE + CL % 5 + b"\r\n" + END + HIDDEN,
    "CL doubled": post(CL % 5 + CL % 5, b"hello" + HIDDEN),
    "CL differing": post(CL % 5 + CL % 0, b"hello" + HIDDEN),
    "CL as a list": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "CL negative": post(b"Content-Length: -1\r\n", HIDDEN),
    "CL minus zero": post(b"Content-Length: -0\r\n", HIDDEN),
    "CL plus": post(b"Content-Length: +5\r\n", b"hello"),
    "CL hex": post(b"Content-Length: 0x5\r\n", b"hello"),
    "CL with an underscore": post(b"Content-Length: 1_0\r\n", b"hellohello"),
    "CL as a fraction": post(b"Content-Length: 5.0\r\n", b"hello"),
    "CL in other digits": post("Content-Length: ٥\r\n".encode(), b"hello"),
    "CL empty": post(b"Content-Length:\r\n", HIDDEN),
    "CL beyond 64 bits": post(b"Content-Length: 18446744073709551621\r\n", b"hello" + HIDDEN),
    "CL of a hundred digits": post(b"Content-Length: " + b"1" * 100 + b"\r\n", b"hello"),
    "CL with a space inside": post(b"Content-Length: 5 5\r\n", b"hello"),
    "CL with a vertical tab": post(b"Content-Length: \x0b5\r\n", b"hello"),
    "CL space before the colon": post(b"Content-Length : 5\r\n", b"hello"),
    "CL folded": post(b"Content-Length:\r\n 5\r\n", b"hello"),
    "CL behind a bare CR": post(b"X: y\rContent-Length: 5\r\n", b"hello"),
}


@cases(FRAMING)
async def test_a_framing_that_can_be_read_in_two_ways_is_refused(gate: Gate, wire: bytes) -> None:
    await gate.refused(wire, status=(400, 501))


CHUNKS = {
    "size with 0x": b"0x5\r\nhello\r\n",
    "size with a plus": b"+5\r\nhello\r\n",
    "size with a minus": b"-5\r\nhello\r\n",
    "size with an underscore": b"0_5\r\nhello\r\n",
    "size behind a space": b" 5\r\nhello\r\n",
    "size before a space": b"5 \r\nhello\r\n",
    "size before a space and an extension": b"5 ;x\r\nhello\r\n",
    "extension behind a space": b"5; x\r\nhello\r\n",
    "extension without a name": b"5;\r\nhello\r\n",
    "extension with an open quote": b'5;x="y\r\nhello\r\n',
    "size before a tab": b"5\t\r\nhello\r\n",
    "size empty": b"\r\nhello\r\n",
    "size only an extension": b";x=y\r\nhello\r\n",
    "size not hexadecimal": b"g\r\nhello\r\n",
    "size quoted": b'"5"\r\nhello\r\n',
    "size of 64 bits": b"10000000000000005\r\nhello\r\n",
    "size with the sign bit": b"8000000000000005\r\nhello\r\n",
    "size of all ones": b"ffffffffffffffff\r\nhello\r\n",
    "size with zeros without end": b"0" * 5000 + b"5\r\nhello\r\n",
    "size with a hundred zeros": b"0" * 100 + b"5\r\nhello\r\n",
    "size line ended by LF": b"5\nhello\r\n",
    "size line ended by CR": b"5\rhello\r\n",
    "size line with CR CR LF": b"5\r\r\nhello\r\n",
    "size with a NUL": b"5\0\r\nhello\r\n",
    "data too short": b"6\r\nhello\r\n0\r\n",
    "data too long": b"4\r\nhello\r\n",
    "data without CRLF": b"5\r\nhello0\r\n\r\n",
    "data ended by LF": b"5\r\nhello\n",
    "data ended by CR": b"5\r\nhello\r0\r\n\r\n",
    "data ended by two other bytes": b"5\r\nhelloXX",
    "extension with LF": b"5;a\nb\r\nhello\r\n",
    "extension ended by LF": b"5;a\nhello\r\n",
    "extension with CR": b"5;a\rb\r\nhello\r\n",
    "extension with a NUL": b"5;a\0b\r\nhello\r\n",
    "extension of a hundred kilobytes": b"5;" + b"a" * 100_000 + b"\r\nhello\r\n",
    "extensions without end": (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 400,
    "last chunk ended by LF": b"5\r\nhello\r\n0\n\n",
    "trailers ended by LF": b"5\r\nhello\r\n0\r\nX: y\n\n",
    "trailer with LF": b"5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
    "trailer with CR": b"5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n",
    "trailer with a NUL": b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "trailer folded": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer Content-Length": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "trailer Transfer-Encoding": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer Host": b"5\r\nhello\r\n0\r\nHost: b\r\n\r\n",
    "trailer Authorization": b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n",
    "trailer X-Forwarded-For": b"5\r\nhello\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
    "trailer Connection": b"5\r\nhello\r\n0\r\nConnection: keep-alive\r\n\r\n",
    "trailers without end": b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "trailer line without end": b"5\r\nhello\r\n0\r\nX: " + b"y" * 100_000,
}


@cases(CHUNKS)
async def test_a_bad_chunk_ends_the_request(gate: Gate, wire: bytes) -> None:
    """The head was in order, so the backend may have seen it; but never a whole body, and nothing behind it."""
    client = await gate.say(post(TE, wire + END + HIDDEN))
    await gate.refusal(client, (400, 413, 431))
    for x in await gate.reached():
        await x.gone()
        assert x.target == b"/"
        assert not x.message.complete


SYNTAX = {
    "bare LF behind the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF behind a field": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare LF as the empty line": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "LF CR": b"GET / HTTP/1.1\n\rHost: a\n\r\n\r",
    "bare LF before the request": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare CR behind the request line": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "bare CR in a field": get(b"X: y\rz\r\n"),
    "bare CR at a field's end": get(b"X: y\r\r\n"),
    "bare CR as a field": get(b"\r\r\n"),
    "bare CR in a name": get(b"X\r: y\r\n"),
    "CR CR LF as the empty line": b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
    "two empty lines before the request": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "obs-fold with a space": get(b"X: y\r\n z\r\n"),
    "obs-fold with a tab": get(b"X: y\r\n\tz\r\n"),
    "obs-fold of nothing": get(b"X: y\r\n \r\n"),
    "obs-fold behind the request line": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "NUL in a value": get(b"X: a\0b\r\n"),
    "NUL in a name": get(b"X\0: y\r\n"),
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the method": b"G\0ET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "DEL in a value": get(b"X: a\x7fb\r\n"),
    "bell in a value": get(b"X: a\x07b\r\n"),
    "space before a colon": get(b"X : y\r\n"),
    "tab before a colon": get(b"X\t: y\r\n"),
    "space in a name": get(b"X Y: z\r\n"),
    "name empty": get(b": y\r\n"),
    "no colon": get(b"X\r\n"),
    "name with a parenthesis": get(b"X(y): z\r\n"),
    "name not ASCII": get("Ü: y\r\n".encode()),
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space behind the request line": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space before the request line": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "form feed in the request line": b"GET\x0c/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "target empty": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a fragment": b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "target not ASCII": "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "target relative": b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "target absolute without a host": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "target absolute with userinfo": b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "target absolute with a bad port": b"GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with something behind it": b"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method with a colon": b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 with fields": b"GET /\r\nHost: a\r\n\r\n",
    "lower-case version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "another protocol": b"GET / FTP/1.1\r\nHost: a\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "PROXY v1 where none is expected": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get(b""),
    "binary": bytes(range(256)),
}


@cases(SYNTAX)
async def test_what_is_not_http_is_refused(gate: Gate, wire: bytes) -> None:
    await gate.refused(wire + HIDDEN, status=400)


VERSIONS = {
    "HTTP/0.9 spelt out": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/1.9": b"GET / HTTP/1.9\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/3": b"GET / HTTP/3\r\nHost: a\r\n\r\n",
    "HTTP/01.1": b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "HTTP/1": b"GET / HTTP/1\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@cases(VERSIONS)
async def test_a_version_other_than_1_0_and_1_1_is_refused(gate: Gate, wire: bytes) -> None:
    await gate.refused(wire + HIDDEN, status=(400, 505))


HOSTS = {
    "missing": b"GET / HTTP/1.1\r\n\r\n",
    "doubled": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "differing": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "doubled in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "empty": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "with userinfo": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "with a scheme": b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
    "with a question mark": b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
    "with a fragment": b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
    "with a backslash": b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
    "with a bad port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "with a signed port": b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
    "with two ports": b"GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n",
    "with an escape": b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n",
    "with an open bracket": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "with a zone": b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n",
    "of other letters": "GET / HTTP/1.1\r\nHost: bücher.example\r\n\r\n".encode(),
    "with a NUL": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "missing beside an absolute target": b"GET http://a/ HTTP/1.1\r\n\r\n",
    "malformed beside an absolute target": b"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n",
}


@cases(HOSTS)
async def test_a_host_that_is_missing_doubled_or_malformed_is_refused(gate: Gate, wire: bytes) -> None:
    await gate.refused(wire, status=400)


# What is allowed arrives once, and alone.


async def test_a_body_is_never_a_request(gate: Gate) -> None:
    await gate.ask(post(CL % len(HIDDEN), HIDDEN))
    [x] = await gate.reached()
    assert x.message.body == HIDDEN


async def test_a_chunked_body_is_never_a_request(gate: Gate) -> None:
    await gate.ask(post(TE, b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + END))
    [x] = await gate.reached()
    assert x.message.body == HIDDEN


async def test_blanks_around_a_value_are_not_part_of_it(gate: Gate) -> None:
    await gate.ask(post(b"Transfer-Encoding:\t chunked \r\nX:   y  \r\n", b"2\r\nok\r\n" + END))
    [x] = await gate.reached()
    assert x.message.body == b"ok"
    assert x.get(b"x") == b"y"


async def test_leading_zeros_of_a_length_do_not_go_on(gate: Gate) -> None:
    """1*DIGIT allows them; the number is written anew, so no other reader takes it for octal."""
    await gate.ask(post(b"Content-Length: 0005\r\n", b"hello"))
    [x] = await gate.reached()
    assert x.get(b"content-length") == b"5"


async def test_names_with_underscores_are_dropped(gate: Gate) -> None:
    """Many upstreams read `_` as `-`: Transfer_Encoding and X_Forwarded_For would speak for the gateway."""
    await gate.ask(post(b"Transfer_Encoding: chunked\r\nX_Forwarded_For: 10.0.0.1\r\nContent-Length: 2\r\n", b"ok"))
    [x] = await gate.reached()
    assert x.message.body == b"ok"
    assert not [name for name, _ in x.message.fields if b"_" in name]


async def test_h2c_with_a_length_is_no_upgrade(gate: Gate) -> None:
    """FACTS: llhttp reports such a request complete without its body, and reads the body as the next request."""
    client = await gate.say(
        post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" + CL % len(HIDDEN), HIDDEN)
    )
    assert (await client.response()).status == 200
    [x] = await gate.reached()
    assert x.message.body == HIDDEN
    assert x.get(b"upgrade") is None


async def test_connection_cannot_strip_what_the_gateway_says(gate: Gate) -> None:
    await gate.ask(
        get(
            b"Connection: close, X-Forwarded-For, X-Forwarded-Proto, Forwarded, Host, X-Request-Id\r\n"
            b"Connection: Traceparent, X-Own\r\nX-Own: 1\r\n"
        )
    )
    [x] = await gate.reached()
    assert x.get(b"x-forwarded-for") == b"127.0.0.1"
    assert x.get(b"x-forwarded-proto") == b"http"
    assert x.get(b"forwarded")
    assert x.get(b"x-request-id")
    assert x.get(b"traceparent")
    assert x.get(b"x-own") is None


async def test_connection_cannot_strip_the_framing(gate: Gate) -> None:
    client = await gate.say(post(b"Connection: Content-Length\r\n" + CL % len(HIDDEN), HIDDEN))
    assert (await client.response()).status in (200, 400)
    assert [x.message.body for x in await gate.reached() if x.target != b"/"] == []
    for x in gate.backend.requests:
        assert x.message.body == HIDDEN
