from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import Told, at_once, challenge, context, in_time, slug

from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.policies.basic import BasicPolicy
from gatepost.config.secrets import Secret
from gatepost.exchange import Exchange
from gatepost.http1.messages import Fields
from gatepost.policies.basic import Basic, build
from gatepost.policies.logins import LONGEST_PASSWORD, Passwords, check_hash, hash_password, logins_of

PASSWORD = "correct horse: battery ✓"
HASH = hash_password(PASSWORD)
OTHER = hash_password("other")


def declared(username: str, phc: str = HASH, **more: Any) -> schema.Consumer:
    return schema.Consumer(basic=(schema.BasicLogin(username=username, argon2=Secret(phc)),), **more)


CONSUMERS = {"ann": declared("ann@shop"), "bob": declared("bob", OTHER, routes=("elsewhere",))}


def policy(*, ground: Any = None, **config: Any) -> Basic:
    return build(BasicPolicy(**config), ground or surroundings())


def surroundings(**more: Any) -> Any:
    return context(CONSUMERS, logins=logins_of(CONSUMERS), **more)


def login(name: str, password: str, scheme: bytes = b"Basic ") -> Fields:
    return [(b"authorization", scheme + base64.b64encode(f"{name}:{password}".encode()))]


def shown(fields: Fields) -> Exchange:
    return make_exchange("GET", "/", [(b"accept", b"*/*"), *fields])[0]


async def test_a_right_password_names_its_consumer_and_goes_no_further() -> None:
    x = shown(login("ann@shop", PASSWORD))
    assert await in_time(policy(), x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    assert x.head.fields == [(b"accept", b"*/*")]
    x = shown(login("ann@shop", PASSWORD, b"bAsIc "))
    assert await in_time(policy(forward=True), x) is None
    assert len(x.head.fields) == 2


async def test_the_second_time_is_a_look_up_until_it_is_forgotten() -> None:
    clock = ManualClock()
    ground = surroundings(clock=clock)
    it = policy(ground=ground, remember=60.0)
    assert await in_time(it, shown(login("ann@shop", PASSWORD))) is None
    assert at_once(it, shown(login("ann@shop", PASSWORD))) is None
    assert at_once(policy(ground=ground), shown(login("ann@shop", PASSWORD))) is None  # another route knows it too
    clock.advance(60)
    answer = it.on_request(shown(login("ann@shop", PASSWORD)))
    assert answer is not None
    assert await answer is None  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        login("ann@shop", "wrong"),
        login("ann@shop", ""),
        login("ann@shop", PASSWORD + " "),
        login("nobody", PASSWORD),
        login("", ""),
        login("bob", PASSWORD),
    ],
)
async def test_a_wrong_login_is_refused_and_looks_the_same_whoever_it_is(fields: Fields) -> None:
    told = Told()
    it = policy(ground=surroundings(told=told))
    refusal = await in_time(it, shown(fields))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, "login-wrong")
    assert challenge(refusal) == 'Basic realm="gatepost", charset="UTF-8"'
    assert [notice[2]["reason"] for notice in told.notices] == ["login-wrong"]
    assert PASSWORD not in str(told.notices)


async def test_an_unknown_name_costs_a_check_like_a_known_one() -> None:
    checked: list[str] = []

    class Counting(Passwords):
        async def match(self, password: bytes, phc: str) -> bool:
            checked.append(phc)
            return True  # even then

    ground = surroundings()
    passwords = ground.states.get("basic", Counting)
    it = policy(ground=ground)
    assert slug(await in_time(it, shown(login("nobody", PASSWORD)))) == "login-wrong"
    assert checked == [HASH]
    assert len(passwords.known) == 0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "login-missing"),
        ([(b"authorization", b"Bearer abc")], "login-missing"),
        (login("ann@shop", PASSWORD) * 2, "login-doubled"),
        ([(b"authorization", b"Basic")], "login-wrong"),
        ([(b"authorization", b"Basic !!!!")], "login-wrong"),
        ([(b"authorization", b"Basic YW5u")], "login-wrong"),  # no colon
        ([(b"authorization", b"Basic /zp4")], "login-wrong"),  # not UTF-8
        (login("ann@shop", "x" * (LONGEST_PASSWORD + 1)), "login-wrong"),
    ],
)
def test_what_is_no_login_costs_no_check(fields: Fields, expected: str) -> None:
    refusal = at_once(policy(), shown(fields))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, expected)


async def test_a_consumer_that_may_not_use_the_route_is_403() -> None:
    refusal = await in_time(policy(), shown(login("bob", "other")))
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (403, "consumer-not-allowed")


async def test_a_flood_of_checks_is_turned_away() -> None:
    held = asyncio.Event()

    class Slow(Passwords):
        async def match(self, password: bytes, phc: str) -> bool:
            self._waiting += 1
            try:
                await held.wait()
            finally:
                self._waiting -= 1
            return False

    ground = surroundings()
    passwords = ground.states.get("basic", Slow)
    it = policy(ground=ground)
    waiting = [asyncio.ensure_future(in_time(it, shown(login("ann@shop", str(n))))) for n in range(64)]
    await asyncio.sleep(0)
    assert passwords.busy
    for name in ("ann@shop", "nobody"):
        refusal = at_once(it, shown(login(name, "x")))
        assert refusal is not None
        assert (refusal.status, slug(refusal)) == (503, "logins-busy")
    held.set()
    assert {slug(each) for each in await asyncio.gather(*waiting)} == {"login-wrong"}


def test_a_changed_password_is_not_remembered() -> None:
    passwords = Passwords()
    assert passwords.digest(b"ann:x", HASH) != passwords.digest(b"ann:x", OTHER)
    assert passwords.digest(b"ann:x", HASH) != Passwords().digest(b"ann:x", HASH)  # a process's own key


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "hello",
        "$argon2i$v=19$m=19456,t=2,p=1$YWFhYWFhYWE$YWFh",
        "$2b$12$abc",
        "$argon2id$v=19$m=4,t=2,p=1$YWFhYWFhYWE$YWFh",  # less memory than Argon2 can do with
        "a" * 64,
    ],
)
def test_what_is_no_hash_is_refused_when_the_file_is_read(phc: str) -> None:
    with pytest.raises(ValueError, match="argon2"):
        check_hash(phc)


def test_a_user_name_is_one_s_own() -> None:
    with pytest.raises(ValueError, match="user name"):
        logins_of({"a": declared("same"), "b": declared("same")})
    with pytest.raises(ValueError, match="cannot hold"):
        declared("a:b")
