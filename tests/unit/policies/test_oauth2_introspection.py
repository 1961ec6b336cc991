from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import Answers, Told, at_once, challenge, context, in_time, slug

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.config.secrets import Secret
from gatepost.exchange import Exchange
from gatepost.policies.oauth2_introspection import build
from gatepost.signatures.jwt import LONGEST

URL = "https://issuer.test/introspect"
NOW = ManualClock().now()
ACTIVE = {"active": True, "sub": "ann", "scope": "read"}


class Gateway:
    """A policy, who it asks, and the time."""

    def __init__(self, answer: Any = ACTIVE, **config: Any) -> None:
        self.answers = Answers(answer)
        self.clock = ManualClock()
        self.told = Told()
        config = {"url": URL, "client_id": "gate post", "client_secret": Secret("s&cret"), **config}
        ground = context(fetcher=self.answers, clock=self.clock, told=self.told)
        self.policy = build(Oauth2IntrospectionPolicy(**config), ground)

    async def ask(self, token: bytes = b"opaque") -> str:
        return slug(await in_time(self.policy, shown(token)))

    @property
    def asked(self) -> int:
        return len(self.answers.asked)


def shown(token: bytes) -> Exchange:
    return make_exchange("GET", "/", [(b"authorization", b"Bearer " + token)])[0]


async def test_an_active_token_passes_and_is_remembered() -> None:
    gateway = Gateway()
    x = shown(b"opaque")
    assert await in_time(gateway.policy, x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    x = shown(b"opaque")
    assert at_once(gateway.policy, x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    method, url, fields, body = gateway.answers.asked[0]
    assert (method, url) == ("POST", URL)
    assert parse_qs(body.decode()) == {"token": ["opaque"], "token_type_hint": ["access_token"]}
    # RFC 6749 §2.3.1: form-encoded, then joined: gate+post:s%26cret
    assert fields["authorization"] == b"Basic Z2F0ZStwb3N0OnMlMjZjcmV0"
    gateway.clock.advance(60)
    assert await gateway.ask() == ""
    assert gateway.asked == 2


async def test_the_client_may_be_named_in_the_form() -> None:
    gateway = Gateway(client_auth="post")
    assert await gateway.ask(b"a&b=c\xff") == ""
    _, _, fields, body = gateway.answers.asked[0]
    assert "authorization" not in fields
    form = parse_qs(body.decode(), encoding="latin-1")
    assert (form["client_id"], form["client_secret"], form["token"]) == (["gate post"], ["s&cret"], ["a&b=c\xff"])


async def test_a_token_is_remembered_no_longer_than_it_lives() -> None:
    gateway = Gateway({**ACTIVE, "exp": NOW + 10})
    assert await gateway.ask() == ""
    gateway.clock.advance(9)
    assert at_once(gateway.policy, shown(b"opaque")) is None
    gateway.clock.advance(1)
    assert await gateway.ask() == "token-invalid"  # asked again: whoever still says so, it is over


async def test_an_inactive_token_is_remembered_for_a_short_while() -> None:
    gateway = Gateway({"active": False, "sub": "ann"})
    refusal = await in_time(gateway.policy, shown(b"opaque"))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, "token-invalid")
    assert challenge(refusal) == 'Bearer realm="gatepost", error="invalid_token"'
    assert gateway.told.notices[0][2]["reason"] == "token-invalid"
    gateway.answers.answer = ACTIVE
    gateway.clock.advance(9)
    assert slug(at_once(gateway.policy, shown(b"opaque"))) == "token-invalid"
    gateway.clock.advance(1)
    assert await gateway.ask() == ""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"exp": NOW}, "token-invalid"),
        ({"exp": "later"}, "token-invalid"),
        ({"nbf": NOW + 1}, "token-invalid"),
        ({"iss": "you"}, "token-invalid"),
        ({"iss": "me", "aud": "bank"}, "token-invalid"),
        ({"iss": "me", "aud": 7}, "token-invalid"),
        ({"iss": "me"}, "token-invalid"),
        ({"iss": "me", "aud": ["x", "shop"], "scope": "write"}, "scope-missing"),
        ({"iss": "me", "aud": "shop", "sub": "eve"}, "consumer-unknown"),
        ({"iss": "me", "aud": "shop", "sub": "bob"}, "consumer-not-allowed"),
        ({"iss": "me", "aud": "shop"}, ""),
    ],
)
async def test_what_an_active_token_must_say(said: dict[str, Any], expected: str) -> None:
    gateway = Gateway({**ACTIVE, **said}, issuers=("me",), audiences=("shop",), scopes=("read",), consumer="sub")
    if said == {"iss": "me"}:
        expected = "token-invalid"  # no audience at all
    assert await gateway.ask() == expected


@pytest.mark.parametrize(
    "answer",
    [
        *("issuer.test: refused", 500, 401, b"<html>", b"[]", {}, {"active": "true"}, {"active": 1}),
        b'{"active": true, "active": true}',
    ],
)
async def test_without_an_answer_nobody_passes_and_nobody_hammers(answer: Any) -> None:
    gateway = Gateway(answer)
    with log.recorded() as events:
        refusal = await in_time(gateway.policy, shown(b"opaque"))
        assert refusal is not None
        assert (refusal.status, slug(refusal)) == (503, "introspection-unavailable")
        assert (b"retry-after", b"1") in refusal.fields
        assert slug(at_once(gateway.policy, shown(b"another"))) == "introspection-unavailable"
        gateway.clock.advance(1)
        assert await gateway.ask() == "introspection-unavailable"
    assert gateway.asked == 2
    assert [event["event"] for event in events] == ["introspection_failed"]
    gateway.answers.answer = ACTIVE
    gateway.clock.advance(1)
    assert await gateway.ask() == ""


async def test_what_is_remembered_serves_while_the_issuer_is_down() -> None:
    gateway = Gateway()
    assert await gateway.ask() == ""
    gateway.answers.answer = "issuer.test: refused"
    with log.recorded():
        assert await gateway.ask(b"another") == "introspection-unavailable"
    assert at_once(gateway.policy, shown(b"opaque")) is None


async def test_those_who_show_one_token_share_one_question() -> None:
    gateway = Gateway()
    gateway.answers.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(gateway.ask()) for _ in range(5)]
    other = asyncio.ensure_future(gateway.ask(b"another"))
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    gateway.answers.gate.set()
    assert await asyncio.gather(*waiting[1:], other) == [""] * 5
    assert gateway.asked == 2


def test_a_huge_token_is_not_asked_about() -> None:
    gateway = Gateway()
    assert slug(at_once(gateway.policy, shown(b"a" * (LONGEST + 1)))) == "token-invalid"
    assert gateway.asked == 0
