from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.exchanges import make_exchange

from gatepost.clock import ManualClock
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.exchange import Consumer, Exchange, Response
from gatepost.http1.messages import Fields
from gatepost.model import Plan, Rate
from gatepost.plans import Grant
from gatepost.policies import check_together
from gatepost.policies.base import PolicyContext
from gatepost.policies.limiters import Gcra, SlidingBuckets, SlidingLog
from gatepost.policies.rate_limit import RateLimit, build, limiter_for
from gatepost.policies.states import States
from gatepost.stores.access import Access


def policy(states: States | None = None, route: str = "create-order", **config: Any) -> RateLimit:
    use = RateLimitPolicy(**({"limit": 2, "window": 60.0} | config))
    return build(use, PolicyContext(route, Access(), states or States()))


def ask(limits: list[RateLimit], clock: ManualClock, fields: Fields | None = None, **known: Any) -> tuple[Any, Any]:
    """One exchange through a route with these policies, as the server runs it."""
    client = known.pop("client", "192.0.2.1")
    x, _ = make_exchange("GET", "/orders?tenant=t1", fields, policies=tuple(limits), client=client)
    for name, value in known.items():
        setattr(x, name, value)
    x.started = clock.monotonic()
    refusal = next((r for r in (step(x) for step in x.route.on_request) if r is not None), None)
    if refusal is not None:
        x.status, x.response_fields = refusal.status, refusal.fields
    for step in x.route.on_response:
        step(x)
    return x, refusal


def field(x: Exchange, name: bytes) -> list[bytes]:
    return [value for key, value in x.response_fields if key == name]


def test_over_the_limit_the_answer_is_429_and_says_when_to_come_back() -> None:
    clock, limit = ManualClock(), policy()
    for _ in range(2):
        _, refusal = ask([limit], clock)
        assert refusal is None
        clock.advance(10.5)
    x, refusal = ask([limit], clock)
    assert isinstance(refusal, Response)
    assert refusal.status == 429
    assert json.loads(refusal.body) == {
        "type": "urn:gatepost:problem:rate-limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "The limit is 2 requests in 60 s. Try again in 39 s.",
        "request_id": "req-1",
    }
    assert field(x, b"retry-after") == [b"39"]
    clock.advance(39)
    _, refusal = ask([limit], clock)
    assert refusal is None, "who waits as long as told gets in"


def test_every_answer_says_where_the_caller_stands() -> None:
    clock, limit = ManualClock(), policy(name="per-client")
    seen = []
    for _ in range(3):
        x, _ = ask([limit], clock)
        assert field(x, b"ratelimit-policy") == [b'"per-client";q=2;w=60']
        seen += field(x, b"ratelimit")
        clock.advance(1)
    assert seen == [b'"per-client";r=1;t=60', b'"per-client";r=0;t=59', b'"per-client";r=0;t=58']


def test_what_the_upstream_says_of_its_own_limits_stays() -> None:
    clock, limit = ManualClock(), policy()
    x, _ = ask([limit], clock, response_fields=(upstream := [(b"ratelimit", b'"orders";r=7;t=1')]))
    assert field(x, b"ratelimit") == [b'"orders";r=7;t=1', b'"default";r=1;t=60']
    assert len(upstream) == 1, "a list that is not ours is not changed"


def test_a_request_that_one_limit_refuses_costs_nothing_with_the_others() -> None:
    clock = ManualClock()
    wide, narrow = policy(limit=10, name="wide"), policy(limit=1, name="narrow")
    for _ in range(5):
        ask([wide, narrow], clock)
    x, _ = ask([wide], clock)
    assert field(x, b"ratelimit") == [b'"wide";r=8;t=60']


def test_a_refusal_before_the_limit_is_reached_tells_only_the_policy() -> None:
    x, _ = make_exchange(policies=(policy(), policy(name="other", limit=5)))
    for _ in range(2):  # what is told of a limit is shared by exchanges
        x.response_fields = []
        for step in x.route.on_response:
            step(x)
        assert field(x, b"ratelimit-policy") == [b'"default";q=2;w=60', b'"other";q=5;w=60']
        assert field(x, b"ratelimit") == []


@pytest.mark.parametrize(
    ("by", "one", "other"),
    [
        ("client.address", {"client": "192.0.2.1"}, {"client": "192.0.2.2"}),
        ("consumer.id", {"consumer": Consumer("a")}, {"consumer": Consumer("b")}),
        ("request.headers['x-tenant']", {"fields": [(b"x-tenant", b"a")]}, {"fields": [(b"x-tenant", b"b")]}),
        (
            "consumer.id + '/' + request.headers['x-tenant']",
            {"consumer": Consumer("a"), "fields": [(b"x-tenant", b"1")]},
            {"consumer": Consumer("a"), "fields": [(b"x-tenant", b"2")]},
        ),
    ],
)
def test_any_expression_says_whom_a_request_counts_for(by: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    clock, limit = ManualClock(), policy(limit=1, by=by)
    assert ask([limit], clock, **one)[1] is None
    assert ask([limit], clock, **other)[1] is None
    assert ask([limit], clock, **one)[1] is not None


def test_requests_without_a_value_to_count_by_share_one_count() -> None:
    clock, limit = ManualClock(), policy(limit=1, by="request.headers['x-tenant']")
    assert ask([limit], clock, client="192.0.2.1")[1] is None
    assert ask([limit], clock, client="192.0.2.2")[1] is not None


def test_a_wrong_expression_is_told_when_the_policy_is_built() -> None:
    with pytest.raises(ValueError, match="by: "):
        policy(by="consumer.nme")
    with pytest.raises(ValueError, match="by: "):
        policy(by="response.status")


def test_the_body_is_waited_for_where_it_is_what_counts() -> None:
    assert policy(by="request.body.tenant").needs_request_body
    assert not policy(by="consumer.id").needs_request_body


def test_a_reload_goes_on_counting_where_the_definition_stays() -> None:
    clock, states = ManualClock(), States()
    before = policy(states, limit=1)
    ask([before], clock)
    assert ask([policy(states, limit=1)], clock)[1] is not None
    assert ask([policy(states, limit=1, name="other")], clock)[1] is None
    assert ask([policy(states, limit=1, route="other")], clock)[1] is None
    assert ask([policy(states, limit=2)], clock)[1] is None


def test_the_algorithm_follows_the_file() -> None:
    def of(**config: Any) -> Any:
        return limiter_for(RateLimitPolicy(window=60.0, **config))

    assert isinstance(of(limit=1024), SlidingLog)
    assert isinstance(of(limit=1025), SlidingBuckets)
    assert isinstance(of(limit=5, algorithm="gcra"), Gcra)


def test_gcra_lets_a_burst_pass_and_then_the_rate() -> None:
    clock, limit = ManualClock(), policy(limit=60, algorithm="gcra", burst=3)
    answers = [ask([limit], clock)[1] is None for _ in range(4)]
    assert answers == [True, True, True, False]
    clock.advance(1)
    assert ask([limit], clock)[1] is None


def test_two_limits_of_a_route_need_two_names() -> None:
    def use(name: str) -> PolicyUse:
        return PolicyUse(rate_limit=RateLimitPolicy(limit=1, window=1.0, name=name))

    check_together([use("a"), use("b")])
    with pytest.raises(ValueError, match="two rate limits of one route are named a"):
        check_together([use("a"), use("a")])


def test_a_fixed_window_begins_with_the_first_request() -> None:
    clock, limit = ManualClock(), policy(algorithm="fixed")
    ask([limit], clock)
    clock.advance(50)
    x, _ = ask([limit], clock)
    assert field(x, b"ratelimit") == [b'"default";r=0;t=10']
    x, refusal = ask([limit], clock)
    assert refusal is not None
    assert field(x, b"retry-after") == [b"10"]
    clock.advance(10)
    assert [ask([limit], clock)[1] is None for _ in range(3)] == [True, True, False], "as its chapter says"


def test_routes_count_together_where_they_say_so() -> None:
    clock, states = ManualClock(), States()
    one, other = (policy(states, route, limit=1, shared=True) for route in ("one", "other"))
    assert ask([one], clock)[1] is None
    assert ask([other], clock)[1] is not None


def planned(*rates: tuple[int, float], name: str = "default") -> Consumer:
    plans = {str(n): Plan(str(n), rates={name: Rate(*rate)}) for n, rate in enumerate(rates)}
    return Consumer("gold", grant=Grant(tuple(plans), plans))


def test_the_wider_of_a_consumer_s_plans_says_how_much() -> None:
    clock, limit = ManualClock(), policy(plan=True)
    gold = planned((3, 60.0), (4, 60.0))
    for left in (3, 2, 1, 0):
        x, refusal = ask([limit], clock, consumer=gold)
        assert refusal is None
        assert field(x, b"ratelimit-policy") == [b'"default";q=4;w=60']
        assert field(x, b"ratelimit") == [b'"default";r=%d;t=60' % left]
    x, refusal = ask([limit], clock, consumer=gold)
    assert isinstance(refusal, Response)
    assert b"The limit is 4 requests in 60 s." in refusal.body
    assert field(x, b"ratelimit") == [b'"default";r=0;t=60']


def test_who_has_no_plan_has_the_policy_s_own_numbers() -> None:
    clock, limit = ManualClock(), policy(plan=True, limit=1)
    for known in ({"consumer": Consumer("plain")}, {"consumer": planned((9, 1.0), name="other")}, {}):
        x, refusal = ask([limit], clock, **known)
        assert refusal is None
        assert field(x, b"ratelimit-policy") == [b'"default";q=1;w=60']
        assert ask([limit], clock, **known)[1] is not None


def test_a_plan_s_count_is_over_all_routes_and_reloads_and_renewed_plans() -> None:
    clock, states = ManualClock(), States()
    one, other = (policy(states, route, plan=True, limit=1) for route in ("one", "other"))
    assert ask([one], clock, consumer=planned((2, 60.0)))[1] is None
    assert ask([other], clock, consumer=planned((2, 60.0)))[1] is None
    reloaded = policy(states, "one", plan=True, limit=1)
    del one, other
    assert ask([reloaded], clock, consumer=planned((2, 60.0)))[1] is not None
    assert ask([reloaded], clock, consumer=planned((3, 60.0)))[1] is None, "new numbers begin anew"


def test_plans_and_plain_limits_are_checked_together() -> None:
    clock = ManualClock()
    plan, narrow = policy(plan=True), policy(limit=1, name="narrow", by="client.address")
    gold = planned((5, 60.0))
    for _ in range(3):
        x, _ = ask([plan, narrow], clock, consumer=gold)
    assert field(x, b"ratelimit") == [b'"narrow";r=0;t=60'], "of the other nothing was counted"
    x, _ = ask([plan], clock, consumer=gold)
    assert field(x, b"ratelimit") == [b'"default";r=3;t=60']


def test_a_refusal_is_told_without_what_was_counted_by() -> None:
    told = []

    class Told:
        def tell(self, event_type: str, subject: str, facts: Any) -> None:
            told.append((event_type, subject, facts))

    use = RateLimitPolicy(limit=1, window=60.0, by="request.headers['x-api-key']")
    limit, clock = build(use, PolicyContext("orders", Access(), States(), Told())), ManualClock()
    for _ in range(2):
        ask([limit], clock, [(b"x-api-key", b"swordfish")])
    facts = {"route": "orders", "limit": "default", "consumer": "", "client": "192.0.2.1"}
    assert told == [("rate_limit.exceeded", "route:orders limit:default client:192.0.2.1", facts)]
