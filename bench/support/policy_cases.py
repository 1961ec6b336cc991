"""One request for each policy that it lets pass, and what it has to do for it: what `bench/policies.py` measures."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.support import certificate
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gatepost.http1.messages import Field, Fields
from gatepost.net.fetch import Fetched, Fetcher
from gatepost.signatures.algorithms import signer
from gatepost.signatures.http_message import Component, Message, sign

MANY = 1_000_000_000  # what no bench reaches
# An order, 120 bytes.
ORDER = json.dumps({"order_id": 12345, "customer_name": "John Doe", "total_amount": 100.0, "items": ["a", "b", "c"]})
ORDER = ORDER[:-1] + " " * (120 - len(ORDER)) + "}"
SCHEMA = {
    "type": "object",
    "required": ["order_id", "customer_name", "total_amount"],
    "properties": {
        "order_id": {"type": "integer", "minimum": 1},
        "customer_name": {"type": "string", "maxLength": 100},
        "total_amount": {"type": "number", "minimum": 0},
        "items": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
    },
    "additionalProperties": False,
}
KEY = "k1234"
SECRET = "x" * 32
CONSUMERS: dict[str, Any] = {"c1": {"keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}}


class Case(NamedTuple):
    """`told` is what stands in the table: what the policy was given to do."""

    told: str
    use: Any
    fields: dict[str, str] = {}  # noqa: RUF012  never changed
    method: str = "GET"
    target: str = "/"
    body: str = ""
    json_response: bool = False
    certificate: bytes | None = None  # the client's, in DER


class Issuer(Fetcher):
    """Finds every token active."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None)

    async def fetch(self, method: str, url: str, **_: Any) -> Fetched:
        return Fetched(200, [], json.dumps({"active": True, "exp": int(time.time()) + 3600}).encode())


def cases(directory: Path) -> dict[str, list[Case]]:
    """By the policy's name."""
    token, public = rs256()
    cert, _ = certificate.make(directory)
    client = x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(serialization.Encoding.DER)
    key = {"X-Api-Key": KEY}
    mtls: dict[str, Any] = {"consumers": {"c1": [f"sha256:{hashlib.sha256(client).hexdigest()}"]}}
    github = hmac.new(SECRET.encode(), ORDER.encode(), "sha256").hexdigest()
    sent = {"method": "POST", "target": "/", "body": ORDER}
    schema = {"schema": SCHEMA}
    return {
        "api_key": [Case("the same key again", {}, key)],
        "basic": [
            Case("the same password again", {}, {"Authorization": "Basic " + base64.b64encode(b"u:pw").decode()})
        ],
        "jwt": [
            Case(
                "RS256, the same token again",
                {"algorithms": ["RS256"], "public_keys": [public]},
                {"Authorization": f"Bearer {token()}"},
            )
        ],
        "oauth2_introspection": [
            Case(
                "the same token again",
                {"url": "http://127.0.0.1:9/", "client_id": "gatepost", "client_secret": SECRET},
                {"Authorization": "Bearer opaque"},
            )
        ],
        "http_signature": [
            Case(
                "HMAC-SHA-256 over four components",
                {"keys": {"one": {"algorithm": "hmac-sha256", "secret": SECRET}}},
                _signed(),
            )
        ],
        "webhook_signature": [
            Case("GitHub's, 120 B", {"github": {"secret": SECRET}}, {"X-Hub-Signature-256": f"sha256={github}"}, **sent)
        ],
        "mtls": [Case("the same certificate again", mtls, certificate=client)],
        "ip": [Case("two networks", {"allow": ["127.0.0.0/8", "2001:db8::/32"]})],
        "anonymous": [Case("", {"consumer": "c1"})],
        "any_of": [Case("the second of two: `api_key`", [{"mtls": {}}, {"api_key": {}}], key)],
        "all_of": [Case("`ip` and `api_key`", [{"ip": {"allow": ["127.0.0.0/8"]}}, {"api_key": {}}], key)],
        "rate_limit": [
            Case("by address", {"limit": MANY, "window": "1m"}),
            Case("`gcra`", {"limit": MANY, "window": "1m", "algorithm": "gcra"}),
            Case("by a field", {"limit": MANY, "window": "1m", "by": "request.headers['x-api-key']"}, key),
        ],
        "quota": [Case("a day, by address", {"limit": MANY, "period": "day"})],
        "concurrency": [Case("by address", {"limit": 100})],
        "queue": [Case("nobody waits", {"limit": 100, "length": 100})],
        "body_size": [Case("120 B", {"limit": 1000}, **sent)],
        "cache": [
            Case("a hit, 1 KiB", {"ttl": "1h"}),
            Case("passes it by: a POST of 120 B", {"ttl": "1h"}, **sent),
        ],
        "compress": [
            Case(
                "gzip, 1 KiB", {"codings": ["gzip"], "min_size": 100}, {"Accept-Encoding": "gzip"}, json_response=True
            ),
            Case("not asked for", {}, json_response=True),
        ],
        "validate": [
            Case("a body of 120 B", {"body": schema}, {"Content-Type": "application/json"}, **sent),
            Case(
                "two parameters",
                {"query": {name: {"schema": {"type": "integer"}} for name in "ab"}},
                target="/?a=1&b=2",
            ),
        ],
        "validate_response": [
            Case(
                "a body of 1 KiB",
                {"responses": {"200": {"content": {"application/json": {"type": "object"}}}}},
                json_response=True,
            )
        ],
        "mock": [Case("JSON from memory", {"json": {"id": 1}})],
        "request_id": [Case("", {}), Case("in a field of its own", {"header": "X-Trace-Id"})],
        "cors": [
            Case("an origin", {"origins": ["https://shop.example"]}, {"Origin": "https://shop.example"}),
        ],
        "redirect": [Case("301 from memory", {"to": "https://shop.example/"})],
        "security_headers": [Case("the defaults", {})],
        "version": [Case("by a field", {"header": "X-Version", "versions": {"v1": {}}}, {"X-Version": "v1"})],
        "headers": [
            Case("one set in the request", {"request": {"set": {"X-From": "gateway"}}}),
            Case("one set in the response", {"response": {"set": {"X-From": "gateway"}}}),
        ],
        "query": [Case("one parameter removed", {"remove": ["debug"]}, target="/?a=1&debug=1")],
        "rewrite": [Case("a prefix", {"pattern": "/{rest...}", "path": "/v1/${match.rest}"}, target="/orders/1")],
        "method": [Case("", {"to": "PUT"}, **sent)],
        "transform": [
            Case(
                "a body of 120 B",
                {"request": "{'id': request.body.order_id}"},
                {"Content-Type": "application/json"},
                **sent,
            )
        ],
        "policy": [Case("one that does nothing", {"use": "bench.support.own_policy:Nothing"})],
    }


def rs256() -> tuple[Callable[..., str], str]:
    """What makes tokens of a fresh RSA key, each with other claims, and its public key as PEM."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sign_with = signer("RS256", private)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    until = int((datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).timestamp())

    def token(number: int = 0) -> str:
        claims = {"iss": "https://login.example.com", "sub": f"user-{number:05}", "exp": until, "scope": "orders.read"}
        signed = _base64(b'{"alg":"RS256","typ":"JWT"}') + "." + _base64(json.dumps(claims).encode())
        return signed + "." + _base64(sign_with(signed.encode()))

    return token, pem.decode()


def _signed() -> dict[str, str]:
    message = Message("GET", "http", "127.0.0.1:8080", b"/", [])
    key = signer("HS256", SECRET.encode())
    components = [Component(name) for name in ("@method", "@authority", "@path", "@query")]
    fields: Fields = sign(message, key, components, {"created": int(time.time()), "keyid": "one"})
    return {_text(field)[0]: _text(field)[1] for field in fields}


def _text(field: Field) -> tuple[str, str]:
    return field[0].decode(), field[1].decode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
