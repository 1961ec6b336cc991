from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import Answers, Told, at_once, challenge, context, in_time, slug, token

from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.loading import load_text
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.combined import CredentialUse
from gatepost.config.secrets import Secret
from gatepost.errors import ConfigError
from gatepost.exchange import CLAIMS, Exchange, Policy
from gatepost.http1.messages import Fields
from gatepost.policies import build_policy
from gatepost.policies.api_key import new_key
from gatepost.policies.base import SettingFault
from gatepost.policies.combined import CREDENTIALS
from gatepost.policies.logins import hash_password, logins_of

SECRET = "a-secret-of-at-least-thirty-two-bytes"
KEY, DIGEST = new_key()
BOB_KEY, BOB_DIGEST = new_key()
EXP = ManualClock().now() + 60


def consumer(digest: str, **more: Any) -> schema.Consumer:
    return schema.Consumer(keys=(schema.ConsumerKey(sha256=Secret(digest)),), **more)


CONSUMERS = {
    "ann": consumer(DIGEST, basic=(schema.BasicLogin(username="ann", argon2=Secret(hash_password("pw"))),)),
    "bob": consumer(BOB_DIGEST),
}


def policy(yaml: str, *, told: Told | None = None, answers: Answers | None = None) -> Policy:
    """The policy that a file's `policies: [<yaml>]` asks for."""
    route = f"{{match: {{path: /}}, service: s, policies: [{{{yaml}}}]}}"
    text = f"routes: {{r: {route}}}\nservices: {{s: {{targets: ['http://a']}}}}"
    (use,) = load_text(text).config.routes["r"].policies
    return build_policy(use, context(CONSUMERS, logins=logins_of(CONSUMERS), told=told, fetcher=answers))


JWT = f"jwt: {{algorithms: [HS256], secrets: [{SECRET}], consumer: sub}}"
INTROSPECTION = (
    "oauth2_introspection: {url: 'http://i', client_id: a, client_secret: b, header: X-Token, consumer: sub}"
)


def shown(*fields: tuple[bytes, bytes], target: str = "/", client: str = "192.0.2.1") -> Exchange:
    return make_exchange("GET", target, list(fields), client=client)[0]


def bearer(sub: str, **claims: Any) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token(SECRET.encode(), "HS256", {"sub": sub, "exp": EXP, **claims})


def who(x: Exchange) -> str:
    return "" if x.consumer is None else x.consumer.id


def key(value: str) -> tuple[bytes, bytes]:
    return b"x-api-key", value.encode()


BASIC = (b"authorization", b"Basic " + base64.b64encode(b"ann:pw"))


# any_of


async def test_the_first_way_whose_credential_is_there_decides() -> None:
    it = policy(f"any_of: [{{api_key: {{}}}}, {{{JWT}}}, {{basic: {{}}}}]")
    for fields, name in (
        ([key(KEY)], "ann"),
        ([bearer("bob")], "bob"),
        ([BASIC], "ann"),
        ([bearer("bob"), key(KEY)], "ann"),  # the file's order, not the request's
    ):
        x = shown(*fields)
        assert await in_time(it, x) is None
        assert who(x) == name


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([key("gp_wrong"), bearer("bob")], "key-unknown"),
        ([bearer("bob", exp=1), BASIC], "token-expired"),
        ([bearer("eve"), BASIC], "consumer-unknown"),
        ([key(KEY), key(KEY), bearer("bob")], "key-doubled"),
    ],
)
async def test_one_that_is_wrong_is_refused_and_not_skipped(fields: Fields, expected: str) -> None:
    it = policy(f"any_of: [{{api_key: {{}}}}, {{{JWT}}}, {{basic: {{}}}}, {{anonymous: {{}}}}]")
    assert slug(await in_time(it, shown(*fields))) == expected


async def test_tokens_of_several_kinds_find_their_way() -> None:
    told = Told()
    mine = f"jwt: {{algorithms: [HS256], secrets: [{SECRET}], issuers: [me], consumer: sub}}"
    yours = f"jwt: {{algorithms: [HS256], secrets: [{SECRET}], issuers: [you]}}"
    opaque = "oauth2_introspection: {url: 'http://i', client_id: a, client_secret: b}"
    answers = Answers({"active": True, "sub": "opaque"})
    it = policy(f"any_of: [{{{mine}}}, {{{yours}}}, {{{opaque}}}]", told=told, answers=answers)
    for field, name in (
        (bearer("ann", iss="me"), "ann"),
        (bearer("eve", iss="you"), "eve"),
        ((b"authorization", b"Bearer no-jwt"), "opaque"),
    ):
        x = shown(field)
        assert await in_time(it, x) is None
        assert who(x) == name
    assert told.notices == []
    assert slug(await in_time(it, shown(bearer("eve", iss="you", exp=1)))) == "token-expired"
    assert slug(await in_time(it, shown(bearer("eve", iss="me")))) == "consumer-unknown"
    assert len(answers.asked) == 1


def test_where_none_is_there_the_answer_names_every_way() -> None:
    told = Told()
    it = policy(f"any_of: [{{api_key: {{}}}}, {{{JWT}}}, {{basic: {{}}}}, {{ip: {{allow: [10.0.0.0/8]}}}}]", told=told)
    refusal = at_once(it, shown())
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, "credentials-missing")
    assert challenge(refusal) == (
        'ApiKey realm="gatepost", Bearer realm="gatepost", Basic realm="gatepost", charset="UTF-8"'
    )
    assert told.notices == []


def test_an_address_may_stand_for_a_credential() -> None:
    it = policy("any_of: [{ip: {allow: [10.0.0.0/8]}}, {api_key: {}}]")
    assert at_once(it, shown(client="10.1.1.1")) is None
    x = shown(key(KEY), client="192.0.2.1")
    assert at_once(it, x) is None
    assert who(x) == "ann"
    assert slug(at_once(it, shown())) == "credentials-missing"
    only = policy("any_of: [{ip: {allow: [10.0.0.0/8]}}, {ip: {allow: [11.0.0.0/8]}}]")
    refusal = at_once(only, shown())
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (403, "address-not-allowed")


def test_those_who_show_nothing_may_be_anonymous() -> None:
    it = policy("any_of: [{api_key: {}}, {anonymous: {consumer: bob}}]")
    x = shown()
    assert at_once(it, x) is None
    assert who(x) == "bob"
    x = shown(key(KEY))
    assert at_once(it, x) is None
    assert who(x) == "ann"
    assert slug(at_once(it, shown(key("gp_wrong")))) == "key-unknown"


async def test_a_way_that_waits_makes_the_others_wait_behind_it() -> None:
    answers = Answers({"active": True, "sub": "bob"})
    it = policy(f"any_of: [{{{INTROSPECTION}}}, {{api_key: {{}}}}]", answers=answers)
    x = shown((b"x-token", b"t"), key(KEY))
    waiting = it.on_request(x)
    assert isinstance(waiting, Awaitable)
    assert await waiting is None
    assert who(x) == "bob"
    answers.answer = {"active": False}
    assert slug(await in_time(it, shown((b"x-token", b"u"), key(KEY)))) == "token-invalid"
    assert at_once(it, shown(key(KEY))) is None


# all_of


async def test_every_way_must_let_it_pass_and_speak_of_the_same_consumer() -> None:
    told = Told()
    it = policy("all_of: [{ip: {allow: [192.0.2.0/24]}}, {basic: {}}, {api_key: {}}]", told=told)
    x = shown(BASIC, key(KEY))
    assert await in_time(it, x) is None
    assert who(x) == "ann"
    for fields, client, expected in (
        ([BASIC], "192.0.2.1", "key-missing"),
        ([key(KEY)], "192.0.2.1", "login-missing"),
        ([BASIC, key("gp_wrong")], "192.0.2.1", "key-unknown"),
        ([BASIC, key(KEY)], "10.0.0.1", "address-not-allowed"),
        ([BASIC, key(BOB_KEY)], "192.0.2.1", "consumers-differ"),
    ):
        assert slug(await in_time(it, shown(*fields, client=client))) == expected
    assert told.notices[-1][2]["reason"] == "consumers-differ"


async def test_half_of_an_all_of_is_as_good_as_nothing() -> None:
    it = policy(f"any_of: [{{all_of: [{{{JWT}}}, {{api_key: {{query: key}}}}]}}, {{basic: {{}}}}, {{anonymous: {{}}}}]")
    x = shown(bearer("ann"), target="/?a=1")
    before = list(x.head.fields)
    assert await in_time(it, x) is None
    assert who(x) == ""
    assert (x.notes or {}).get(CLAIMS) is None
    assert x.head.fields == before
    x = shown(bearer("ann"), target=f"/?key={KEY}")
    assert await in_time(it, x) is None
    assert (who(x), x.query) == ("ann", b"")
    assert slug(await in_time(it, shown(bearer("ann", exp=1), key(KEY)))) == "token-expired"


# in the file


def test_what_may_stand_in_them_is_what_is_built() -> None:
    assert set(CredentialUse.__struct_fields__) | {"all_of"} == set(CREDENTIALS)
    assert set(CREDENTIALS) <= set(PolicyUse.__struct_fields__)


def test_a_body_is_waited_for_where_one_of_them_needs_it() -> None:
    assert policy("any_of: [{webhook_signature: {github: {secret: x}}}, {api_key: {}}]").needs_request_body
    assert not policy("any_of: [{ip: {deny: [10.0.0.1]}}, {api_key: {}}]").needs_request_body


def test_a_fault_names_its_place() -> None:
    with pytest.raises(SettingFault) as caught:
        policy("any_of: [{api_key: {}}, {all_of: [{ip: {deny: [10.0.0.1]}}, {mtls: {consumers: {a: [x]}}}]}]")
    assert caught.value.setting == "any_of[1].all_of[1].mtls.consumers.a"
    for bad in ("any_of: [{api_key: {}}]", "all_of: {}", "any_of: [{rate_limit: {limit: 1, window: 1s}}, {ip: {}}]"):
        with pytest.raises(ConfigError):
            policy(bad)
