"""The guard's table, address by address. How it stands between a URL and a socket: tests/conformance/test_guard.py."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import AddressRefused
from gatepost.net.guard import Guard

GUARD = Guard()

REFUSED = {
    "this network": ["0.0.0.0", "0.1.2.3"],
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "carrier-grade NAT": ["100.64.0.0", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1", "fe80::1%1"],
    "cloud metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
    "IETF protocol assignments": ["192.0.0.1", "2001:1::1", "2001:1ff::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "6to4 relays": ["192.88.99.1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.254"],
    "broadcast": ["255.255.255.255"],
    "unspecified": ["::"],
    "unique local": ["fc00::1", "fdff::1"],
    "site-local": ["fec0::1", "feff::1"],
    "discard-only": ["100::1"],
    "segment routing": ["5f00::1"],
    "ORCHID": ["2001:10::1"],
    "not allocated": ["4000::1", "1::1", "200::1", "fe00::1", "100:0:0:1::1"],
    "IPv4-compatible": ["::10.0.0.1", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"],
    "local NAT64": ["64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8"],
    "6to4,": ["2002:808:808::1", "2002:7f00:1::"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
}


@pytest.mark.parametrize(("why", "ip"), [(why, ip) for why, ips in REFUSED.items() for ip in ips])
def test_refused(why: str, ip: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        GUARD.check(ip)


@pytest.mark.parametrize(
    "ip",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.169.0.0"),
        *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("2606:4700:4700::1111", "2a00:1450::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "3ffe::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00::5efe:8.8.8.8"),
    ],
)
def test_public_addresses_pass(ip: str) -> None:
    GUARD.check(ip)


INNER = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1"]


@pytest.mark.parametrize("inner", INNER)
def test_ipv6_that_embeds_a_refused_ipv4_is_refused(inner: str) -> None:
    value = int(IPv4Address(inner))
    forms = {
        "mapped": 0xFFFF << 32 | value,
        "compatible": value,
        "translated": 0xFFFF << 48 | value,
        "NAT64": 0x64FF9B << 96 | value,
        "local NAT64": 0x64FF9B0001 << 80 | value,
        "6to4": 0x2002 << 112 | value << 80 | 1,
        "Teredo server": 0x20010000 << 96 | value << 64,
        "Teredo client": 0x20010000 << 96 | 0x08080808 << 64 | value ^ 0xFFFFFFFF,
        "ISATAP": 0x2A00 << 112 | 0x5EFE << 32 | value,
        "ISATAP, universal": 0x2A00 << 112 | 0x02005EFE << 32 | value,
    }
    for embedded in forms.values():
        with pytest.raises(AddressRefused):
            GUARD.check(str(IPv6Address(embedded)))


def test_the_reason_names_the_form_and_what_it_hides() -> None:
    with pytest.raises(AddressRefused, match=r"64:ff9b::a00:1 is not a public address \(NAT64 of 10\.0\.0\.1: private"):
        GUARD.check("64:ff9b::a00:1")


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "[::1]", "1.1.1.1 "]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused, match="is not an IP address"):
        GUARD.check(text)


def test_an_operator_may_allow_networks() -> None:
    guard = Guard(["10.1.0.0/16", "fd00::/16"])
    for ip in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"):
        guard.check(ip)
    for ip in ("10.2.0.1", "127.0.0.1", "fd01::1", "::1"):
        with pytest.raises(AddressRefused):
            guard.check(ip)
    with pytest.raises(ValueError, match="is not a network"):
        Guard(["private"])


@given(st.ip_addresses())
def test_the_guard_is_never_laxer_than_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    try:
        GUARD.check(str(address))
    except AddressRefused:
        return
    inner = getattr(address, "ipv4_mapped", None) or address
    assert inner.is_global
    assert not inner.is_multicast
