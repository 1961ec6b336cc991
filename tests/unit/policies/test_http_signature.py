from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import Told, at_once, challenge, context, ed_key, pem, slug

from gatepost.clock import ManualClock
from gatepost.config.policies.http_signature import HttpSignatureKey, HttpSignaturePolicy
from gatepost.config.secrets import Secret
from gatepost.exchange import Exchange
from gatepost.http1.messages import Fields
from gatepost.policies import http_signature
from gatepost.policies.base import SettingFault
from gatepost.policies.http_signature import HttpSignature, build
from gatepost.signatures.digest import content_digest
from gatepost.signatures.http_message import Message, component, sign, signing_key

SECRET = "a-secret-of-at-least-thirty-two-bytes"
ED = ed_key()
NOW = int(ManualClock().now())
KEYS = {
    "ann/1": HttpSignatureKey(algorithm="hmac-sha256", secret=Secret(SECRET), consumer="ann"),
    "bob": HttpSignatureKey(algorithm="ed25519", public_key=Secret(pem(ED)), consumer="bob"),
    "nobody": HttpSignatureKey(algorithm="ed25519", public_key=Secret(pem(ED))),
}
COVERED = ("@method", "@authority", "@path", "@query")
BODY = b'{"id": 1}'


def policy(*, ground: Any = None, **config: Any) -> HttpSignature:
    return build(HttpSignaturePolicy(**{"keys": KEYS, **config}), ground or context())


def request(
    covered: tuple[str, ...] = COVERED,
    *,
    keyid: str = "ann/1",
    method: str = "POST",
    target: str = "/orders?a=1",
    body: bytes = b"",
    fields: Fields | None = None,
    label: str = "sig1",
    **parameters: Any,
) -> Exchange:
    """A signed request. `created` is now unless it is said otherwise, None: not at all."""
    parameters = {"created": NOW, "keyid": keyid, **parameters}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    key = signing_key("ed25519", ED) if keyid in ("bob", "nobody") else signing_key("hmac-sha256", SECRET.encode())
    sent = [*(fields or []), content_digest(body)]
    message = Message(method, "http", "gateway.test", target.encode(), sent)
    signature = sign(message, key, [component(each) for each in covered], parameters, label)
    return make_exchange(method, target, sent + signature, body)[0]


def test_a_signed_request_names_its_key_s_consumer() -> None:
    x = request()
    before = list(x.head.fields)
    assert at_once(policy(), x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    assert x.head.fields == before  # a signature is no secret: who is behind may check it too
    x = request(keyid="nobody")
    assert at_once(policy(), x) is None
    assert x.consumer is None
    refusal = at_once(policy(), request(keyid="bob"))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (403, "consumer-not-allowed")


def test_without_a_signature_it_is_401() -> None:
    told = Told()
    refusal = at_once(policy(ground=context(told=told)), make_exchange()[0])
    assert refusal is not None
    assert (refusal.status, slug(refusal), challenge(refusal)) == (
        401,
        "signature-missing",
        'Signature realm="gatepost"',
    )
    assert told.notices == []


def tampered(name: str) -> Exchange:
    x = request()
    head = x.head
    if name == "method":
        head.method = b"DELETE"
    elif name == "query":
        head.target = b"/orders?a=2"
    elif name == "path":
        head.target = b"/refunds?a=1"
    elif name == "host":
        head.host = b"other.test"
    elif name == "signature":
        head.fields = [(k, v.replace(b"sig1=:", b"sig1=:AAAA")) for k, v in head.fields]
    elif name == "created":
        head.fields = [(k, v.replace(b"%d" % NOW, b"%d" % (NOW + 1))) for k, v in head.fields]
    elif name == "keyid":
        head.fields = [(k, v.replace(b"ann/1", b"nobody")) for k, v in head.fields]
    elif name == "half":
        head.fields = [field for field in head.fields if field[0] != b"signature-input"]
    return x


@pytest.mark.parametrize("what", ["method", "query", "path", "host", "signature", "created", "keyid", "half"])
def test_a_changed_request_is_refused(what: str) -> None:
    told = Told()
    refusal = at_once(policy(ground=context(told=told)), tampered(what))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, "signature-invalid")
    assert [notice[2]["reason"] for notice in told.notices] == ["signature-invalid"]


@pytest.mark.parametrize(
    ("made", "config", "passes"),
    [
        ({"covered": ("@method", "@authority", "@path")}, {}, False),  # the query is not covered
        ({"covered": ()}, {}, False),
        ({"covered": ("@method", "@target-uri")}, {}, True),  # covers the other three
        ({"covered": ("@method", "@authority", "@request-target")}, {}, True),
        ({"covered": ("@method",)}, {"components": ("@method",)}, True),
        ({"covered": ("@method",)}, {"components": ("@method", '@query-param;name="a"')}, False),
        ({"covered": ("@method", '@query-param;name="a"')}, {"components": ('@query-param;name="a"',)}, True),
        ({"keyid": "eve"}, {}, False),
        ({"keyid": None}, {}, False),
        ({"alg": "hmac-sha256"}, {}, True),
        ({"alg": "ed25519"}, {}, False),
        ({"created": NOW - 300}, {}, True),
        ({"created": NOW - 301}, {}, False),
        ({"created": NOW + 30}, {}, True),
        ({"created": NOW + 31}, {}, False),
        ({"created": None}, {}, False),
        ({"created": -1}, {}, False),
        ({"expires": NOW - 30}, {}, True),
        ({"expires": NOW - 31}, {}, False),
        ({"expires": "x"}, {}, False),
        ({"tag": "other"}, {"tag": "shop"}, False),
        ({"tag": "shop"}, {"tag": "shop"}, True),
        ({}, {"tag": "shop"}, False),
    ],
)
def test_what_a_signature_must_say(made: dict[str, Any], config: dict[str, Any], passes: bool) -> None:
    assert slug(at_once(policy(**config), request(**made))) == ("" if passes else "signature-invalid")


@pytest.mark.parametrize(("age", "passes"), [(0, True), (300, True), (301, False), (-30, True), (-31, False)])
def test_a_covered_date_is_a_time_too(age: int, passes: bool) -> None:
    fields = [(b"date", formatdate(NOW - age, usegmt=True).encode())]
    for created in (None, NOW):
        x = request((*COVERED, "date"), fields=fields, created=created)
        assert slug(at_once(policy(), x)) == ("" if passes else "signature-invalid")
    x = request((*COVERED, "date"), fields=[(b"date", b"yesterday")])
    assert slug(at_once(policy(), x)) == "signature-invalid"


def test_a_body_must_be_covered_and_be_the_one_that_was_signed() -> None:
    whole = (*COVERED, "content-digest")
    assert at_once(policy(), request(whole, body=BODY)) is None
    assert slug(at_once(policy(), request(body=BODY))) == "signature-invalid"
    x = request(whole, body=BODY)
    x.body = BODY + b" "
    assert slug(at_once(policy(), x)) == "signature-invalid"
    x.body = b""
    assert slug(at_once(policy(), x)) == "signature-invalid"
    assert at_once(policy(body=False), request(body=BODY)) is None
    assert policy().needs_request_body
    assert not policy(body=False).needs_request_body


def test_one_of_several_signatures_counts() -> None:
    other, x = request(keyid="eve", label="proxy"), request()
    for at, (name, value) in enumerate(x.head.fields):
        first = next((v for k, v in other.head.fields if k == name and name.startswith(b"signature")), None)
        if first is not None:
            x.head.fields[at] = (name, first + b", " + value)
    assert at_once(policy(), x) is None


def test_a_nonce_counts_once() -> None:
    clock = ManualClock()
    it = policy(ground=context(clock=clock), nonce=True)
    assert slug(at_once(it, request())) == "signature-invalid"
    assert slug(at_once(it, request(nonce=""))) == "signature-invalid"
    assert at_once(it, request(nonce="a")) is None
    assert slug(at_once(it, request(nonce="a"))) == "signature-invalid"
    assert at_once(it, request(nonce="b")) is None
    assert at_once(it, request(nonce="a", keyid="nobody")) is None  # another key's
    bad = request(nonce="c")
    bad.head.method = b"PUT"
    assert slug(at_once(it, bad)) == "signature-invalid"
    assert at_once(it, request(nonce="c")) is None  # a wrong signature uses nothing up
    clock.advance(331)
    assert at_once(it, request(nonce="a", created=NOW + 331)) is None


def test_nonces_are_bounded_and_none_is_forgotten_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_signature, "NONCES", 2)
    it = policy(nonce=True)
    assert at_once(it, request(nonce="a")) is None
    assert at_once(it, request(nonce="b")) is None
    refusal = at_once(it, request(nonce="c"))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (503, "nonces-full")
    assert slug(at_once(it, request(nonce="a"))) == "signature-invalid"


@pytest.mark.parametrize("target", ["http://gateway.test/orders?a=1", "http://gateway.test?a=1", "http://gateway.test"])
def test_a_target_in_absolute_form_is_signed_by_its_path(target: str) -> None:
    rest = target.removeprefix("http://gateway.test")
    x = request(target=rest if rest.startswith("/") else "/" + rest)
    x.head.target = target.encode()
    assert at_once(policy(), x) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"keys": {"a": HttpSignatureKey(algorithm="hmac-sha256", secret=Secret("short"))}}, "at least 32 bytes"),
        ({"keys": {"a": HttpSignatureKey(algorithm="hmac-sha256", public_key=Secret(pem(ED)))}}, "needs a secret"),
        ({"keys": {"a": HttpSignatureKey(algorithm="rsa-pss-sha512", public_key=Secret(pem(ED)))}}, "needs an RSA key"),
        ({"keys": {"a": HttpSignatureKey(algorithm="ed25519", public_key=Secret("x"))}}, "not a public key"),
        ({"components": ("Date",)}, "component"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_when_it_is_built(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingFault, match=reason):
        policy(**config)
    for both in ({}, {"secret": Secret("x"), "public_key": Secret("y")}):
        with pytest.raises(ValueError, match="one of"):
            HttpSignatureKey(algorithm="ed25519", **both)
