import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import ProtocolError
from gatepost.net.proxy_protocol import LONGEST, SIGNATURE, ProxyHeader, parse


def header(
    command: int = 0x21, family: int = 0x11, body: bytes = bytes([192, 0, 2, 7, 10, 0, 0, 1, 0, 80, 0, 81])
) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


V6 = bytes.fromhex("20010db8000000000000000000000007") + bytes(20)
MAPPED = bytes.fromhex("00000000000000000000ffffc0000207") + bytes(20)


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (header(), "192.0.2.7"),
        (header(family=0x21, body=V6), "2001:db8::7"),
        (header(family=0x21, body=MAPPED), "192.0.2.7"),
        (header(family=0x31, body=bytes(216)), ""),
        (header(command=0x20), None),
        (header(command=0x20, family=0x00, body=b""), None),
        (header(command=0x20, family=0xFF, body=b"anything"), None),
        (header(family=0x00, body=b"whatever"), None),
        (header(body=bytes([192, 0, 2, 7]) + bytes(8) + b"\x03\x00\x04\x01\x02\x03\x04"), "192.0.2.7"),
    ],
)
def test_a_header_names_the_source(data: bytes, source: str | None) -> None:
    assert parse(data) == ProxyHeader(len(data), source)
    assert parse(bytearray(data) + b"GET / HTTP/1.1\r\n") == ProxyHeader(len(data), source)


def test_a_header_may_come_byte_by_byte() -> None:
    data = header()
    for end in range(len(data)):
        assert parse(data[:end]) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not begin"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n", "does not begin"),
        (b"\r\n\r\n\x00\r\nQUIX", "does not begin"),
        (b"\r\n\r\nG", "does not begin"),
        (header(command=0x11), "version 1"),
        (header(command=0x2F), "command 15"),
        (header(command=0x22), "command 2"),
        (header(family=0x12), "another protocol"),
        (header(family=0x10), "another protocol"),
        (header(family=0x01), "another protocol"),
        (header(family=0x41), "another protocol"),
        (header(body=bytes(11)), "too short"),
        (header(family=0x21, body=bytes(35)), "too short"),
        (header(family=0x31, body=bytes(215)), "too short"),
        (SIGNATURE + b"\x21\x11\xff\xff", "longer"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse(data)


def test_the_length_is_bounded_before_the_bytes_are_waited_for() -> None:
    body = bytes(LONGEST - 16)
    assert parse(header(body=body)) == ProxyHeader(LONGEST, "0.0.0.0")
    with pytest.raises(ProtocolError):
        parse(header(body=body + b"x")[:16])


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_an_answer_or_our_own_error(data: bytes, signed: bool) -> None:
    data = SIGNATURE + data if signed else data
    try:
        found = parse(data)
    except ProtocolError:
        return
    assert found is None or found.consumed <= len(data)
