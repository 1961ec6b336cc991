from __future__ import annotations

import json
from typing import Any

from tests.support.exchanges import make_exchange

from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.exchange import Consumer, Exchange, Policy, Response
from gatepost.model import Plan
from gatepost.plans import Grant
from gatepost.policies import rate_limit
from gatepost.policies.base import PolicyContext
from gatepost.policies.concurrency import Concurrency, build
from gatepost.policies.states import States
from gatepost.stores.access import Access


def policy(states: States | None = None, route: str = "orders", **config: Any) -> Concurrency:
    return build(ConcurrencyPolicy(**({"limit": 2} | config)), PolicyContext(route, Access(), states or States()))


def begin(*policies: Policy, **known: Any) -> tuple[Exchange, Response | None]:
    x, _ = make_exchange("GET", "/orders", policies=policies, client=known.pop("client", "192.0.2.1"))
    for name, value in known.items():
        setattr(x, name, value)
    x.started = 1000.0
    refusal: Any = next((r for r in (step(x) for step in x.route.on_request) if r is not None), None)
    return x, refusal


def end(x: Exchange) -> None:
    for step in x.route.on_finish:
        step(x)


def test_over_the_limit_the_answer_is_429_until_one_has_ended() -> None:
    limit = policy()
    first, _ = begin(limit)
    assert begin(limit)[1] is None
    refused, refusal = begin(limit)
    assert refusal is not None
    assert refusal.status == 429
    assert json.loads(refusal.body)["type"] == "urn:gatepost:problem:too-many-in-flight"
    assert (b"retry-after", b"1") in refusal.fields
    end(refused)
    assert begin(limit)[1] is not None, "a refused one gives nothing back"
    end(first)
    assert begin(limit)[1] is None


def test_a_place_that_another_limit_refuses_is_not_taken() -> None:
    limit = policy(limit=1)
    rate = rate_limit.build(RateLimitPolicy(limit=1, window=60.0), PolicyContext("orders", Access(), States()))
    x, _ = begin(limit, rate)
    end(x)
    x, refusal = begin(limit, rate)
    assert refusal is not None
    assert b"rate-limited" in refusal.body
    end(x)
    assert begin(limit)[1] is None
    _, refusal = begin(limit)
    assert refusal is not None, "it holds one place, not none and not minus one"


def test_an_exchange_that_came_to_no_limit_gives_nothing_back() -> None:
    limit = policy(limit=1)
    begin(limit)
    x, _ = make_exchange(policies=(limit,))
    end(x)
    assert begin(limit)[1] is not None


def test_each_value_of_by_counts_for_itself_and_is_forgotten() -> None:
    limit = policy(limit=1)
    first, _ = begin(limit, client="192.0.2.1")
    second, refusal = begin(limit, client="192.0.2.2")
    assert refusal is None
    end(first)
    end(second)
    assert limit._own._counts == {}


def test_a_plan_s_number_is_over_all_routes() -> None:
    states = States()
    grant = Grant(("p",), {"p": Plan("p", concurrency=2)})
    one, other = (policy(states, route, plan=True, limit=1) for route in ("one", "other"))
    gold = Consumer("gold", grant=grant)
    x, _ = begin(one, consumer=gold)
    assert begin(other, consumer=gold)[1] is None
    assert begin(one, consumer=gold)[1] is not None
    end(x)
    assert begin(one, consumer=gold)[1] is None
    plain = Consumer("plain")
    assert begin(one, consumer=plain)[1] is None
    assert begin(one, consumer=plain)[1] is not None
    assert begin(one)[1] is None, "strangers by their address"


def test_a_reload_goes_on_counting_although_the_number_changes() -> None:
    states = States()
    old = policy(states, limit=2)
    x, _ = begin(old)
    new = policy(states, limit=1)
    assert begin(new)[1] is not None
    end(x)
    assert begin(new)[1] is None
