from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from tests.support.exchanges import make_exchange

from gatepost import model
from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.secrets import Secret
from gatepost.exchange import Exchange, Phase, Response
from gatepost.http1.messages import Fields
from gatepost.http1.request import HeadLimits, RequestParser
from gatepost.policies.api_key import LONGEST, ApiKey, build, new_key
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.stores.access import Access, StoredAccess

KEY, DIGEST = new_key()
OTHER, OTHER_DIGEST = new_key()


def declared(*digests: str, routes: tuple[str, ...] | None = None) -> schema.Consumer:
    keys = tuple(schema.ConsumerKey(sha256=Secret(digest)) for digest in digests)
    return schema.Consumer(keys=keys, routes=routes, metadata={"tier": "gold"})


CONSUMERS = Access({"web-shop": declared(DIGEST, routes=("create-order",)), "partner": declared(OTHER_DIGEST)})


def policy(route: str = "create-order", **config: Any) -> ApiKey:
    return build(ApiKeyPolicy(**config), PolicyContext(route, CONSUMERS, States()))


def ask(policy: ApiKey, fields: Fields, target: str = "/orders") -> tuple[Exchange, Response | None]:
    x, _ = make_exchange("POST", target, fields)
    return x, policy.on_request(x)


def slug(response: Response | None) -> str:
    assert response is not None
    return str(json.loads(response.body)["type"]).rpartition(":")[2]


def header(response: Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.fields if key == name), None)


def test_a_known_key_names_its_consumer() -> None:
    x, refusal = ask(policy(), [(b"x-api-key", KEY.encode())])
    assert refusal is None
    assert x.consumer is not None
    assert (x.consumer.id, x.consumer.metadata) == ("web-shop", {"tier": "gold"})


def test_a_consumer_is_known_before_it_is_limited() -> None:
    assert ApiKey.phase is Phase.IDENTIFY < Phase.LIMIT


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "key-missing"),
        ([(b"x-api-key", b"")], "key-unknown"),
        ([(b"x-api-key", b"gp_wrong")], "key-unknown"),
        ([(b"x-api-key", KEY.encode()[:-1])], "key-unknown"),
        ([(b"x-api-key", DIGEST.encode())], "key-unknown"),  # who reads the configuration has no key
        ([(b"x-api-key", b"\xff\xfe")], "key-unknown"),
        ([(b"authorization", b"Bearer " + KEY.encode())], "key-missing"),
        ([(b"x-api-key", KEY.encode()), (b"x-api-key", OTHER.encode())], "key-doubled"),
    ],
)
def test_without_one_known_key_the_answer_is_401_and_names_the_scheme(fields: Fields, expected: str) -> None:
    x, refusal = ask(policy(), fields)
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (401, expected)
    assert header(refusal, b"www-authenticate") == b'ApiKey realm="gatepost"'
    assert x.consumer is None
    assert KEY.encode() not in refusal.body


def test_a_key_of_another_route_is_403_and_the_record_knows_whose_it_was() -> None:
    x, refusal = ask(policy(route="refund"), [(b"x-api-key", KEY.encode())])
    assert refusal is not None
    assert (refusal.status, slug(refusal)) == (403, "key-not-allowed")
    assert x.consumer is not None
    assert x.consumer.id == "web-shop"


def test_a_consumer_without_routes_may_use_all() -> None:
    _, refusal = ask(policy(route="anything"), [(b"x-api-key", OTHER.encode())])
    assert refusal is None


def test_the_header_may_have_another_name() -> None:
    _, refusal = ask(policy(header="X-Shop-Token"), [(b"x-shop-token", KEY.encode())])
    assert refusal is None
    _, refusal = ask(policy(header="X-Shop-Token"), [(b"x-api-key", KEY.encode())])
    assert refusal is not None
    assert b"X-Shop-Token" in refusal.body, "it says where the key belongs"


def test_the_key_goes_no_further() -> None:
    fields = [(b"accept", b"*/*"), (b"x-api-key", KEY.encode()), (b"x-other", b"1")]
    x, _ = ask(policy(), fields)
    assert x.head.fields == [(b"accept", b"*/*"), (b"x-other", b"1")]

    x, refusal = ask(policy(query="key"), [], f"/orders?a=1&key={KEY}&b=%20")
    assert refusal is None
    assert x.query == b"a=1&b=%20"


def test_a_query_parameter_carries_a_key_only_where_the_file_says_so() -> None:
    _, refusal = ask(policy(), [], f"/orders?key={KEY}")
    assert slug(refusal) == "key-missing"
    _, refusal = ask(policy(query="key"), [], f"/orders?monkey={KEY}")
    assert slug(refusal) == "key-missing"
    _, refusal = ask(policy(query="key"), [(b"x-api-key", KEY.encode())], f"/orders?key={OTHER}")
    assert slug(refusal) == "key-doubled"
    _, refusal = ask(policy(query="key"), [], "/orders?key=" + "".join(f"%{byte:02x}" for byte in KEY.encode()))
    assert refusal is None, "escapes are read"


def test_a_cookie_carries_a_key_only_where_the_file_says_so_and_goes_no_further() -> None:
    cookies = [(b"cookie", b"theme=dark; key=" + KEY.encode() + b"; lang=de"), (b"accept", b"*/*")]
    _, refusal = ask(policy(), cookies)
    assert slug(refusal) == "key-missing"
    x, refusal = ask(policy(cookie="key"), cookies)
    assert refusal is None
    assert x.consumer is not None
    assert x.head.fields == [(b"cookie", b"theme=dark; lang=de"), (b"accept", b"*/*")]
    x, refusal = ask(policy(cookie="key"), [(b"cookie", b'key="' + KEY.encode() + b'"')])
    assert (refusal, x.head.fields) == (None, [])
    _, refusal = ask(policy(cookie="key"), [(b"cookie", b"monkey=" + KEY.encode())])
    assert slug(refusal) == "key-missing"
    assert refusal is not None
    assert b"the X-Api-Key header or the cookie key" in refusal.body


def test_a_key_in_a_cookie_and_another_one_are_two() -> None:
    header, cookie = (b"x-api-key", KEY.encode()), (b"cookie", b"key=" + OTHER.encode())
    for fields, target in (([header, cookie], "/"), ([cookie, cookie], "/"), ([cookie], f"/?key={KEY}")):
        _, refusal = ask(policy(cookie="key", query="key"), fields, target)
        assert slug(refusal) == "key-doubled"


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b"])
def test_a_cookie_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a cookie's name"):
        policy(cookie=name)


def test_what_is_too_long_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: bytes) -> Any:
        raise AssertionError("hashed")

    monkeypatch.setattr("gatepost.policies.api_key.sha256", never)
    _, refusal = ask(policy(), [(b"x-api-key", b"k" * (LONGEST + 1))])
    assert slug(refusal) == "key-unknown"


def test_a_header_with_a_meaning_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="Host has a meaning of its own"):
        policy(header="Host")


def test_two_consumers_cannot_have_one_key() -> None:
    with pytest.raises(ValueError, match=r"consumers\.b has a key that consumers\.a has too"):
        Access({"a": declared(DIGEST), "b": declared(DIGEST)})


def test_a_new_key_is_long_and_its_hash_is_what_the_file_wants() -> None:
    key, digest = new_key()
    assert key.startswith("gp_")
    assert len(key) == 46
    assert hashlib.sha256(key.encode()).hexdigest() == digest
    assert new_key()[0] != key


def repeated(
    parser: RequestParser, policy: ApiKey, target: bytes = b"/", key: str = KEY, method: bytes = b"GET"
) -> tuple[Exchange, str]:
    """One request of a kept connection; its consumer, or why it was refused."""
    x, _ = make_exchange()
    x.head = parser.parse(
        b"%b %b HTTP/1.1\r\nHost: a\r\nX-Api-Key: %b\r\nAccept: */*\r\n\r\n" % (method, target, key.encode())
    )
    x.query = x.head.query
    refusal = policy.on_request(x)
    if refusal is not None:
        return x, slug(refusal)
    assert x.consumer is not None
    return x, x.consumer.id


def test_a_repeated_head_is_let_in_again_and_its_key_ends_here_each_time() -> None:
    parser, first = RequestParser(HeadLimits()), policy()
    for target in (b"/", b"/", b"/other", b"/"):
        x, who = repeated(parser, first, target)
        assert (who, x.head.fields) == ("web-shop", [(b"accept", b"*/*")])


def test_what_one_policy_saw_is_nothing_to_another() -> None:
    parser = RequestParser(HeadLimits())
    assert repeated(parser, policy())[1] == "web-shop"
    assert repeated(parser, policy("list-orders"))[1] == "key-not-allowed"
    nobody = build(ApiKeyPolicy(), PolicyContext("create-order", Access(), States()))  # a reload took them out
    assert repeated(parser, nobody)[1] == "key-unknown"
    assert repeated(parser, policy())[1] == "web-shop"


def test_a_second_key_in_the_query_is_seen_although_the_first_was_good_before() -> None:
    parser, both = RequestParser(HeadLimits()), policy(query="api_key")
    assert repeated(parser, both)[1] == "web-shop"
    assert repeated(parser, both, b"/?api_key=%b" % OTHER.encode())[1] == "key-doubled"
    assert repeated(parser, both)[1] == "web-shop"


def test_a_refused_head_is_refused_again() -> None:
    parser, first = RequestParser(HeadLimits()), policy()
    assert [repeated(parser, first, key="wrong")[1] for _ in range(3)] == ["key-unknown"] * 3


def live() -> tuple[StoredAccess, Access, ManualClock, str, model.Key]:
    """A consumer of the store with a key that never expires."""
    stored, clock = StoredAccess(), ManualClock()
    key, digest = new_key()
    stored.put_consumer(model.Consumer(1, 1, "partner"))
    kept = model.Key(1, 1, bytes.fromhex(digest), key[:8])
    stored.put_key(kept)
    return stored, Access(stored=stored, now=clock.now), clock, key, kept


def test_a_change_is_seen_on_a_kept_connection_at_once() -> None:
    stored, access, _, key, kept = live()
    parser, one = RequestParser(HeadLimits()), build(ApiKeyPolicy(), PolicyContext("orders", access, States()))
    assert repeated(parser, one, key=key)[1] == "partner"
    stored.put_key(msgspec.structs.replace(kept, disabled=True))
    assert repeated(parser, one, key=key)[1] == "key-unknown"
    stored.put_key(kept)
    assert repeated(parser, one, key=key)[1] == "partner"
    stored.put_consumer(model.Consumer(1, 1, "partner", routes=frozenset({"reports"})))
    assert repeated(parser, one, key=key)[1] == "key-not-allowed"
    stored.drop_consumer(1)
    assert repeated(parser, one, key=key)[1] == "key-unknown"


def test_a_key_expires_on_a_kept_connection() -> None:
    stored, access, clock, key, kept = live()
    stored.put_key(msgspec.structs.replace(kept, expires=clock.now() + 10))
    parser, one = RequestParser(HeadLimits()), build(ApiKeyPolicy(), PolicyContext("orders", access, States()))
    for _ in range(2):
        assert repeated(parser, one, key=key)[1] == "partner"
    clock.advance(10)
    assert repeated(parser, one, key=key)[1] == "key-expired"
    stored.put_key(msgspec.structs.replace(kept, expires=clock.now() - 1, disabled=True))
    assert repeated(parser, one, key=key)[1] == "key-unknown", "who was shut out is told nothing"


def test_a_disabled_consumer_s_key_is_unknown_although_it_would_expire() -> None:
    stored, access, clock, key, kept = live()
    stored.put_key(msgspec.structs.replace(kept, expires=clock.now() + 10))
    stored.put_consumer(model.Consumer(1, 1, "partner", disabled=True))
    one = build(ApiKeyPolicy(), PolicyContext("orders", access, States()))
    assert repeated(RequestParser(HeadLimits()), one, key=key)[1] == "key-unknown"


def test_a_plan_opens_routes_and_methods_also_for_repeated_fields() -> None:
    stored, access, _, key, _ = live()
    stored.put_plan(model.Plan("read", routes=frozenset({"orders"}), methods=frozenset({"GET"})))
    stored.put_consumer(model.Consumer(1, 1, "partner", plans=("read",)))
    parser = RequestParser(HeadLimits())
    orders = build(ApiKeyPolicy(), PolicyContext("orders", access, States()))
    reports = build(ApiKeyPolicy(), PolicyContext("reports", access, States()))
    assert repeated(parser, orders, key=key)[1] == "partner"
    assert repeated(parser, orders, key=key, method=b"POST")[1] == "key-not-allowed"
    for _ in range(2):  # by now the connection knows these lines, and shares what was found in the fields
        assert repeated(parser, orders, key=key)[1] == "partner"
        assert repeated(parser, orders, key=key, method=b"POST")[1] == "key-not-allowed"
    assert repeated(parser, orders, key=key, method=b"HEAD")[1] == "partner"
    assert repeated(parser, reports, key=key)[1] == "key-not-allowed"
    stored.put_plan(model.Plan("read"))
    assert repeated(parser, reports, key=key, method=b"POST")[1] == "partner"


def test_what_was_shown_wrongly_is_told_without_the_key() -> None:
    told = []

    class Told:
        def tell(self, event_type: str, subject: str, facts: Any) -> None:
            told.append((event_type, facts["reason"]))
            assert "swordfish" not in str(facts) + subject

    one = build(ApiKeyPolicy(), PolicyContext("create-order", CONSUMERS, States(), Told()))
    ask(one, [(b"x-api-key", b"swordfish")])
    ask(one, [])
    assert told == [("auth.failed", "key-unknown")], "who shows no key has not failed"
