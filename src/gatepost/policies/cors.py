"""`cors`: which pages of other origins may read the answers (WHATWG Fetch §3.2).

A preflight is answered here, before anybody asks for a credential: browsers send none with it. Every other request goes
on; its answer, also one that the gateway makes itself, says which origin may read it. CORS protects the readers of
browsers and is no access control: a request from another origin still runs, and its page gets to see nothing of it.

The policy is in charge: what the service says in `Access-Control-*` is taken out.
"""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.cors import CorsPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.http1.messages import FieldList, Fields, RequestHead
from gatepost.policies.base import PolicyContext


def build(use: CorsPolicy, context: PolicyContext) -> Cors:
    return Cors(use)


class Cors(Policy):
    name = "cors"
    phase = Phase.EDGE

    def __init__(self, config: CorsPolicy) -> None:
        self._origins = Origins(config.origins)
        self._methods = frozenset(method.encode() for method in config.methods) | _SAFELISTED_METHODS
        self._any_header = "*" in config.headers
        self._headers = frozenset(name.lower().encode() for name in config.headers) | _SAFELISTED_HEADERS
        self._private_network = config.private_network
        self._allow: Fields = [
            (b"access-control-allow-methods", ", ".join(config.methods).encode()),
            (b"access-control-max-age", b"%d" % config.max_age),
        ]
        self._allow_headers = ", ".join(name for name in config.headers if name != "*").encode()
        self._read: Fields = []  # beside the origin, for those who may read
        if config.credentials:
            self._read.append((b"access-control-allow-credentials", b"true"))
        if config.expose:
            self._read.append((b"access-control-expose-headers", ", ".join(config.expose).encode()))
        self._read_lines = b"".join([b"%b: %b\r\n" % field for field in self._read])
        self._for_all: tuple[Fields, bytes] | None = None
        if self._origins.any:
            self._for_all = [_ANY, *self._read], b"%b: %b\r\n" % _ANY + self._read_lines

    def on_request(self, x: Exchange) -> Response | None:
        head = x.head
        if head.method != b"OPTIONS":
            return None
        origin = head.get(b"origin")
        method = head.get(b"access-control-request-method")
        if origin is None or method is None:
            return None
        wrong = self._wrong(head, origin, method)
        if wrong:
            return problem(x.id, Problem(403, "cors-refused", "The page may not make this request", wrong))
        fields = self._allow
        if self._any_header:
            asked = head.get(b"access-control-request-headers")
            if asked is not None:
                fields = [*fields, (b"access-control-allow-headers", asked)]
        elif self._allow_headers:
            fields = [*fields, (b"access-control-allow-headers", self._allow_headers)]
        if self._private_network and head.get(b"access-control-request-private-network") == b"true":
            fields = [*fields, (b"access-control-allow-private-network", b"true")]
        x.note(self.name, True)
        return Response(204, fields)

    def on_response(self, x: Exchange) -> None:
        fields = x.response_fields
        if x.notes is None or self.name not in x.notes:  # else they are our own, in answer to a preflight
            kept = [field for field in fields if field[0] not in _OURS]
            if len(kept) != len(fields):
                fields = kept
        added, lines = self._for_all or self._for(x.head.get(b"origin"))
        x.response_fields = fields.plus(added, lines) if type(fields) is FieldList else [*fields, *added]

    def _for(self, origin: bytes | None) -> tuple[Fields, bytes]:
        # Which origin asks decides the answer, so a cache must know, also where the answer says nothing (Fetch §3.2.5).
        if origin is None or origin not in self._origins:
            return [_VARY], b"vary: origin\r\n"
        return (
            [(b"access-control-allow-origin", origin), *self._read, _VARY],
            b"access-control-allow-origin: %b\r\n%bvary: origin\r\n" % (origin, self._read_lines),
        )

    def _wrong(self, head: RequestHead, origin: bytes, method: bytes) -> str:
        """What a page may not do that asks by this preflight; empty where it may."""
        if origin not in self._origins:
            return "Its origin is none of `origins`."
        if method not in self._methods:
            return f"The method {_shown(method)} is none of `methods`."
        if not self._any_header:
            for value in head.all(b"access-control-request-headers"):
                for part in value.split(b","):
                    name = part.strip(b" \t").lower()
                    if name and name not in self._headers:
                        return f"The header {_shown(name)} is none of `headers`."
        return ""


class Origins:
    """The origins that may read. `any`: every one."""

    __slots__ = ("_exact", "_patterns", "any")

    def __init__(self, origins: tuple[str, ...]) -> None:
        self.any = "*" in origins
        self._exact = frozenset(origin.encode() for origin in origins if "*" not in origin)
        self._patterns = [_Pattern(origin) for origin in origins if "*" in origin and origin != "*"]

    def __contains__(self, origin: bytes) -> bool:
        return self.any or origin in self._exact or any(pattern.matches(origin) for pattern in self._patterns)


class _Pattern:
    """`https://*.shop.example:*`: every name below, every port."""

    __slots__ = ("_any_port", "_below", "_port", "_scheme")

    def __init__(self, pattern: str) -> None:
        scheme, _, host = pattern.encode().partition(b"://")
        host, _, port = host.partition(b":")
        self._scheme = scheme
        self._below = host
        self._port = port
        self._any_port = port == b"*"

    def matches(self, origin: bytes) -> bool:
        scheme, _, host = origin.partition(b"://")
        host, _, port = host.partition(b":")
        if scheme != self._scheme or not (port == self._port or (self._any_port and (port.isdigit() or not port))):
            return False
        if self._below[:2] != b"*.":
            return host == self._below
        name = host.removesuffix(self._below[1:])
        return len(name) < len(host) and name != b"" and not name.translate(None, _NAME)


def _shown(value: bytes) -> str:
    return value[:60].decode("latin-1")


_ANY: Final = (b"access-control-allow-origin", b"*")
_VARY: Final = (b"vary", b"origin")
_NAME: Final = b"abcdefghijklmnopqrstuvwxyz0123456789-._"
_SAFELISTED_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})  # Fetch §2.2.1: no preflight can forbid them
_SAFELISTED_HEADERS: Final = frozenset({b"accept", b"accept-language", b"content-language", b"range"})
_OURS: Final = frozenset(
    {
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)
