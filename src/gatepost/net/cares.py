"""Lookups through c-ares: /etc/hosts, the name servers and search list of resolv.conf, A and AAAA at once, in the order
of RFC 6724, with TTLs. docs/decisions/0030-dns-through-c-ares.md says why c-ares."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import pycares

from gatepost.net.resolve import LONGEST, Answer, LookupFailed, NameUnknown

_UNKNOWN: Final = {
    pycares.errno.ARES_ENOTFOUND: "no such name",
    pycares.errno.ARES_ENODATA: "the name has no address",
    pycares.errno.ARES_ENONAME: "no such name",
    pycares.errno.ARES_EBADNAME: "this is not a name",
}


class CaresLookup:
    """`Resolver`'s lookup, for the running loop. c-ares waits in a thread of its own, which wakes only for answers.

    `servers` (`"127.0.0.1:53"`) replaces those of resolv.conf. A query is sent `tries` times, waiting `timeout` seconds
    for the first answer and longer each time.
    """

    __slots__ = ("_channel", "_closed", "_loop")

    def __init__(self, servers: Sequence[str] = (), *, timeout: float = 2.0, tries: int = 3) -> None:
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._channel = pycares.Channel(servers=list(servers) or None, timeout=timeout, tries=tries)

    def __call__(self, host: str) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = self._loop.create_future()

        def answered(result: pycares.AddrInfoResult | None, error: int | None) -> None:  # in c-ares' thread
            try:
                self._loop.call_soon_threadsafe(self._settle, future, result, error)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        try:
            self._channel.getaddrinfo(host, None, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM, callback=answered)
        except ValueError:  # UnicodeError is one
            future.set_exception(NameUnknown("this is not a name"))
        except RuntimeError:
            future.set_exception(LookupFailed("the resolver is closed"))
        return future

    def close(self) -> None:
        """End what is under way: it fails with LookupFailed."""
        self._closed = True
        self._channel.close()

    def _settle(self, future: asyncio.Future[Answer], result: Any, error: int | None) -> None:
        if future.done():
            return
        if error is not None:
            if error in _UNKNOWN:
                future.set_exception(NameUnknown(_UNKNOWN[error]))
            else:
                future.set_exception(
                    LookupFailed(f"no answer from the name servers ({_text(pycares.errno.strerror(error))})")
                )
            return
        ips = dict.fromkeys(_text(node.addr[0]) for node in result.nodes)
        if not ips:
            future.set_exception(NameUnknown("the name has no address"))
            return
        # An alias that moves takes its addresses with it, so its TTL counts too. /etc/hosts has none and gives 0.
        ttl = min(record.ttl for record in (*result.nodes, *result.cnames))
        if ttl > LONGEST and not self._closed:
            # c-ares would answer with it for an hour, and pycares has no setting for that: `Resolver` is the one who
            # keeps answers. To begin anew is what empties c-ares' memory (in its thread, 0.2 ms); it reads
            # resolv.conf again, too.
            self._channel.reinit()
        future.set_result(Answer(tuple(ips), ttl))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
