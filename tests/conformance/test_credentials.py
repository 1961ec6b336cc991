"""The one rule for credentials, held against every policy that takes one: none is 401 with `WWW-Authenticate`, a wrong
one 401, a good one of somebody who may not do this 403; and who is told of which."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.identity import Answers, Told, context, ec_key, in_time, token

from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.basic import BasicPolicy
from gatepost.config.policies.combined import CredentialUse
from gatepost.config.policies.http_signature import HttpSignatureKey, HttpSignaturePolicy
from gatepost.config.policies.jwt import JwtPolicy
from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.config.secrets import Secret
from gatepost.config.signatures import SignedBody
from gatepost.errors import PROBLEM_PREFIX
from gatepost.exchange import Exchange, Response
from gatepost.http1.messages import Fields
from gatepost.policies import build_policy
from gatepost.policies.api_key import new_key
from gatepost.policies.logins import hash_password, logins_of
from gatepost.signatures.digest import content_digest
from gatepost.signatures.http_message import Message, component, sign, signing_key

SECRET = "a-secret-of-at-least-thirty-two-bytes"
NOW = ManualClock().now()
KEY, DIGEST = new_key()
CONSUMERS = {
    "ann": schema.Consumer(
        keys=(schema.ConsumerKey(sha256=Secret(DIGEST)),),
        basic=(schema.BasicLogin(username="ann", argon2=Secret(hash_password("the password"))),),
        routes=("orders",),
    )
}


def self_signed() -> bytes:
    """A certificate of ann's, in DER."""
    key, day = ec_key(), datetime.timedelta(days=1)
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


CERTIFICATE = self_signed()


class Kind(NamedTuple):
    """One policy, and requests that carry its credential, by whether it is a good one."""

    config: Any
    shows: Callable[[bool], Exchange]


def fields(*all_of_them: tuple[bytes, bytes], body: bytes = b"") -> Exchange:
    return make_exchange("POST", "/orders", list(all_of_them), body)[0]


def api_key(good: bool) -> Exchange:
    return fields((b"x-api-key", KEY.encode() if good else b"swordfish"))


def in_a_cookie(good: bool) -> Exchange:
    return fields((b"cookie", b"key=" + (KEY.encode() if good else b"swordfish")))


def basic(good: bool) -> Exchange:
    login = b"ann:the password" if good else b"ann:swordfish"
    return fields((b"authorization", b"Basic " + base64.b64encode(login)))


def jwt(good: bool) -> Exchange:
    secret = SECRET if good else SECRET[::-1]
    return fields((b"authorization", b"Bearer " + token(secret.encode(), "HS256", {"sub": "ann", "exp": NOW + 60})))


def opaque(good: bool) -> Exchange:
    return fields((b"authorization", b"Bearer " + (b"good" if good else b"swordfish")))


def http_signature(good: bool) -> Exchange:
    covered = [component(each) for each in ("@method", "@authority", "@path", "@query")]
    sent: Fields = [content_digest(b"")]
    message = Message("POST", "http", "gateway.test", b"/orders", sent)
    key = signing_key("hmac-sha256", (SECRET if good else SECRET[::-1]).encode())
    return fields(*sent, *sign(message, key, covered, {"created": int(NOW), "keyid": "k"}))


def webhook(good: bool) -> Exchange:
    mac = hmac.digest(SECRET.encode(), b"{}" if good else b"swordfish", "sha256").hex().encode()
    return fields((b"x-hub-signature-256", b"sha256=" + mac), body=b"{}")


def certificate(good: bool) -> Exchange:
    client = RecordingDownstream()
    client.certificate = CERTIFICATE if good else b"none that can be read"
    return make_exchange("POST", "/orders", downstream=client)[0]


class Introspection(Answers):
    async def fetch(self, method: str, url: str, **asked: Any) -> Any:
        self.answer = {"active": b"token=good" in asked["body"], "sub": "ann"}
        return await super().fetch(method, url, **asked)


KINDS: dict[str, Kind] = {
    "api_key": Kind(ApiKeyPolicy(), api_key),
    "api_key in a cookie": Kind(ApiKeyPolicy(cookie="key"), in_a_cookie),
    "basic": Kind(BasicPolicy(), basic),
    "jwt": Kind(JwtPolicy(algorithms=("HS256",), secrets=(Secret(SECRET),), consumer="sub"), jwt),
    "oauth2_introspection": Kind(
        Oauth2IntrospectionPolicy(url="http://i", client_id="a", client_secret=Secret("b"), consumer="sub"), opaque
    ),
    "http_signature": Kind(
        HttpSignaturePolicy(
            keys={"k": HttpSignatureKey(algorithm="hmac-sha256", secret=Secret(SECRET), consumer="ann")}
        ),
        http_signature,
    ),
    "webhook_signature": Kind(
        WebhookSignaturePolicy(github=SignedBody(secret=Secret(SECRET)), consumer="ann"), webhook
    ),
    "mtls": Kind(MtlsPolicy(consumers={"ann": ("cn:ann",)}), certificate),
}
each = pytest.mark.parametrize("kind", sorted(KINDS))


async def answer(kind: str, x: Exchange, route: str = "orders", told: Told | None = None) -> Response | None:
    ground = context(CONSUMERS, route=route, told=told, fetcher=Introspection(), logins=logins_of(CONSUMERS))
    name = kind.partition(" ")[0]
    return await in_time(build_policy(PolicyUse(**{name: KINDS[kind].config}), ground), x)


def slug_of(response: Response, status: int) -> str:
    document = json.loads(response.body)
    assert (response.status, document["status"], document["request_id"]) == (status, status, "req-1")
    assert (b"content-type", b"application/problem+json") in response.fields
    return str(document["type"]).removeprefix(PROBLEM_PREFIX)


def challenges(response: Response) -> list[bytes]:
    return [value for name, value in response.fields if name == b"www-authenticate"]


def test_every_kind_of_credential_is_here() -> None:
    known = {field.name for field in msgspec.structs.fields(CredentialUse)}
    assert {name.partition(" ")[0] for name in KINDS} == known - {"ip", "anonymous", "all_of"}, "those say nothing"


@each
async def test_a_good_one_passes_and_says_who_it_is(kind: str) -> None:
    x = KINDS[kind].shows(True)
    told = Told()
    assert await answer(kind, x, told=told) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    assert told.notices == []


@each
async def test_a_missing_one_is_401_that_names_the_scheme_and_nobody_is_told(kind: str) -> None:
    told = Told()
    refusal = await answer(kind, fields(), told=told)
    assert refusal is not None
    assert slug_of(refusal, 401).endswith("-missing")
    (challenge,) = challenges(refusal)
    assert challenge.partition(b" ")[2].startswith(b'realm="gatepost"')
    assert told.notices == []


@each
async def test_a_wrong_one_is_401_and_told_without_what_was_shown(kind: str) -> None:
    told = Told()
    x = KINDS[kind].shows(False)
    refusal = await answer(kind, x, told=told)
    assert refusal is not None
    reason = slug_of(refusal, 401)
    assert not reason.endswith("-missing")
    assert len(challenges(refusal)) == 1
    assert x.consumer is None
    ((event, subject, facts),) = told.notices
    assert (event, facts["reason"]) == ("auth.failed", reason)
    for shown in ("swordfish", SECRET, KEY):
        assert shown not in f"{subject} {facts} {refusal!r}"


@each
async def test_a_known_caller_who_may_not_is_403_and_told(kind: str) -> None:
    told = Told()
    refusal = await answer(kind, KINDS[kind].shows(True), route="refunds", told=told)
    assert refusal is not None
    assert slug_of(refusal, 403).endswith("-not-allowed")
    assert challenges(refusal) == []
    ((event, _, facts),) = told.notices
    assert (event, facts["route"]) == ("auth.failed", "refunds")
