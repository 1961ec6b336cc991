"""Inbound webhooks: each scheme as its provider's page has it, and what none of them may accept."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from gatepost.config.secrets import Secret
from gatepost.config.signatures import SignedBody, SignedHmac, SignedInTime, Verify
from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.model import Secret as StoredSecret
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.signatures.base import Verified
from gatepost.signatures.incoming import INCOMING, Incoming, incoming

NOW = 1_800_000_000
BODY = b'{"id": 1}'
SECRET = "It's a Secret to Everybody"
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def mac(content: bytes, secret: str = SECRET, digest: str = "sha256") -> bytes:
    return hmac.digest(secret.encode(), content, digest)


def github(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    return [(b"x-hub-signature-256", b"sha256=" + mac(body, secret).hex().encode())]


def stripe(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    return [(b"stripe-signature", b"t=%d,v0=00,v1=%b" % (at, mac(b"%d.%b" % (at, body), secret).hex().encode()))]


def slack(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    signature = b"v0=" + mac(b"v0:%d:%b" % (at, body), secret).hex().encode()
    return [(b"x-slack-signature", signature), (b"x-slack-request-timestamp", b"%d" % at)]


def shopify(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    return [(b"x-shopify-hmac-sha256", base64.b64encode(mac(body, secret)))]


def standard(secret: str = STANDARD, body: bytes = BODY, at: int = NOW) -> Fields:
    return STANDARD_WEBHOOKS.sign("msg_1", at, body, [StoredSecret(value=secret, expires=None)])


def own(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    signature = b"sha512=" + base64.b64encode(mac(b"%d|%b" % (at, body), secret, "sha512"))
    return [(b"x-sign", signature), (b"x-time", b"%d" % at)]


def bare(secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Fields:
    return [(b"x-sign", mac(body, secret).hex().encode())]


Signs = Callable[..., Fields]
OWN = {"header": "X-Sign", "digest": "sha512", "encoding": "base64", "prefix": "sha512=", "timestamp_header": "X-Time"}
SCHEMES: dict[str, tuple[Signs, Callable[..., Verify], str, str]] = {
    "github": (github, lambda **s: Verify(github=SignedBody(**s)), SECRET, "another secret"),
    "stripe": (stripe, lambda **s: Verify(stripe=SignedInTime(**s)), SECRET, "another secret"),
    "slack": (slack, lambda **s: Verify(slack=SignedInTime(**s)), SECRET, "another secret"),
    "shopify": (shopify, lambda **s: Verify(shopify=SignedBody(**s)), SECRET, "another secret"),
    "standard_webhooks": (
        standard,
        lambda **s: Verify(standard_webhooks=SignedInTime(**s)),
        STANDARD,
        "whsec_" + base64.b64encode(b"x" * 24).decode(),
    ),
    "hmac": (own, lambda **s: Verify(hmac=SignedHmac(**OWN, separator="|", **s)), SECRET, "another secret"),
    "hmac, bare": (bare, lambda **s: Verify(hmac=SignedHmac(header="X-Sign", **s)), SECRET, "another secret"),
}
each = pytest.mark.parametrize("name", SCHEMES)
timed = pytest.mark.parametrize("name", ["stripe", "slack", "standard_webhooks", "hmac"])


def verifier(name: str, *, secret: str | None = None, **more: Any) -> Incoming:
    _, build, own_secret, _ = SCHEMES[name]
    return incoming(build(secret=Secret(secret or own_secret), **more))


def signed(name: str, secret: str | None = None, **more: Any) -> Fields:
    sign, _, own_secret, _ = SCHEMES[name]
    return sign(secret or own_secret, **more)


def test_every_scheme_is_tested() -> None:
    assert set(INCOMING) | {"hmac"} == {name.partition(",")[0] for name in SCHEMES}
    assert set(Verify.__struct_fields__) == set(INCOMING) | {"hmac"}


@each
def test_what_its_sender_signed_is_verified(name: str) -> None:
    it = verifier(name)
    assert it.signed(signed(name))
    assert isinstance(it.verify(signed(name), BODY, NOW), Verified)
    assert isinstance(it.verify(signed(name, body=b""), b"", NOW), Verified)


@each
def test_nothing_else_is(name: str) -> None:
    it, other = verifier(name), SCHEMES[name][3]
    fields = signed(name)
    for wrong, body in (
        (signed(name, other), BODY),
        (fields, BODY + b" "),
        (fields, b""),
        ([], BODY),
        (fields + fields[:1], BODY),
        ([(key, b"") for key, _ in fields], BODY),
        ([(key, value[:-2]) for key, value in fields], BODY),
        ([(key, b"\xff" + value) for key, value in fields], BODY),
        ([(fields[0][0], b"=,=,=,"), *fields[1:]], BODY),
    ):
        with pytest.raises(SignatureError) as caught:
            it.verify(wrong, body, NOW)
        assert SECRET not in str(caught.value)
    assert not it.signed([])


@each
def test_a_secret_is_replaced_while_both_are_good(name: str) -> None:
    new = SCHEMES[name][3]
    it = verifier(name, secret=new, old_secret=Secret(SCHEMES[name][2]))
    it.verify(signed(name, new), BODY, NOW)
    it.verify(signed(name), BODY, NOW)


@timed
def test_a_signature_is_good_for_a_while_only(name: str) -> None:
    it = verifier(name, tolerance=60.0)
    for at in (NOW - 60, NOW, NOW + 60):
        assert it.verify(signed(name, at=at), BODY, NOW).timestamp == at
    for at in (NOW - 61, NOW + 61):
        with pytest.raises(SignatureError, match=r"too old|in the future"):
            it.verify(signed(name, at=at), BODY, NOW)


def test_the_example_of_github_s_page() -> None:
    fields = [
        (b"x-hub-signature-256", b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
    ]
    verifier("github").verify(fields, b"Hello, World!", NOW)


def test_the_example_of_slack_s_page() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    fields = [
        (b"x-slack-request-timestamp", b"1531420618"),
        (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    ]
    verifier("slack", secret="8f742231b10e8888abcd99yyyzzz85a5").verify(fields, body, 1531420618)


def test_stripe_takes_one_of_several_signatures_and_one_time() -> None:
    it = verifier("stripe")
    ((name, value),) = stripe()
    it.verify([(name, value.replace(b"v1=", b"v1=" + b"00" * 32 + b",v1="))], BODY, NOW)
    for bad in (
        value + b",t=%d" % NOW,
        value.replace(b"v1=", b"v0="),
        value.partition(b",")[2],
        value + b",v1=00" * 20,
        value.replace(b"t=", b"t=+"),
    ):
        with pytest.raises(SignatureError):
            it.verify([(name, bad)], BODY, NOW)


def test_a_secret_that_is_none_shows_when_it_is_read() -> None:
    for secret in ("hello", "whsec_AAAA", "whsec_???"):
        with pytest.raises(SignatureError):
            verifier("standard_webhooks", secret=secret)


def test_exactly_one_scheme() -> None:
    for uses in ({}, {"github": SignedBody(secret=Secret("x")), "shopify": SignedBody(secret=Secret("x"))}):
        with pytest.raises(ValueError, match="exactly one"):
            Verify(**uses)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(
        "gatepost.signatures.hmac_of.hmac.compare_digest", lambda a, b: (compared.append((a, b)), real(a, b))[1]
    )
    for name in ("github", "stripe", "slack", "shopify", "hmac"):
        compared.clear()
        verifier(name).verify(signed(name), BODY, NOW)
        assert compared
