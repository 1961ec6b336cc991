"""The one parse of outgoing URLs: endpoints of webhooks, targets of services.

Parsers disagree on half of the URLs that attackers write, so nothing else in Gatepost takes a URL apart: what is
checked here is what is resolved, checked by the guard, connected to and named in `Host`. What has more than one
reading is refused, with the spelling that has one.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from gatepost.net.addresses import unmapped

_LONGEST: Final = 2048
_URL: Final = re.compile(r"(?i:(https?))://([^/?#]*)([^#]*)(?:#.*)?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSAFE: Final = re.compile(r"[^!-~]|\\")


class Url(NamedTuple):
    """`host` is a name or an address in its one spelling: lower case, without brackets or a trailing dot, and IPv4
    where IPv6 only maps it.

    `target` is the path with the query, as written, for the request line; a fragment is never sent.
    """

    scheme: str
    host: str
    port: int
    target: bytes
    tls: bool
    host_header: bytes


def parse_url(text: str) -> Url:
    """Raises ValueError with a sentence for its author."""
    if len(text) > _LONGEST:
        raise ValueError(f"the URL is longer than {_LONGEST} characters")
    unsafe = _UNSAFE.search(text)
    if unsafe:
        raise ValueError(_advice(unsafe[0]))
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("the URL does not begin with http:// or https://")
    scheme = match[1].lower()
    tls = scheme == "https"
    default = 443 if tls else 80
    host, port_text = _authority(match[2])
    port = default if port_text is None else _port(port_text)
    name = f"[{host}]" if ":" in host else host
    target = match[3] if match[3].startswith("/") else "/" + match[3]
    header = name if port == default else f"{name}:{port}"
    return Url(scheme, host, port, target.encode(), tls, header.encode())


def _authority(text: str) -> tuple[str, str | None]:
    if "@" in text:
        raise ValueError("the URL holds a user name or an '@' before its host; send credentials in a header")
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError("the URL's IPv6 address does not stand in brackets like [2001:db8::1]")
        return _ipv6(literal), rest[1:] if rest else None
    host, colon, port = text.partition(":")
    return _host(host.lower()), port if colon else None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise ValueError(f"the URL's port is {text!r}, not a number from 1 to 65535")
    return int(text)


def _ipv6(text: str) -> str:
    # A zone (fe80::1%eth0) is refused too: it names an interface of one machine, and has two spellings in URLs.
    try:
        address = IPv6Address(text)
    except ValueError:
        address = None
    if address is None or "%" in text:
        raise ValueError(f"the URL's host [{text}] is not an IPv6 address")
    return str(unmapped(address))  # Python's releases differ in how they write a mapped address


def _host(text: str) -> str:
    host = text.removesuffix(".")  # the same name in DNS, but not in certificates
    if not host:
        raise ValueError("the URL has no host")
    if "%" in host:
        raise ValueError("the URL's host holds an escape; write it plainly")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # No name ends in a number. inet_aton reads 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 all as 127.0.0.1.
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError(
                f"the URL's host {text!r} looks like an IPv4 address; write it as four decimal numbers, like 192.0.2.1"
            ) from None
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"the URL's host {text!r} is not a name of letters, digits, '-' and '.'")
    return host


def _advice(character: str) -> str:
    if not character.isascii():
        return (
            f"the URL holds {character!r}; write a host in its ASCII form (xn--…), and percent-encode the rest as UTF-8"
        )
    if character == "\\":
        return "the URL holds a backslash; write '/'"
    return f"the URL holds a space or control character ({character!r}); percent-encode it"
