"""What tests of credentials need: contexts, keys, tokens, a fetcher that answers from a table."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.exchange import Exchange, Policy, Response
from gatepost.net.fetch import Fetched, Fetcher, FetchError
from gatepost.notices import Facts
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.signatures.algorithms import PrivateKey, signer
from gatepost.stores.access import Access


class Told:
    """Notices, written down."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.notices.append((event_type, subject, facts))


class Answers(Fetcher):
    """A fetcher whose answers the test gives: bytes, a status, or a reason why there is none. `gate` holds it back."""

    __slots__ = ("answer", "asked", "gate")

    def __init__(self, answer: bytes | int | str | dict[str, Any] = b"") -> None:
        super().__init__(None)
        self.answer = answer
        self.asked: list[tuple[str, str, dict[str, bytes], bytes]] = []
        self.gate: asyncio.Event | None = None

    async def fetch(self, method: str, url: str, **asked: Any) -> Fetched:
        fields = {name.decode(): value for name, value in asked.get("fields", ())}
        self.asked.append((method, url, fields, asked.get("body", b"")))
        await (self.gate.wait() if self.gate is not None else asyncio.sleep(0))
        if isinstance(self.answer, str):
            raise FetchError(self.answer)
        if isinstance(self.answer, int):
            return Fetched(self.answer, [], b"")
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return Fetched(200, [], body)


def context(
    consumers: Mapping[str, schema.Consumer] | None = None,
    *,
    route: str = "route",
    fetcher: Fetcher | None = None,
    clock: ManualClock | None = None,
    told: Told | None = None,
    **more: Any,
) -> PolicyContext:
    return PolicyContext(
        route,
        Access(consumers or {"ann": schema.Consumer(), "bob": schema.Consumer(routes=("elsewhere",))}),
        States(),
        told or Told(),
        fetcher or Answers("nothing is asked here"),
        clock or ManualClock(),
        **more,
    )


def at_once(policy: Policy, x: Exchange) -> Response | None:
    """The policy's answer, which must not have to wait."""
    answer = policy.on_request(x)
    assert answer is None or isinstance(answer, Response), "it waits"
    return answer


async def in_time(policy: Policy, x: Exchange) -> Response | None:
    """The policy's answer, now or later."""
    answer = policy.on_request(x)
    return await answer if isinstance(answer, Awaitable) else answer


def slug(response: Response | None) -> str:
    return "" if response is None else str(json.loads(response.body)["type"]).rpartition(":")[2]


def challenge(response: Response | None) -> str:
    assert response is not None
    return ", ".join(value.decode() for name, value in response.fields if name == b"www-authenticate")


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(key: PrivateKey, algorithm: str, claims: dict[str, Any] | bytes, **header: Any) -> bytes:
    """A signed token. `claims` as bytes stand as they are."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64url(json.dumps({'alg': algorithm, 'typ': 'JWT', **header}).encode())}.{b64url(body)}".encode()
    return signed + b"." + b64url(signer(algorithm, key)(signed)).encode()


def pem(key: Any) -> str:
    public = key.public_key() if hasattr(key, "public_key") else key
    return str(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    """The public key as a JSON Web Key; of bytes, a secret."""
    if isinstance(key, bytes):
        return {"kty": "oct", "k": b64url(key), **more}
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n, 256), "e": _number(numbers.e, 3), **more}
    if isinstance(public, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url(public.public_bytes_raw()), **more}
    point = public.public_numbers()
    curve, size = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48), "secp521r1": ("P-521", 66)}[
        public.curve.name
    ]
    return {"kty": "EC", "crv": curve, "x": _number(point.x, size), "y": _number(point.y, size), **more}


def _number(value: int, size: int) -> str:
    return b64url(value.to_bytes(size))


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def ed_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()
