"""Names to addresses, kept for as long as their records say.

One query serves everyone who waits for the same name. What was found is kept for the record's TTL, that a name does
not exist for a few seconds. When the name servers do not answer, an answer that has run out is used for a while
longer: most outages of DNS are shorter than those of what it names. No answer is ever a promise about the next one:
who checks an address must connect to that address (`dial.py`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple, TypeAlias

from gatepost.clock import Clock, SystemClock
from gatepost.errors import GatepostError, Problem, UpstreamError
from gatepost.net.addresses import unmapped

SHORTEST: Final = 1.0  # seconds that an answer is kept at least: a TTL of 0 would cost a query for every connection
LONGEST: Final = 300.0  # and at most: a wrong TTL must not outlive a change by a day
NEGATIVE: Final = 5.0  # how long a name that does not exist is not asked for again
STALE: Final = 300.0  # how long an answer that ran out may be used while there is no new one
RETRY: Final = 1.0  # how long a failed query is not repeated
_KEPT: Final = 10_000  # names


class Address(NamedTuple):
    """An address to connect to. `ip` is text in its one spelling."""

    ip: str
    port: int
    family: socket.AddressFamily


class Answer(NamedTuple):
    """Addresses in the order in which to try them, and the smallest TTL of their records, in seconds."""

    ips: tuple[str, ...]
    ttl: float


class NameUnknown(GatepostError):
    """The name does not exist, or has no address: an answer, not a failure."""


class LookupFailed(GatepostError):
    """The name servers did not answer, or not with sense. The name may well exist."""


# A future, not a coroutine: it runs to its end, and into the cache, though everyone who waited has left.
Lookup: TypeAlias = Callable[[str], "asyncio.Future[Answer]"]


class Resolver:
    """The names of one event loop. Owns its cache; `lookup` is `cares.CaresLookup` outside of tests."""

    __slots__ = ("_clock", "_entries", "_lookup", "_pending")

    def __init__(self, lookup: Lookup, clock: Clock | None = None) -> None:
        self._lookup = lookup
        self._clock = clock or SystemClock()
        self._entries: dict[str, _Entry] = {}
        self._pending: dict[str, asyncio.Future[_Entry]] = {}

    def cached(self, host: str, port: int) -> list[Address] | None:
        """What is known without waiting: an address itself, or a name that was looked up lately. None otherwise."""
        entry = self._entries.get(host)
        if entry is None:
            literal = _literal(host)
            if literal is None:
                return None
            entry = self._keep(host, _Entry((literal,), float("inf")))
        elif entry.expires <= self._clock.monotonic():
            return None
        if entry.error:
            return None
        return [Address(ip, port, family) for ip, family in entry.ips]

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a name, at least one. Waits for as long as the lookup does: bring your own time-out.

        Raises UpstreamError (502 `upstream-unresolved`).
        """
        known = self.cached(host, port)
        if known is not None:
            return known
        entry = self._entries.get(host)
        if entry is None or entry.expires <= self._clock.monotonic():
            # Shielded: one who gives up must not take the answer from the others.
            entry = await asyncio.shield(self._pending.get(host) or self._ask(host))
        if entry.error:
            raise UpstreamError(
                Problem(502, "upstream-unresolved", "The upstream's name cannot be resolved", f"{host}: {entry.error}"),
                sent=False,
            )
        return [Address(ip, port, family) for ip, family in entry.ips]

    def _ask(self, host: str) -> asyncio.Future[_Entry]:
        lookup = self._lookup(host)
        answered: asyncio.Future[_Entry] = lookup.get_loop().create_future()
        self._pending[host] = answered

        def done(lookup: asyncio.Future[Answer]) -> None:
            del self._pending[host]
            if answered.done():
                return  # the loop is going down
            try:
                answered.set_result(self._entry(host, lookup))
            except Exception as error:  # a bug of the lookup, for those who wait
                answered.set_exception(error)

        lookup.add_done_callback(done)
        return answered

    def _entry(self, host: str, lookup: asyncio.Future[Answer]) -> _Entry:
        now = self._clock.monotonic()
        try:
            answer = lookup.result()
        except NameUnknown as error:
            return self._keep(host, _Entry((), now + NEGATIVE, error=str(error)))
        except LookupFailed as error:
            old = self._entries.get(host)
            if old is not None and old.ips and now < old.stale_until:
                return self._keep(host, _Entry(old.ips, now + RETRY, stale_until=old.stale_until))
            return self._keep(host, _Entry((), now + RETRY, error=str(error)))
        ips = tuple((ip, socket.AF_INET6 if ":" in ip else socket.AF_INET) for ip in answer.ips)
        return self._keep(host, _Entry(ips, now + min(max(answer.ttl, SHORTEST), LONGEST)))

    def _keep(self, host: str, entry: _Entry) -> _Entry:
        self._entries.pop(host, None)
        if len(self._entries) >= _KEPT:
            del self._entries[next(iter(self._entries))]  # the one that was asked for longest ago
        self._entries[host] = entry
        return entry


class _Entry:
    __slots__ = ("error", "expires", "ips", "stale_until")

    def __init__(
        self,
        ips: tuple[tuple[str, socket.AddressFamily], ...],
        expires: float,
        *,
        stale_until: float | None = None,
        error: str = "",
    ) -> None:
        self.ips = ips
        self.expires = expires
        self.stale_until = expires + STALE if stale_until is None else stale_until
        self.error = error


def _literal(host: str) -> tuple[str, socket.AddressFamily] | None:
    try:
        address = unmapped(ip_address(host))
    except ValueError:
        return None
    return str(address), socket.AF_INET if address.version == 4 else socket.AF_INET6
