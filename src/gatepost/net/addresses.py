"""IP addresses as text: sets of networks, and one spelling of an address."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_KEPT: Final = 4096  # answers; others choose the addresses, so the memory for them is bounded
_LONGEST: Final = 64  # characters of an address that an answer is kept for


def parse_network(text: str) -> Network:
    """A network as `10.0.0.0/8`, or one address. Raises ValueError with a sentence for its author."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network like 10.0.0.0/8 or fd00::/8, or an address") from None
    raise ValueError(f"{text!r} has bits behind its prefix; write {loose}")


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address in `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), which is how a dual-stack socket names an IPv4 peer."""
    return getattr(address, "ipv4_mapped", None) or address


def plain(text: str) -> str:
    """One spelling of an address: short, lower case, without a zone, IPv4 where it is mapped. Raises ValueError."""
    return str(unmapped(ip_address(text.partition("%")[0])))


class Networks:
    """A set of networks. `contains` costs 0.1 µs for an address that was asked for before, some µs otherwise."""

    __slots__ = ("_answers", "_networks")

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(parse_network(text) for text in networks)
        self._answers: dict[str, bool] = {}

    def contains(self, address: str) -> bool:
        """Whether an address lies in one of the networks; False for what is no address, as a unix socket's peer."""
        answer = self._answers.get(address)
        if answer is None:
            answer = self._search(address)
            if len(address) > _LONGEST:
                return answer
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[address] = answer
        return answer

    def _search(self, text: str) -> bool:
        try:
            address = unmapped(ip_address(text.partition("%")[0]))
        except ValueError:
            return False
        return any(address in network for network in self._networks)
