from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.exchanges import make_exchange
from tests.support.identity import (
    Answers,
    Told,
    at_once,
    b64url,
    challenge,
    context,
    ec_key,
    ed_key,
    in_time,
    jwk,
    pem,
    rsa_key,
    slug,
    token,
)

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.policies.jwt import JwtPolicy
from gatepost.config.secrets import Secret
from gatepost.errors import SignatureError
from gatepost.exchange import CLAIMS, Exchange, Response
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_expression
from gatepost.http1.messages import Fields
from gatepost.policies.base import SettingFault
from gatepost.policies.jwt import Jwt, build
from gatepost.signatures.jwks import key_set
from gatepost.signatures.jwt import LONGEST

SECRET = b"a-secret-of-at-least-sixty-four-bytes-so-that-it-serves-HS512-too"
RSA = rsa_key()
OTHER_RSA = rsa_key()
EC, EC384, EC521 = ec_key(), ec_key(ec.SECP384R1()), ec_key(ec.SECP521R1())
ED = ed_key()
NOW = ManualClock().now()
GOOD = {"sub": "ann", "exp": NOW + 60}
URL = "https://issuer.test/jwks"


def policy(*, ground: Any = None, **config: Any) -> Jwt:
    if not {"secrets", "public_keys", "jwks", "jwks_url"} & set(config):
        config["secrets"] = (Secret(SECRET.decode()),)
    return build(JwtPolicy(**{"algorithms": ("HS256",), **config}), ground or context())


def shown(value: bytes, *more: tuple[bytes, bytes]) -> Exchange:
    return make_exchange("GET", "/", [(b"authorization", b"Bearer " + value), *more])[0]


def ask(policy: Jwt, claims: Any, **header: Any) -> Response | None:
    return at_once(policy, shown(token(SECRET, "HS256", claims, **header)))


def public(key: Any) -> tuple[Secret, ...]:
    return (Secret(pem(key)),)


# Algorithms and keys.


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("HS256", SECRET), ("HS384", SECRET), ("HS512", SECRET)]
    + [(name, RSA) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")]
    + [("ES256", EC), ("ES384", EC384), ("ES512", EC521), ("EdDSA", ED)],
)
def test_each_algorithm_verifies_what_its_key_signed_and_nothing_else(algorithm: str, key: Any) -> None:
    for keys in (
        {"secrets": (Secret(key.decode()),)} if isinstance(key, bytes) else {"public_keys": public(key)},
        {"jwks": Secret(json.dumps({"keys": [jwk(key, kid="one", alg=algorithm, use="sig")]}))},
    ):
        it = policy(algorithms=(algorithm,), **keys)
        good = token(key, algorithm, GOOD, kid="one")
        assert at_once(it, shown(good)) is None
        signed, _, signature = good.rpartition(b".")
        for bad in (
            signed + b"." + signature[:-8] + b"AAAAAAAA",
            signed[:-4] + b"AAAA." + signature,
            signed + b"." + signature[:10],
            signed + b"." + signature + b"AAAA",
        ):
            assert slug(at_once(it, shown(bad))) == "token-invalid"


def test_an_unsigned_token_is_no_token() -> None:
    header = {"typ": "JWT"}
    for name in ("none", "None", "NONE", "nOnE", ""):
        unsigned = f"{b64url(json.dumps({**header, 'alg': name}).encode())}.{b64url(json.dumps(GOOD).encode())}."
        for signature in ("", "AA"):
            assert slug(at_once(policy(), shown(unsigned.encode() + signature.encode()))) == "token-invalid"


def test_a_public_key_is_never_the_secret_of_an_hmac() -> None:
    forged = [
        _forged_hmac(text)
        for text in (pem(RSA).encode(), pem(RSA).strip().encode(), RSA.public_key().public_numbers().n.to_bytes(256))
    ]
    for it in (
        policy(algorithms=("RS256",), public_keys=public(RSA)),
        policy(algorithms=("RS256", "HS256"), jwks=Secret(json.dumps({"keys": [jwk(RSA), jwk(b"x" * 64)]}))),
    ):
        for bad in forged:
            assert slug(at_once(it, shown(bad))) == "token-invalid"
    with pytest.raises(SettingFault, match=r"needs a secret, not a key pair|no key here is one of HS256"):
        policy(algorithms=("RS256", "HS256"), public_keys=public(RSA))
    with pytest.raises(SettingFault, match="a public key is known to everyone"):
        policy(secrets=public(RSA))
    with pytest.raises(SettingFault, match="keys of a URL are known to everyone"):
        policy(jwks_url=URL)


def _forged_hmac(secret: bytes) -> bytes:
    import hashlib
    import hmac

    signed = f"{b64url(json.dumps({'alg': 'HS256'}).encode())}.{b64url(json.dumps(GOOD).encode())}".encode()
    return signed + b"." + b64url(hmac.digest(secret, signed, hashlib.sha256)).encode()


def test_only_the_pinned_algorithms_count() -> None:
    it = policy(algorithms=("RS256",), public_keys=public(RSA))
    assert slug(at_once(it, shown(token(RSA, "RS512", GOOD)))) == "token-invalid"
    assert slug(at_once(it, shown(token(RSA, "PS256", GOOD)))) == "token-invalid"
    assert slug(at_once(it, shown(token(SECRET, "HS256", GOOD)))) == "token-invalid"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"secrets": (Secret("short"),)}, "at least 32 bytes"),
        ({"secrets": (Secret("x" * 32),), "algorithms": ("HS512",)}, "at least 64 bytes"),
        ({"algorithms": ("RS256",), "public_keys": public(rsa_key(1024))}, "2048 are the least"),
        ({"algorithms": ("ES256",), "public_keys": public(EC384)}, "on secp256r1"),
        ({"algorithms": ("ES256",), "public_keys": public(RSA)}, "elliptic curve key"),
        ({"algorithms": ("RS256", "ES256"), "public_keys": public(RSA)}, "no key here is one of ES256"),
        ({"algorithms": ("RS256",), "public_keys": (Secret("hello"),)}, "not a public key in PEM"),
        ({"algorithms": ("RS256",), "jwks": Secret("{}")}, "no key set"),
        ({"algorithms": ("RS256",), "jwks": Secret(json.dumps({"keys": [jwk(EC)]}))}, "no key in it can verify RS256"),
        ({"header": "Host"}, "meaning of its own"),
        ({"headers": {"Connection": "sub"}}, "meaning of its own"),
        ({"headers": {"authorization": "sub"}}, "carries the token"),
        ({"allow": "consumer.clams.x"}, "clams"),
        ({"scopes": ('a"b',)}, "no scope has"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_when_it_is_built(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingFault, match=reason):
        policy(**config)


def test_keys_come_from_exactly_one_place() -> None:
    for config in ({}, {"secrets": (Secret("x" * 32),), "jwks_url": URL}):
        with pytest.raises(ValueError, match="needs exactly one of"):
            JwtPolicy(algorithms=("HS256",), **config)


def test_a_secret_is_replaced_while_both_are_good() -> None:
    it = policy(secrets=(Secret("n" * 32), Secret(SECRET.decode())))
    assert ask(it, GOOD) is None
    assert at_once(it, shown(token(b"n" * 32, "HS256", GOOD))) is None
    assert slug(at_once(it, shown(token(b"m" * 32, "HS256", GOOD)))) == "token-invalid"


# The header of a token chooses among our keys, and nothing else.


@pytest.mark.parametrize(
    "key_id",
    ["../../dev/null", "/dev/null", "one' UNION SELECT 'x", "https://attacker.test/key", "", "one\0", "x" * 4000],
)
def test_a_key_id_is_compared_and_nothing_else(key_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = policy(jwks=Secret(json.dumps({"keys": [jwk(SECRET, kid="one")]})))
    monkeypatch.setattr("builtins.open", None)
    for secret in (b"", SECRET):
        assert slug(at_once(it, shown(_signed_with(secret, kid=key_id)))) == "token-invalid"
    assert at_once(it, shown(token(SECRET, "HS256", GOOD, kid="one"))) is None


def _signed_with(secret: bytes, **header: Any) -> bytes:
    import hashlib
    import hmac

    signed = f"{b64url(json.dumps({'alg': 'HS256', **header}).encode())}.{b64url(json.dumps(GOOD).encode())}".encode()
    return signed + b"." + b64url(hmac.digest(secret, signed, hashlib.sha256)).encode()


def test_keys_and_addresses_of_keys_in_a_token_are_not_looked_at() -> None:
    answers = Answers({"keys": [jwk(OTHER_RSA)]})
    it = policy(ground=context(fetcher=answers), algorithms=("RS256",), public_keys=public(RSA))
    header = {"jku": "https://attacker.test/", "x5u": "https://attacker.test/", "jwk": jwk(OTHER_RSA), "x5c": ["AAAA"]}
    assert slug(at_once(it, shown(token(OTHER_RSA, "RS256", GOOD, **header)))) == "token-invalid"
    assert at_once(it, shown(token(RSA, "RS256", GOOD, **header))) is None
    assert answers.asked == []


@pytest.mark.parametrize("header", [{"crit": ["x"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"kid": 1}])
def test_an_extension_that_is_not_known_is_refused(header: dict[str, Any]) -> None:
    assert slug(ask(policy(), GOOD, **header)) == "token-invalid"


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"a.b",
        b"a.b.c.d.e",  # an encrypted one
        b"....",
        b"e30.e30.",
        b"e30=.e30.AAAA",
        b"!!!.e30.AAAA",
        b"bnVsbA.e30.AAAA",
        b"W10.e30.AAAA",
        b"\xff.\xff.\xff",
        b"a" * (LONGEST + 1),
    ],
)
def test_what_is_no_token_is_refused_without_a_look_at_keys(text: bytes) -> None:
    assert slug(at_once(policy(), shown(text))) == "token-invalid"


def test_a_token_as_large_as_the_bound_allows_does_no_harm() -> None:
    deep = b'{"exp":' + b"[" * 6_000 + b"]" * 6_000 + b"}"
    assert slug(ask(policy(), deep)) == "token-invalid"
    huge = {**GOOD, "x": "y" * LONGEST}
    assert slug(ask(policy(), huge)) == "token-invalid"


def test_bits_behind_the_last_byte_make_no_second_spelling() -> None:
    good = token(SECRET, "HS256", GOOD)
    assert at_once(policy(), shown(good)) is None
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = good[:-1] + alphabet[alphabet.index(good[-1:]) ^ 1 :][:1]
    assert slug(at_once(policy(), shown(other))) == "token-invalid"


# Claims.


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW + 60}, ""),
        ({"exp": NOW - 29}, ""),  # within the skew
        ({"exp": NOW - 30}, "token-expired"),
        ({"exp": str(NOW + 60)}, "token-invalid"),
        ({"exp": True}, "token-invalid"),
        ({"exp": None}, "token-invalid"),
        ({}, "token-invalid"),  # `require` names exp
        ({"exp": NOW + 60, "nbf": NOW + 29}, ""),
        ({"exp": NOW + 60, "nbf": NOW + 31}, "token-invalid"),
        ({"exp": NOW + 60, "nbf": "now"}, "token-invalid"),
        ({"exp": NOW + 60, "iat": NOW - 1e6}, ""),
        ({"exp": NOW + 60, "iat": NOW + 31}, "token-invalid"),
        ({"exp": NOW + 60, "sub": 7}, "token-invalid"),
        (b'{"exp": 1, "exp": 99999999999}', "token-invalid"),  # of two readers each might take another
        (b'{"exp": 99999999999, "a": {"b": 1, "b": 2}}', "token-invalid"),
        (b'{"exp": Infinity}', "token-invalid"),
        (b'{"exp": 1e999}', ""),
        (b"[1]", "token-invalid"),
        (b"\xff\xfe", "token-invalid"),
        ({"exp": NOW + 60, "aud": "shop"}, "token-invalid"),  # RFC 7519 §4.1.3: it names somebody, and not us
    ],
)
def test_times_and_shapes(claims: Any, expected: str) -> None:
    assert slug(ask(policy(), claims)) == expected


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        ("shop", ""),
        (["x", "shop"], ""),
        ("x", "token-invalid"),
        ([], "token-invalid"),
        (["x"], "token-invalid"),
        ("", "token-invalid"),
        (7, "token-invalid"),
        ({"shop": 1}, "token-invalid"),
        (["shop", 7], "token-invalid"),
        (None, "token-invalid"),
        ("SHOP", "token-invalid"),
        ("shop2", "token-invalid"),
    ],
)
def test_the_audience_must_be_ours(audience: Any, expected: str) -> None:
    it = policy(audiences=("shop", "api"), issuers=("me",))
    assert slug(ask(it, {**GOOD, "iss": "me", "aud": audience})) == expected
    assert slug(ask(it, {**GOOD, "iss": "me"})) == "token-invalid"


@pytest.mark.parametrize("issuer", ["you", "", None, ["me"], {"me": 1}, "me/"])
def test_the_issuer_must_be_one_of_ours(issuer: Any) -> None:
    it = policy(issuers=("me", "them"))
    assert ask(it, {**GOOD, "iss": "me"}) is None
    assert slug(ask(it, {**GOOD, "iss": issuer})) == "token-invalid"


def test_required_claims() -> None:
    it = policy(require=("exp", "tenant"))
    assert slug(ask(it, GOOD)) == "token-invalid"
    assert ask(it, {**GOOD, "tenant": None}) is None
    assert ask(policy(require=()), {"sub": "ann"}) is None


# What the claims mean here.


def test_without_more_the_subject_is_the_caller_and_its_claims_are_there_for_expressions() -> None:
    x = shown(token(SECRET, "HS256", {**GOOD, "org": {"plan": "gold"}}))
    assert at_once(policy(), x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    program = compile_expression("consumer.claims.org.plan + '/' + consumer.id", variables=REQUEST_VARIABLES)
    assert program.evaluate(ExchangeEnvironment(x)) == "gold/ann"


def test_claims_are_none_where_no_token_was_shown() -> None:
    x = make_exchange()[0]
    program = compile_expression("has(consumer.claims.org)", variables=REQUEST_VARIABLES)
    assert program.evaluate(ExchangeEnvironment(x)) is False


@pytest.mark.parametrize(
    ("sub", "expected"),
    [("ann", ""), ("bob", "consumer-not-allowed"), ("eve", "consumer-unknown"), ("", "token-invalid")],
)
def test_a_claim_names_a_declared_consumer(sub: str, expected: str) -> None:
    it = policy(consumer="who.name")
    refusal = ask(it, {**GOOD, "who": {"name": sub}})
    assert slug(refusal) == expected
    if expected.startswith("consumer"):
        assert refusal is not None
        assert refusal.status == 403


def test_a_claim_names_a_plan() -> None:
    ground = context()
    ground.access.plans["gold"] = _plan("gold")
    ground.access.plans["narrow"] = _plan("narrow", routes=("elsewhere",))
    it = policy(ground=ground, plan="plan")
    x = shown(token(SECRET, "HS256", {**GOOD, "plan": ["gold", "unheard-of"]}))
    assert at_once(it, x) is None
    assert x.consumer is not None
    assert x.consumer.grant is not None
    assert x.consumer.grant.names == ("gold",)
    assert slug(ask(it, {**GOOD, "plan": "narrow"})) == "consumer-not-allowed"
    assert slug(ask(it, {**GOOD, "plan": "unheard-of"})) == "plan-unknown"
    assert slug(ask(it, GOOD)) == "plan-unknown"


def _plan(name: str, **more: Any) -> Any:
    from gatepost.stores.access import plan_of

    return plan_of(name, schema.Plan(**more))


@pytest.mark.parametrize(
    ("scope", "enough"),
    [("read write", True), (["write", "read"], True), ("read", False), ("readwrite", False), (7, False), ("", False)],
)
def test_scopes_as_a_text_or_a_list(scope: Any, enough: bool) -> None:
    refusal = ask(policy(scopes=("read", "write")), {**GOOD, "scope": scope})
    assert (refusal is None) == enough
    if refusal is not None:
        assert (refusal.status, slug(refusal)) == (403, "scope-missing")
        assert challenge(refusal) == 'Bearer realm="gatepost", error="insufficient_scope", scope="read write"'


def test_a_condition_over_the_claims() -> None:
    it = policy(allow="consumer.claims.role == 'admin' && request.method == 'GET'")
    assert ask(it, {**GOOD, "role": "admin"}) is None
    for claims in (GOOD, {**GOOD, "role": "user"}, {**GOOD, "role": 7}):
        refusal = ask(it, claims)
        assert refusal is not None
        assert (refusal.status, slug(refusal)) == (403, "claims-refused")


def test_claims_go_to_the_service_in_fields_that_no_client_can_forge() -> None:
    it = policy(headers={"X-User": "sub", "X-Org": "org.id", "X-Roles": "roles"})
    forged = [(b"x-user", b"root"), (b"x-org", b"1"), (b"x-other", b"1")]
    for _ in range(2):  # verified, then remembered
        x = shown(token(SECRET, "HS256", {**GOOD, "roles": ["a", "b"]}), *forged)
        shared = x.head.fields
        before = list(shared)
        assert at_once(it, x) is None
        assert x.head.fields[1:] == [(b"x-other", b"1"), (b"x-user", b"ann"), (b"x-roles", b'["a","b"]')]
        assert shared == before
    assert slug(ask(it, {**GOOD, "sub": "a\r\nx-admin: 1"})) == "token-invalid"
    assert slug(ask(it, {**GOOD, "sub": "a" * 5000})) == "token-invalid"


def test_the_token_goes_on_unless_the_file_says_otherwise() -> None:
    good = token(SECRET, "HS256", GOOD)
    x = shown(good)
    assert at_once(policy(), x) is None
    assert x.head.fields == [(b"authorization", b"Bearer " + good)]
    assert at_once(policy(forward=False), x) is None
    assert x.head.fields == []
    x = make_exchange("GET", "/", [(b"cookie", b"a=1; session=" + good + b"; b=2")])[0]
    assert at_once(policy(forward=False, cookie="session"), x) is None
    assert x.head.fields == [(b"cookie", b"a=1; b=2")]


# Where it is shown.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "token-missing"),
        ([(b"authorization", b"Basic YTpi")], "token-missing"),
        ([(b"authorization", b"Bearer")], "token-missing"),
        ([(b"authorization", b"Bearer ")], "token-missing"),
        ([(b"authorization", b"bearer TOKEN")], ""),
        ([(b"authorization", b"BEARER  TOKEN \t")], ""),
        ([(b"authorization", b"Bearer TOKEN"), (b"authorization", b"Bearer TOKEN")], "token-doubled"),
        ([(b"authorization", b"Bearer TOKEN"), (b"cookie", b"session=TOKEN")], "token-doubled"),
        ([(b"cookie", b"session=TOKEN; session=x")], "token-doubled"),
        ([(b"cookie", b"a=b; session=TOKEN")], ""),
        ([(b"cookie", b"xsession=TOKEN")], "token-missing"),
        ([(b"authorization", b"Bearer TOKEN x")], "token-invalid"),
    ],
)
def test_one_token_is_shown_in_the_right_place(fields: Fields, expected: str) -> None:
    good = token(SECRET, "HS256", GOOD)
    x = make_exchange("GET", "/", [(name, value.replace(b"TOKEN", good)) for name, value in fields])[0]
    refusal = at_once(policy(cookie="session"), x)
    assert slug(refusal) == expected
    if refusal is not None:
        assert refusal.status == 401
        # RFC 6750 §3.1: no error code where nothing was sent.
        error = {"token-missing": "", "token-doubled": "invalid_request", "token-invalid": "invalid_token"}[expected]
        assert challenge(refusal) == 'Bearer realm="gatepost"' + (f', error="{error}"' if error else "")
        assert good not in refusal.body


def test_a_field_of_its_own_carries_the_bare_token() -> None:
    good = token(SECRET, "HS256", GOOD)
    it = policy(header="X-Token")
    for value in (good, b"Bearer " + good):
        assert at_once(it, make_exchange("GET", "/", [(b"x-token", value)])[0]) is None
    assert slug(at_once(it, shown(good))) == "token-missing"


def test_a_refused_token_is_told_without_the_token() -> None:
    told = Told()
    it = policy(ground=context(told=told, route="orders"))
    at_once(it, make_exchange()[0])
    assert told.notices == []  # nothing was shown: nothing failed
    at_once(it, shown(b"a.b.c"))
    assert told.notices == [
        (
            "auth.failed",
            "route:orders policy:jwt",
            {"route": "orders", "policy": "jwt", "reason": "token-invalid", "client": "192.0.2.1"},
        )
    ]


# What is remembered.


def test_a_verified_token_is_a_look_up_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    it = policy(ground=context(clock=clock))
    good = token(SECRET, "HS256", GOOD)
    assert at_once(it, shown(good)) is None
    monkeypatch.setattr("gatepost.policies.jwt.parse", lambda _: 1 / 0)
    x = shown(good)
    assert at_once(it, x) is None
    assert x.consumer is not None
    assert x.notes is not None
    assert json.loads(str(bytes(x.notes[CLAIMS]), "ascii")) == GOOD  # type: ignore[call-overload]
    monkeypatch.undo()
    clock.advance(89)
    assert at_once(it, shown(good)) is None
    clock.advance(1)
    assert slug(at_once(it, shown(good))) == "token-expired"


def test_what_one_route_verified_counts_for_others_only_where_all_settings_are_the_same() -> None:
    ground = context()
    good = token(SECRET, "HS256", {**GOOD, "aud": "shop"})
    assert at_once(policy(ground=ground, audiences=("shop",)), shown(good)) is None
    assert slug(at_once(policy(ground=ground, audiences=("bank",)), shown(good))) == "token-invalid"
    assert slug(at_once(policy(ground=ground, audiences=("shop",), scopes=("a",)), shown(good))) == "scope-missing"


# Keys of a URL.


class Remote:
    """A policy whose keys come from a URL, and the levers around it."""

    def __init__(self, answer: Any, **config: Any) -> None:
        self.clock = ManualClock()
        self.answers = Answers(answer)
        self.ground = context(fetcher=self.answers, clock=self.clock)
        config = {"algorithms": ("RS256",), "jwks_url": URL, "require": (), **config}
        self.policy = policy(ground=self.ground, **config)

    async def ask(self, key: Any = RSA, **header: Any) -> str:
        claims = {"sub": "ann", "exp": NOW + 1e6}
        return slug(await in_time(self.policy, shown(token(key, "RS256", claims, **header))))

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def a_set(**keys: Any) -> dict[str, Any]:
    return {"keys": [jwk(key, kid=name, use="sig") for name, key in keys.items()]}


async def test_the_first_token_fetches_the_set_and_the_next_ones_do_not() -> None:
    remote = Remote(a_set(one=RSA))
    assert await remote.ask(kid="one") == ""
    assert await remote.ask(kid="one", again=1) == ""
    assert [(asked[0], asked[1]) for asked in remote.answers.asked] == [("GET", URL)]


async def test_those_who_wait_share_one_fetch_and_one_who_leaves_takes_nothing_from_the_others() -> None:
    remote = Remote(a_set(one=RSA))
    remote.answers.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(remote.ask(kid="one", n=n)) for n in range(5)]
    await remote.settled()
    waiting[0].cancel()
    await remote.settled()
    remote.answers.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [""] * 4
    assert len(remote.answers.asked) == 1


async def test_a_key_that_was_just_rotated_in_is_fetched_and_invented_ones_fetch_nothing() -> None:
    remote = Remote(a_set(one=RSA))
    assert await remote.ask(kid="one") == ""
    remote.answers.answer = a_set(one=RSA, two=OTHER_RSA)
    assert await remote.ask(OTHER_RSA, kid="two") == "token-invalid"  # the set is too young to ask again
    remote.clock.advance(30)
    assert await remote.ask(OTHER_RSA, kid="two") == ""
    for n in range(100):
        assert await remote.ask(kid=f"invented-{n}") == "token-invalid"
    assert len(remote.answers.asked) == 2


async def test_a_set_is_renewed_before_anybody_has_to_wait_for_it() -> None:
    remote = Remote(a_set(one=RSA), jwks_refresh=60.0)
    assert await remote.ask(kid="one") == ""
    remote.clock.advance(60)
    remote.answers.answer = a_set(two=OTHER_RSA)
    x = shown(token(RSA, "RS256", {"sub": "ann"}, kid="one"))
    assert at_once(remote.policy, x) is None  # with what is known, while the new set comes
    await remote.settled()
    assert len(remote.answers.asked) == 2
    assert await remote.ask(kid="one") == "token-invalid", "a key that is gone lives on in nothing"
    assert await remote.ask(OTHER_RSA, kid="two") == ""


async def test_the_last_set_serves_while_the_url_fails_and_then_none() -> None:
    remote = Remote(a_set(one=RSA), jwks_refresh=60.0, jwks_stale=600.0)
    assert await remote.ask(kid="one") == ""
    with log.recorded() as events:
        for failure in ("issuer.test: connection refused", 500, b"<html>", {"keys": []}):
            remote.clock.advance(60)
            remote.answers.answer = failure
            assert await remote.ask(kid="one") == ""
            await remote.settled()
    assert [(event["event"], event["kept"]) for event in events] == [("jwks_failed", True)] * 4
    remote.clock.advance(660)
    with log.recorded():
        assert await remote.ask(kid="one") == "keys-unavailable"  # an expired set: what it verified is forgotten too
    remote.answers.answer = a_set(one=RSA)
    assert await remote.ask(kid="one") == "keys-unavailable"  # not every request asks
    remote.clock.advance(5)
    assert await remote.ask(kid="one") == ""


async def test_without_keys_nobody_passes() -> None:
    remote = Remote("issuer.test: connection refused")
    with log.recorded():
        response = await in_time(remote.policy, shown(token(RSA, "RS256", {"sub": "ann"})))
    assert response is not None
    assert (response.status, slug(response)) == (503, "keys-unavailable")
    assert (b"retry-after", b"1") in response.fields


async def test_an_algorithm_that_does_not_count_fetches_nothing() -> None:
    remote = Remote(a_set(one=RSA))
    for algorithm, key in (("HS256", SECRET), ("RS512", RSA), ("ES256", EC)):
        assert slug(at_once(remote.policy, shown(token(key, algorithm, GOOD, kid="one")))) == "token-invalid"
    assert remote.answers.asked == []


async def test_a_secret_in_a_public_set_is_none() -> None:
    with pytest.raises(SignatureError, match="no key in it"):
        key_set(json.dumps({"keys": [jwk(SECRET)]}).encode(), ["HS256"])
    remote = Remote({"keys": [jwk(SECRET, kid="one"), jwk(RSA, kid="one")]})
    assert await remote.ask(kid="one") == ""
    forged = _signed_with(SECRET, kid="one")
    assert slug(await in_time(remote.policy, shown(forged))) == "token-invalid"


@pytest.mark.parametrize(
    "more", [{"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["sign"]}, {"kid": 7}, {"n": "!"}, {"kty": "EC"}, {"n": 7}]
)
async def test_keys_for_something_else_are_left_out(more: dict[str, Any]) -> None:
    remote = Remote({"keys": [{**jwk(RSA, kid="one"), **more}, jwk(OTHER_RSA, kid="two"), 7]})
    assert await remote.ask(kid="one") == "token-invalid"
    assert await remote.ask(OTHER_RSA, kid="two") == ""
