"""Connecting: resolve, check, and connect to exactly what was checked.

A name can change its answer between a check and a connection (DNS rebinding), so there is one look-up: its addresses
go through the guard, and the socket is opened to one of those, as a number. TLS verifies the name all the same.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from gatepost.errors import AddressRefused, Problem, UpstreamError
from gatepost.net.guard import Guard
from gatepost.net.resolve import Address, Resolver

P = TypeVar("P", bound=asyncio.BaseProtocol)

_TRIED: Final = 6  # addresses of one name; a name with a hundred dead ones must not take all the time there is

_TIMED_OUT: Final = "timed out"


async def dial(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    resolver: Resolver,
    guard: Guard | None = None,
    timeout: float,
) -> tuple[asyncio.Transport, P]:
    """A connection to `host` (a name or an address, without brackets), its TLS handshake done where `tls` is given.

    `server_name` is what SNI says and the certificate is checked for; `host` otherwise. The addresses are tried one
    after the other, families in turn (RFC 8305 §4), each with an equal share of what is left of `timeout` seconds,
    which bound everything, look-up included. With a guard, addresses that it refuses are left out.

    Raises AddressRefused when none is left, and UpstreamError: 502 `upstream-unresolved`, `upstream-unreachable`,
    `upstream-tls`, 504 `upstream-connect-timeout`.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    addresses = resolver.cached(host, port)
    if addresses is None:
        try:
            async with asyncio.timeout_at(until):
                addresses = await resolver.resolve(host, port)
        except TimeoutError:
            raise _too_slow(f"the name {host} was not resolved within {timeout:g} s") from None
    if guard is not None:
        addresses = permitted(guard, host, addresses)
    addresses = _in_turn(addresses)[:_TRIED]
    reasons: dict[str, None] = {}
    for at, address in enumerate(addresses):
        share = (until - loop.time()) / (len(addresses) - at)
        try:
            async with asyncio.timeout(share):
                return await loop.create_connection(
                    protocol_factory,
                    address.ip,  # a number: nothing is looked up again
                    address.port,
                    family=address.family,
                    ssl=tls,
                    server_hostname=(server_name or host) if tls is not None else None,
                )
        except TimeoutError:
            reasons[_TIMED_OUT] = None
        except ssl.SSLCertVerificationError as error:
            raise _no_tls(f"{where}: its certificate was not accepted ({error.verify_message})") from None
        except ssl.SSLError as error:
            raise _no_tls(f"{where}: the TLS handshake failed ({_tls_reason(error)})") from None
        except OSError as error:
            reasons[_reason(error)] = None
    if list(reasons) == [_TIMED_OUT]:
        raise _too_slow(f"{where} did not accept a connection within {timeout:g} s")
    raise UpstreamError(
        Problem(502, "upstream-unreachable", "The upstream cannot be reached", f"{where}: {', '.join(reasons)}"),
        sent=False,
    )


async def dial_unix(protocol_factory: Callable[[], P], path: str, *, timeout: float) -> tuple[asyncio.Transport, P]:
    """A connection to a unix socket, for the gateway's own targets only. Raises UpstreamError as `dial` does."""
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.get_running_loop().create_unix_connection(protocol_factory, path)
    except TimeoutError:
        raise _too_slow(f"unix:{path} did not accept a connection within {timeout:g} s") from None
    except OSError as error:
        raise UpstreamError(
            Problem(502, "upstream-unreachable", "The upstream cannot be reached", f"unix:{path}: {_reason(error)}"),
            sent=False,
        ) from None


def permitted(guard: Guard, host: str, addresses: Sequence[Address]) -> list[Address]:
    """Those that the guard lets through. Raises AddressRefused where there were some and it refuses all."""
    allowed: list[Address] = []
    refusal: AddressRefused | None = None
    for address in addresses:
        try:
            guard.check(address.ip)
        except AddressRefused as error:
            refusal = refusal or error
        else:
            allowed.append(address)
    if refusal is not None and not allowed:
        raise AddressRefused(str(refusal) if host == addresses[0].ip else f"{host}: {refusal}")
    return allowed


def _in_turn(addresses: Sequence[Address]) -> list[Address]:
    """The families in turn, beginning with that of the first address."""
    first = [a for a in addresses if a.family == addresses[0].family]
    other = [a for a in addresses if a.family != addresses[0].family]
    out: list[Address] = []
    for at in range(max(len(first), len(other))):
        out += first[at : at + 1]
        out += other[at : at + 1]
    return out


def _reason(error: OSError) -> str:
    """What the system calls it: libraries put addresses and their own words into the message."""
    if error.errno:
        return os.strerror(error.errno).lower()
    # What both loops raise, without a word, for a peer that closes in the middle of a handshake.
    return str(error) or "it closed the connection during the TLS handshake"


def _tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _too_slow(detail: str) -> UpstreamError:
    return UpstreamError(
        Problem(504, "upstream-connect-timeout", "The upstream did not answer in time", detail), sent=False
    )


def _no_tls(detail: str) -> UpstreamError:
    return UpstreamError(Problem(502, "upstream-tls", "No secure connection to the upstream", detail), sent=False)
