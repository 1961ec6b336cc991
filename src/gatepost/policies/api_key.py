"""`api_key`: the caller shows a key, and the exchange gets a consumer.

A key is looked up by its SHA-256. That is right for these keys and would be wrong for passwords: 32 random bytes cannot
be guessed offline, so a slow hash buys nothing, and who reads the configuration or the store still has no key. The
look-up leaks no useful time: what is compared is a digest, which a caller cannot steer towards a stored one byte by
byte. Hashing costs 0.5 µs, so there is no table of keys that would hold them in plain text; what a connection remembers
of its own client's last head (`http1.request`), the consumer included, ends with the connection.

The key ends here. It is taken out of the fields and of the query before anything else sees the request: services,
their logs and the events made of it have no use for the gateway's credentials.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.errors import Problem
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response, problem
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import FieldList, Fields, RequestHead
from gatepost.policies.base import PolicyContext
from gatepost.stores.access import Access

LONGEST: Final = 512  # bytes; what is longer is no key, and not worth hashing
_CHALLENGE: Final = (b"www-authenticate", b'ApiKey realm="gatepost"')  # RFC 9110 §11.6.1: a 401 names a scheme


def build(use: ApiKeyPolicy, context: PolicyContext) -> ApiKey:
    return ApiKey(use, context.access, context.route)


def new_key() -> tuple[str, str]:
    """A fresh key, `gp_` and 32 random bytes in base64url, and its SHA-256 in hex for the configuration."""
    key = "gp_" + secrets.token_urlsafe(32)
    return key, sha256(key.encode()).hexdigest()


class ApiKey(Policy):
    """Sets `x.consumer`; 401 without a known key, 403 where its consumer may not use the route."""

    name = "api_key"
    phase = Phase.IDENTIFY

    def __init__(self, config: ApiKeyPolicy, access: Access, route: str) -> None:
        """Raises ValueError where `header` is one that the gateway decides by itself."""
        self._header = config.header.lower().encode()
        if self._header in SPECIAL:
            raise ValueError(f"header: {config.header} has a meaning of its own in HTTP and cannot carry a key")
        self._query = None if config.query is None else config.query.encode() + b"="
        self._by_key = access.by_key
        self._route = route
        where = f"the {config.header} header"
        if config.query is not None:
            where += f" or the query parameter {config.query}"
        self._missing = Problem(401, "key-missing", "An API key is needed", f"Send it in {where}.")
        self._unknown = Problem(401, "key-unknown", "The API key is not known")
        self._doubled = Problem(401, "key-doubled", "More than one API key was sent", f"Send one, in {where}.")
        self._refused = Problem(403, "key-not-allowed", "The API key may not be used for this route")

    def on_request(self, x: Exchange) -> Response | None:
        head = x.head
        fields = head.fields
        query = self._query
        if query is None or not x.query or query not in x.query:
            # A client that repeats its fields on a kept connection has shown this key before, to this very policy.
            seen = fields.seen if type(fields) is FieldList else None
            if seen is not None and seen[0] is self:
                _, x.consumer, head.fields = cast("tuple[ApiKey, Consumer, Fields]", seen)
                return None
            keys = self._take_from_fields(head)
        else:
            keys = self._take_from_fields(head) + self._take_from_query(x, query)
            fields = head.fields
        if len(keys) != 1:
            return problem(x.id, self._doubled if keys else self._missing, [_CHALLENGE])
        key = keys[0]
        consumer = self._by_key(sha256(key).digest()) if len(key) <= LONGEST else None
        if consumer is None:
            return problem(x.id, self._unknown, [_CHALLENGE])
        x.consumer = consumer
        if consumer.routes is not None and self._route not in consumer.routes:
            return problem(x.id, self._refused)
        if type(fields) is FieldList and fields is not head.fields:
            fields.seen = (self, consumer, head.fields)
        return None

    def _take_from_fields(self, head: RequestHead) -> list[bytes]:
        header = self._header
        keys: list[bytes] = []
        kept = FieldList()
        for field in head.fields:
            if field[0] == header:
                keys.append(field[1].rstrip(b" \t"))  # llhttp leaves the white space behind a value
            else:
                kept.append(field)
        if keys:
            head.fields = kept
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
