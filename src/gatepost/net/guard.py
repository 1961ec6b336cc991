"""The SSRF guard: which addresses a URL that somebody else chose may lead to. docs/ssrf.md says why and what else.

The table stands here in full instead of `ipaddress.is_global`, which has changed with Python's patch releases. It
follows the IANA special-purpose registries (RFC 6890), and is stricter: of IPv6 only allocated global unicast passes,
and forms that embed an IPv4 address are judged by that address as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from gatepost.errors import AddressRefused
from gatepost.net.addresses import parse_network, unmapped

_IPV4: Final = [
    (IPv4Network(network), why)
    for network, why in (
        # Single addresses first: they lie in wider networks, or look public.
        ("169.254.169.254/32", "cloud metadata"),
        ("169.254.170.2/32", "cloud metadata"),  # AWS ECS credentials
        ("100.100.100.200/32", "cloud metadata"),  # Alibaba
        ("192.0.0.192/32", "cloud metadata"),  # Oracle
        ("168.63.129.16/32", "cloud metadata"),  # Azure: a public address that leads to the virtual machine's host
        ("255.255.255.255/32", "broadcast, RFC 919"),
        ("0.0.0.0/8", "this network, RFC 1122"),  # 0.0.0.0 connects to the machine itself
        ("10.0.0.0/8", "private, RFC 1918"),
        ("100.64.0.0/10", "carrier-grade NAT, RFC 6598"),
        ("127.0.0.0/8", "loopback, RFC 1122"),
        ("169.254.0.0/16", "link-local, RFC 3927"),
        ("172.16.0.0/12", "private, RFC 1918"),
        ("192.0.0.0/24", "IETF protocol assignments, RFC 6890"),
        ("192.0.2.0/24", "documentation, RFC 5737"),
        ("192.88.99.0/24", "6to4 relays, RFC 7526"),
        ("192.168.0.0/16", "private, RFC 1918"),
        ("198.18.0.0/15", "benchmarking, RFC 2544"),
        ("198.51.100.0/24", "documentation, RFC 5737"),
        ("203.0.113.0/24", "documentation, RFC 5737"),
        ("224.0.0.0/4", "multicast, RFC 5771"),
        ("240.0.0.0/4", "reserved, RFC 1112"),
    )
]
_IPV6: Final = [
    (IPv6Network(network), why)
    for network, why in (
        ("fd00:ec2::254/128", "cloud metadata"),  # AWS
        ("fd20:ce::254/128", "cloud metadata"),  # Google
        ("::/128", "unspecified, RFC 4291"),
        ("::1/128", "loopback, RFC 4291"),
        ("::/96", "IPv4-compatible, RFC 4291"),
        ("::ffff:0:0:0/96", "IPv4-translated, RFC 2765"),
        ("64:ff9b:1::/48", "local NAT64, RFC 8215"),
        ("100::/64", "discard-only, RFC 6666"),
        ("2001::/32", "Teredo, RFC 4380"),
        ("2001:2::/48", "benchmarking, RFC 5180"),
        ("2001:10::/28", "ORCHID, RFC 4843"),
        ("2001::/23", "IETF protocol assignments, RFC 2928"),
        ("2001:db8::/32", "documentation, RFC 3849"),
        ("2002::/16", "6to4, RFC 3056"),  # its public relays are gone (RFC 7526): what is left may unwrap it inside
        ("3fff::/20", "documentation, RFC 9637"),
        ("5f00::/16", "segment routing, RFC 9602"),
        ("fc00::/7", "unique local, RFC 4193"),
        ("fe80::/10", "link-local, RFC 4291"),
        ("fec0::/10", "site-local, RFC 3879"),
        ("ff00::/8", "multicast, RFC 4291"),
    )
]
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has given to registries
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP: Final = (0x00005EFE, 0x02005EFE)  # RFC 5214 §6.1: the upper half of the interface identifier


class Guard:
    """Refuses addresses that are not of the public Internet, except in `allow_networks` (CIDRs).

    Raises ValueError for a network that is none.
    """

    __slots__ = ("_allowed",)

    def __init__(self, allow_networks: Iterable[str] = ()) -> None:
        self._allowed = tuple(parse_network(text) for text in allow_networks)

    def check(self, ip: str) -> None:
        """Raises AddressRefused, with the network and its purpose, unless `ip` may be connected to (about 10 µs)."""
        try:
            address = unmapped(ip_address(ip))
        except ValueError:
            raise AddressRefused(f"{ip!r} is not an IP address") from None
        why = self._refusal(address)
        if why:
            raise AddressRefused(f"{ip} is not a public address ({why})")

    def _refusal(self, address: IPv4Address | IPv6Address) -> str:
        if any(address in network for network in self._allowed):
            return ""
        if isinstance(address, IPv4Address):
            return next((why for network, why in _IPV4 if address in network), "")
        for network, why in _IPV6:
            if address in network:
                return why
        if address not in _GLOBAL_UNICAST and address not in _NAT64:
            return "not allocated, RFC 4291"
        for form, inner in _embedded(address):
            why = self._refusal(inner)
            if why:
                return f"{form} of {inner}: {why}"
        return ""


def _embedded(address: IPv6Address) -> Iterator[tuple[str, IPv4Address]]:
    """The IPv4 addresses that a router on the way may unwrap from an address which is otherwise global."""
    value = int(address)
    if address in _NAT64:
        yield "NAT64", IPv4Address(value & 0xFFFFFFFF)
    if value >> 32 & 0xFFFFFFFF in _ISATAP:
        yield "ISATAP", IPv4Address(value & 0xFFFFFFFF)
