"""A name server for tests: a few records, UDP on a free port of 127.0.0.1, every answer chosen by the test.

Only what c-ares asks: one question a message, A and AAAA (RFC 1035 §4.1).
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TypeAlias, cast

_A, _CNAME, _AAAA, _IN = 1, 5, 28, 1
_NO_ERROR, _SERVER_FAILURE, _NO_SUCH_NAME = 0, 2, 3

# Addresses; "" for an answer that never comes; "failure" for SERVFAIL.
Reply: TypeAlias = Sequence[str] | str


class NameServer(asyncio.DatagramProtocol):
    """`server.say("a.example", ["192.0.2.1"], ["10.0.0.1"])` answers the first question of each type with the first
    list, the second with the second, and so on with the last. Unknown names do not exist."""

    def __init__(self) -> None:
        self.ttl = 0
        self.asked: Counter[str] = Counter()  # questions for A, by name
        self._replies: dict[str, tuple[Reply, ...]] = {}
        self._aliases: dict[str, str] = {}
        self._turns: Counter[tuple[str, int]] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def say(self, name: str, *replies: Reply) -> None:
        self._replies[name] = replies

    def alias(self, name: str, other: str) -> None:
        self._aliases[name] = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is not a subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._reply(data)
        if reply and self._transport is not None:
            self._transport.sendto(reply, addr)

    def _reply(self, data: bytes) -> bytes:
        name, at = _name(data, 12)
        kind, _ = struct.unpack_from("!HH", data, at)
        question = data[12 : at + 4]
        self.asked[name] += kind == _A
        alias = self._aliases.get(name)
        replies = self._replies.get(alias or name)
        if replies is None:
            return _message(data[:2], _NO_SUCH_NAME, question, [])
        turn = self._turns[name, kind]
        self._turns[name, kind] += 1
        reply = replies[min(turn, len(replies) - 1)]
        if reply == "":
            return b""
        if isinstance(reply, str):
            return _message(data[:2], _SERVER_FAILURE, question, [])
        records = [self._record(b"\xc0\x0c", _CNAME, _encode(alias))] if alias else []
        owner = _encode(alias) if alias else b"\xc0\x0c"  # a pointer to the question's name
        fitting = [address for address in map(ip_address, reply) if (kind == _A) == (address.version == 4)]
        records += [self._record(owner, kind, address.packed) for address in fitting]
        return _message(data[:2], _NO_ERROR, question, records)

    def _record(self, owner: bytes, kind: int, value: bytes) -> bytes:
        return owner + struct.pack("!HHIH", kind, _IN, self.ttl, len(value)) + value


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()


def _message(identifier: bytes, code: int, question: bytes, records: list[bytes]) -> bytes:
    flags = 0x8180 | code  # a response, recursion desired and available
    return identifier + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _encode(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\x00"
