"""`api_key`: the caller shows a key, and the exchange gets a consumer.

A key is looked up by its SHA-256. That is right for these keys and would be wrong for passwords: 32 random bytes cannot
be guessed offline, so a slow hash buys nothing, and who reads the configuration or the store still has no key. The
look-up leaks no useful time: what is compared is a digest, which a caller cannot steer towards a stored one byte by
byte. Hashing costs 0.5 µs, so there is no table of keys that would hold them in plain text; what a connection remembers
of its own client's last head (`http1.request`), the consumer included, ends with the connection.

The key ends here. It is taken out of the fields, the query and the cookies before anything else sees the request:
services, their logs and the events made of it have no use for the gateway's credentials.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.errors import Problem
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import FieldBlock
from gatepost.policies.base import PolicyContext
from gatepost.policies.cookies import cookie_name, cookie_values, without_cookie
from gatepost.policies.credentials import Credentials

LONGEST: Final = 512  # bytes; what is longer is no key, and not worth hashing


def build(use: ApiKeyPolicy, context: PolicyContext) -> ApiKey:
    return ApiKey(use, context)


def new_key() -> tuple[str, str]:
    """A fresh key, `gp_` and 32 random bytes in base64url, and its SHA-256 in hex for the configuration."""
    key = "gp_" + secrets.token_urlsafe(32)
    return key, sha256(key.encode()).hexdigest()


class ApiKey(Policy):
    """Sets `x.consumer`; 401 without a known key, 403 where its consumer may not use the route."""

    name = "api_key"
    phase = Phase.IDENTIFY

    def __init__(self, config: ApiKeyPolicy, context: PolicyContext) -> None:
        """Raises ValueError where `header` is one that the gateway decides by itself."""
        self._header = config.header.lower().encode()
        if self._header in SPECIAL:
            raise ValueError(f"header: {config.header} has a meaning of its own in HTTP and cannot carry a key")
        self._query = None if config.query is None else config.query.encode() + b"="
        self._cookie = cookie_name(config.cookie)
        self._access = context.access
        self._stored = context.access.stored
        self._route = context.route
        self._credentials = Credentials(context, self.name, "ApiKey")
        where = f"the {config.header} header"
        if config.query is not None:
            where += f" or the query parameter {config.query}"
        if config.cookie is not None:
            where += f" or the cookie {config.cookie}"
        self._missing = Problem(401, "key-missing", "An API key is needed", f"Send it in {where}.")
        self._unknown = Problem(401, "key-unknown", "The API key is not known")
        self._expired = Problem(401, "key-expired", "The API key has expired", "Ask for a new one.")
        self._doubled = Problem(401, "key-doubled", "More than one API key was sent", f"Send one, in {where}.")
        self._refused = Problem(403, "key-not-allowed", "The API key may not be used for this route and method")

    def on_request(self, x: Exchange) -> Response | None:
        head = x.head
        block = head.block
        query, cookie = self._query, self._cookie
        in_query = query is not None and query in x.query
        if not in_query:
            # A client that repeats its fields on a kept connection has shown this key before, to this very policy,
            # and nothing has changed since then that could concern it.
            seen = block.seen
            if seen is not None and seen[0] is self and seen[1] == self._stored.generation:
                _, _, x.consumer, head.block = cast("tuple[ApiKey, int, Consumer, FieldBlock]", seen)
                return None
        keys = head.take(self._header)
        if cookie is not None:
            keys = keys + self._take_cookie(x, cookie)  # the list itself is shared between heads
        if in_query:
            keys = keys + self._take_from_query(x, cast("bytes", query))
            block = head.block
        if len(keys) != 1:
            if keys:
                return self._credentials.wrong(x, self._doubled)
            return self._credentials.missing(x, self._missing)
        return self._identify(x, keys[0], block)

    def _identify(self, x: Exchange, key: bytes, block: FieldBlock) -> Response | None:
        if len(key) > LONGEST:
            return self._credentials.wrong(x, self._unknown)
        digest = sha256(key).digest()
        consumer, expires = self._access.shown(digest)
        if consumer is None:
            # Who shows a key that was good has had it: it may be told. A disabled one is as if it had never been.
            return self._credentials.wrong(x, self._expired if self._access.is_over(expires) else self._unknown)
        x.consumer = consumer
        grant = consumer.grant
        if not consumer.may_use(self._route, x.head.method):
            return self._credentials.not_allowed(x, self._refused)
        if (
            block is not x.head.block
            and (grant is None or not grant.by_method)  # the same fields may come with another method
            and not expires
        ):
            block.seen = (self, self._stored.generation, consumer, x.head.block)
        return None

    def _take_cookie(self, x: Exchange, name: bytes) -> list[bytes]:
        keys = cookie_values(x.head, name)
        if keys:
            x.head.fields = without_cookie(x.head.fields, name)
        return keys

    def _take_from_query(self, x: Exchange, prefix: bytes) -> list[bytes]:
        kept: list[bytes] = []
        keys: list[bytes] = []
        for part in x.query.split(b"&"):
            if part.startswith(prefix):
                keys.append(unquote_to_bytes(part[len(prefix) :]))
            else:
                kept.append(part)
        x.query = b"&".join(kept)
        return keys
