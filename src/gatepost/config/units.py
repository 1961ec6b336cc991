"""What one text must look like: a function for each unit of the schema, from text to value.

Each raises ValueError with a reason that says what to write. None of them quotes a URL, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_DURATION: Final = re.compile(r"(0|[1-9][0-9]*|[0-9]+\.[0-9]+)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MAX_SECONDS: Final = 3_650 * 86_400.0  # ten years; loops and stores compute with these
_SIZE: Final = re.compile(r"(0|[1-9][0-9]*)(KiB|MiB|GiB|B)?")
_BYTES: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MAX_BYTES: Final = 2**50
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_URL: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\\\s]+)(?::([0-9]{1,5}))?(/[^\s?#\\]*)?")
_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_OBJECT: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


def duration(text: str) -> float:
    """`500ms 30s 5m 2h 1d` as seconds. `0` needs no unit."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a duration: a number and ms, s, m, h or d, such as 500ms, 30s or 5m")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _MAX_SECONDS:
        raise ValueError("must be a duration of at most ten years (3650d)")
    return seconds


def size(text: str) -> int:
    """`64KiB 1MiB`, or a plain number of bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("must be a size: a number of bytes, or one with KiB, MiB or GiB, such as 64KiB")
    if len(match[1]) > 16 or (count := int(match[1]) * _BYTES[match[2] or ""]) > _MAX_BYTES:
        raise ValueError("must be a size of at most 1048576GiB")
    return count


def name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "is not a name: 1 to 63 letters, digits, `_`, `-` and `.`, of which the first is a letter or digit"
        )
    return text


def network(text: str) -> str:
    """A CIDR: `10.0.0.0/8`, `fd00::/8`, or one address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            whole = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError("must be a network such as 10.0.0.0/8 or fd00::/8") from None
        raise ValueError(f"has bits set behind its prefix; write {whole}") from None
    return text


def address(text: str) -> str:
    """Where to listen: `host:port`, `[v6]:port` or `unix:/path`."""
    if text.startswith("unix:"):
        return _unix(text)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("must be host:port such as 127.0.0.1:8080, [v6]:port or unix:/path")
    _port(port, lowest=0)
    if host.startswith("[") and host.endswith("]"):
        _v6(host[1:-1])
    elif ":" in host:
        raise ValueError("must have its IPv6 address in brackets: [::1]:8080")
    else:
        _host(host)
    return text


def target(text: str) -> str:
    """One address of a service: `http://host[:port][/base]`, `https://…` or `unix:/path`."""
    return _unix(text) if text.startswith("unix:") else url(text)


def url(text: str) -> str:
    """`http://host[:port][/path]` or `https://…`; no user, no query, no fragment."""
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("must not hold a user or password; send them as a header")
    if "?" in text or "#" in text:
        raise ValueError("must not have a query or a fragment")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("must be a URL such as http://127.0.0.1:9000 or https://example.com/base")
    host, port = match[2], match[3]
    if host.startswith("["):
        _v6(host[1:-1])
    else:
        _host(host)
    if port is not None:
        _port(port, lowest=1)
    return text


def endpoint_url(text: str) -> str:
    """A webhook receiver's URL; unlike a target it may have a query."""
    if "#" in text:
        raise ValueError("must not have a fragment")
    base, _, query = text.partition("?")
    if any(character <= " " or character == "\\" for character in query):
        raise ValueError("must have its query percent-encoded")
    url(base)
    return text


def store(text: str) -> str:
    if text.startswith(("postgresql://", "postgres://")):
        return _postgresql(text)
    if not text.startswith("sqlite:///") or len(text) == len("sqlite:///"):
        raise ValueError(
            "must be sqlite:///PATH, such as sqlite:///gatepost.db (one more / for an absolute path), or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return text


def _postgresql(text: str) -> str:
    """What is wrong is told without the text: it may hold a password."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it raises where it is no number
    except ValueError:
        raise ValueError("must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, percent-encoded") from None
    if len(parts.path) < 2:
        raise ValueError("must name its database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return text


def header(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not a header name: letters, digits and - are safe, spaces and colons are not allowed")
    return text


def header_value(text: str) -> str:
    """RFC 9110 §5.5: no CR, LF, NUL or other control character; no space at either end."""
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise ValueError("must not hold line ends or control characters")
    if not text.isascii():
        raise ValueError("must be ASCII")
    if text != text.strip(" \t"):
        raise ValueError("must not begin or end with a space")
    return text


def method(text: str) -> str:
    if not _TOKEN.fullmatch(text) or text != text.upper():
        raise ValueError("must be a method in capitals, such as GET")
    return text


def host_pattern(text: str) -> str:
    """An exact host or `*.example.com`; a port is not part of it."""
    plain = text.removeprefix("*.")
    if "*" in plain:
        raise ValueError("may have a `*` only as its whole first label: *.example.com")
    if plain.startswith("[") and plain.endswith("]"):
        _v6(plain[1:-1])
    else:
        _host(plain)
    return text


def path(text: str) -> str:
    """A path without patterns."""
    _absolute(text)
    return text


def path_pattern(text: str) -> str:
    """`/exact`, `/with/{param}`, `/prefix/*`: a parameter is a whole segment, `*` stands only at the end."""
    _absolute(text)
    names: set[str] = set()
    segments = text[1:].split("/")
    for place, segment in enumerate(segments):
        if segment == "*":
            if place != len(segments) - 1:
                raise ValueError("may have `*` only as its last segment: /prefix/*")
        elif "*" in segment:
            raise ValueError("may have `*` only as a whole last segment: /prefix/*")
        elif "{" in segment or "}" in segment:
            if not _PARAMETER.fullmatch(segment):
                raise ValueError("must have each parameter as a whole segment: /orders/{id}")
            if segment in names:
                raise ValueError(f"has the parameter {segment} twice; give each its own name")
            names.add(segment)
        elif segment.startswith(":"):
            raise ValueError(f"must write a parameter in braces: {{{segment[1:]}}}, not {segment}")
        elif segment in (".", ".."):
            raise ValueError("must not hold `.` or `..` segments: no request has them after normalisation")
        elif not segment and place != len(segments) - 1:
            raise ValueError("must not hold `//`: no request has it after normalisation")
    return text


def error_status(text: str) -> str:
    """Which answers a template is for: one status, a class of them, or all others."""
    if text not in ("4xx", "5xx", "default") and not re.fullmatch(r"[45][0-9][0-9]", text):
        raise ValueError('must be a status such as "404", in quotes, or 4xx, 5xx or default')
    return text


def response_status(text: str) -> str:
    """One status of a response, or a class of them."""
    if not re.fullmatch(r"[1-5]xx|[1-5][0-9][0-9]", text):
        raise ValueError('must be a status such as "404", in quotes, or a class such as 5xx')
    return text


def media_type(text: str) -> str:
    """`type/subtype` in small letters, without parameters."""
    kind, slash, subtype = text.partition("/")
    if not slash or text != text.lower() or not _TOKEN.fullmatch(kind) or not _TOKEN.fullmatch(subtype) or "*" in text:
        raise ValueError("must be a media type in small letters, such as text/html, without parameters")
    return text


def object_name(text: str) -> str:
    """A Python object by its module: `package.module:attribute`."""
    if not _OBJECT.fullmatch(text):
        raise ValueError("must name a Python object by its module: package.module:attribute")
    return text


def period(text: str) -> str:
    """What a quota counts in: `day`, `month`, or a duration of at least a minute."""
    if text not in ("day", "month") and duration(text) < 60:
        raise ValueError("must be day, month or a duration of at least a minute; for less there are rate limits")
    return text


def sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("must be a SHA-256 in 64 hexadecimal digits; `gatepost key new` prints one")
    return text.lower()


def encryption_key(text: str) -> str:
    key_bytes(text)
    return text


def key_bytes(text: str) -> bytes:
    """The 32 bytes of a key for AES-256. Raises ValueError with a reason that holds nothing of it."""
    try:
        key = bytes.fromhex(text) if len(text) == 64 else b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("must hold a key of 32 bytes in base64 or hexadecimal; `openssl rand -base64 32` makes one")
    return key


def readable_file(text: str, folder: Path) -> str:
    """The absolute path of a file that this process can read; `text` counts from `folder`."""
    where = folder / text
    try:
        with where.open("rb"):
            return str(where.absolute())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"cannot read {where}: {reason}") from None


# What the reader applies to a text field by the `unit` of its type. Units that need more than the text (secret,
# file) or that stand as they are written (expression, template) are the reader's own.
OF_TEXT: Final[dict[str, Callable[[str], str]]] = {
    "name": name,
    "network": network,
    "address": address,
    "target": target,
    "endpoint URL": endpoint_url,
    "store": store,
    "header": header,
    "header value": header_value,
    "method": method,
    "host pattern": host_pattern,
    "path": path,
    "path pattern": path_pattern,
    "period": period,
    "object": object_name,
    "error status": error_status,
    "status": response_status,
    "media type": media_type,
}


def _absolute(text: str) -> None:
    if not text.startswith("/"):
        raise ValueError("must begin with /")
    if any(character <= " " or character in "?#\\\x7f" for character in text):
        raise ValueError("must be a path only: no query, fragment, backslash, space or control character")


def _unix(text: str) -> str:
    where = text.removeprefix("unix:")
    if not where.startswith("/") or where.endswith("/"):
        raise ValueError("must name its socket by an absolute path: unix:/run/app.sock")
    if "\0" in where or len(where.encode()) > 107:  # sun_path is 108 bytes with its NUL
        raise ValueError("must name a socket by a path of at most 107 bytes")
    return text


def _port(text: str, lowest: int) -> None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= 65_535):
        raise ValueError(f"must have a port from {lowest} to 65535")


def _host(text: str) -> None:
    """A name or an IPv4 address. `010.0.0.1`, `0x7f.1` and `127.1` are neither: parsers read them differently."""
    if not _HOST.fullmatch(text):
        raise ValueError("has a host that is neither a name nor an address")
    last = text.removesuffix(".").rpartition(".")[2]
    if last.isdigit() or last.lower().startswith("0x"):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise ValueError("has a host that is not an IPv4 address; write four decimal numbers") from None


def _v6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("has a host in brackets that is not an IPv6 address") from None
