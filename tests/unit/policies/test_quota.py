from __future__ import annotations

import json
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.exchanges import make_exchange

from gatepost.clock import ManualClock
from gatepost.config.policies.quota import QuotaPolicy
from gatepost.errors import StoreUnavailable
from gatepost.exchange import Consumer, Exchange, Policy, Response
from gatepost.model import Allotment, Plan
from gatepost.notices import Facts
from gatepost.plans import Grant
from gatepost.policies.base import PolicyContext
from gatepost.policies.periods import Day, Month, Rolling
from gatepost.policies.quota import Quota, build
from gatepost.policies.quota_counts import QuotaBook
from gatepost.policies.states import States
from gatepost.stores.access import Access
from gatepost.stores.base import QuotaCount
from gatepost.stores.sqlite import SqliteStore


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Told:
    def __init__(self) -> None:
        self.notices: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.notices.append((event_type, subject, facts))


class Gateway:
    """The surroundings of quotas, over restarts."""

    def __init__(self, now: str = "2026-11-22T12:00:00") -> None:
        self.clock = ManualClock(at(now))
        self.book = QuotaBook()
        self.told = Told()

    def policy(self, route: str = "orders", **config: Any) -> Quota:
        use = QuotaPolicy(**({"limit": 2, "period": "day"} | config))
        context = PolicyContext(route, Access(), States(), notices=self.told, clock=self.clock, quotas=self.book)
        return build(use, context)

    def ask(self, *policies: Policy, route: str = "orders", **known: Any) -> tuple[Exchange, Response | None]:
        x, _ = make_exchange("GET", "/orders", known.pop("fields", None), policies=policies, route=route)
        for name, value in known.items():
            setattr(x, name, value)
        x.started = self.clock.monotonic()
        refusal: Any = next((r for r in (step(x) for step in x.route.on_request) if r is not None), None)
        if refusal is not None:
            x.status, x.response_fields = refusal.status, refusal.fields
        for step in x.route.on_response:
            step(x)
        return x, refusal

    async def restart(self, store: SqliteStore) -> None:
        await self.book.flush(store, self.clock.now())
        self.book = QuotaBook(await store.quota_counts())


def field(x: Exchange, name: bytes) -> list[bytes]:
    return [value for key, value in x.response_fields if key == name]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_over_the_quota_the_answer_is_429_until_the_day_is_over(gateway: Gateway) -> None:
    quota = gateway.policy()
    assert [gateway.ask(quota)[1] for _ in range(2)] == [None, None]
    x, refusal = gateway.ask(quota)
    assert refusal is not None
    assert refusal.status == 429
    assert json.loads(refusal.body) == {
        "type": "urn:gatepost:problem:quota-exceeded",
        "title": "The quota is used up",
        "status": 429,
        "detail": "The quota is 2 requests in a day (UTC). Try again in 43200 s.",
        "request_id": "req-1",
    }
    assert field(x, b"retry-after") == [b"43200"]
    gateway.clock.advance(43_199.5)
    assert gateway.ask(quota)[1] is not None
    gateway.clock.advance(0.5)
    assert gateway.ask(quota)[1] is None


def test_every_answer_says_what_is_left(gateway: Gateway) -> None:
    quota = gateway.policy(name="daily")
    seen = []
    for _ in range(3):
        x, _ = gateway.ask(quota)
        assert field(x, b"ratelimit-policy") == [b'"daily";q=2;w=86400']
        seen += field(x, b"ratelimit")
    assert seen == [b'"daily";r=1;t=43200', b'"daily";r=0;t=43200', b'"daily";r=0;t=43200']


def test_a_month_is_as_long_as_it_is() -> None:
    gateway = Gateway("2028-02-28T23:00:00")
    quota = gateway.policy(period="month", limit=1)
    x, _ = gateway.ask(quota)
    assert field(x, b"ratelimit-policy") == [b'"quota";q=1;w=%d' % (29 * 86_400)]
    x, refusal = gateway.ask(quota)
    assert refusal is not None
    assert field(x, b"retry-after") == [b"%d" % (25 * 3600)]
    gateway.clock.advance(25 * 3600)
    assert gateway.ask(quota)[1] is None


def test_a_rolling_period_has_no_edge(gateway: Gateway) -> None:
    quota = gateway.policy(period="1h", limit=2)
    gateway.ask(quota)
    gateway.clock.advance(1800)
    gateway.ask(quota)
    x, refusal = gateway.ask(quota)
    assert refusal is not None
    wait = int(field(x, b"retry-after")[0])
    assert 1800 <= wait <= 1800 + 3600 / 128 + 1
    gateway.clock.advance(wait)
    assert gateway.ask(quota)[1] is None
    assert gateway.ask(quota)[1] is not None, "the second one still counts"


def test_each_value_of_by_counts_for_itself(gateway: Gateway) -> None:
    quota = gateway.policy(limit=1, by="request.headers['x-tenant']")
    assert gateway.ask(quota, fields=[(b"x-tenant", b"a")])[1] is None
    assert gateway.ask(quota, fields=[(b"x-tenant", b"b")])[1] is None
    assert gateway.ask(quota, fields=[(b"x-tenant", b"a")])[1] is not None


def test_a_request_that_one_limit_refuses_costs_nothing_with_the_others(gateway: Gateway) -> None:
    wide, narrow = gateway.policy(limit=10, name="wide"), gateway.policy(limit=1, name="narrow")
    for _ in range(5):
        gateway.ask(wide, narrow)
    x, _ = gateway.ask(wide)
    assert field(x, b"ratelimit") == [b'"wide";r=8;t=43200']


def test_routes_count_together_where_they_say_so(gateway: Gateway) -> None:
    one, other = (gateway.policy(route, limit=1) for route in ("one", "other"))
    assert (gateway.ask(one)[1], gateway.ask(other)[1]) == (None, None)
    one, other = (gateway.policy(route, limit=1, shared=True) for route in ("one", "other"))
    assert gateway.ask(one)[1] is None
    assert gateway.ask(other)[1] is not None


def test_a_raised_quota_goes_on_where_it_was(gateway: Gateway) -> None:
    gateway.ask(gateway.policy(limit=1))
    x, refusal = gateway.ask(gateway.policy(limit=5))
    assert refusal is None
    assert field(x, b"ratelimit") == [b'"quota";r=3;t=43200']


def test_a_plan_s_numbers_are_a_consumer_s_whatever_the_route(gateway: Gateway) -> None:
    grant = Grant(("gold",), {"gold": Plan("gold", quotas={"quota": Allotment(3, "day")})})
    one, other = (gateway.policy(route, plan=True, limit=1) for route in ("one", "other"))
    gold, plain = Consumer("gold", grant=grant), Consumer("plain")
    assert [gateway.ask(p, route=r, consumer=gold)[1] is None for p, r in ((one, "one"), (other, "other"))] == [
        True,
        True,
    ]
    x, refusal = gateway.ask(one, route="one", consumer=gold)
    assert refusal is None
    assert field(x, b"ratelimit-policy") == [b'"quota";q=3;w=86400']
    assert field(x, b"ratelimit") == [b'"quota";r=0;t=43200']
    assert gateway.ask(other, route="other", consumer=gold)[1] is not None
    assert gateway.ask(one, route="one", consumer=plain)[1] is None, "the policy's own numbers"
    assert gateway.ask(one, route="one", consumer=plain)[1] is not None


def test_a_changed_plan_goes_on_counting(gateway: Gateway) -> None:
    def consumer(limit: int) -> Consumer:
        return Consumer("a", grant=Grant(("p",), {"p": Plan("p", quotas={"quota": Allotment(limit, "day")})}))

    quota = gateway.policy(plan=True)
    gateway.ask(quota, consumer=consumer(1))
    assert gateway.ask(quota, consumer=consumer(1))[1] is not None
    assert gateway.ask(quota, consumer=consumer(2))[1] is None
    assert gateway.ask(quota, consumer=consumer(2))[1] is not None


# notices


def test_a_threshold_is_told_once_in_a_period(gateway: Gateway) -> None:
    quota = gateway.policy(limit=5, thresholds=(80, 100, 50))
    for _ in range(2):
        for _ in range(8):
            gateway.ask(quota, consumer=Consumer("web-shop"))
        told = [(event, facts.get("percent"), facts.get("used")) for event, _, facts in gateway.told.notices]
        assert told == [
            ("quota.threshold", 50, 3),
            ("quota.threshold", 80, 4),
            ("quota.threshold", 100, 5),
            *[("quota.exceeded", None, None)] * 3,
        ]
        gateway.told.notices.clear()
        gateway.clock.advance(86_400)


def test_a_rolling_period_s_threshold_is_told_once_in_its_length(gateway: Gateway) -> None:
    quota = gateway.policy(limit=2, period="1h", thresholds=(100,))
    told = []
    for _ in range(6):  # the count sinks and rises again, within the hour and after it
        gateway.ask(quota)
        gateway.clock.advance(1780)
        told.append(len([event for event, _, _ in gateway.told.notices if event == "quota.threshold"]))
    assert told[1] == 1
    assert told[-1] <= 3


def test_a_notice_names_who_it_was_and_not_what_was_counted_by(gateway: Gateway) -> None:
    quota = gateway.policy(limit=1, by="request.headers['x-api-key']")
    for _ in range(2):
        gateway.ask(quota, fields=[(b"x-api-key", b"swordfish")], consumer=Consumer("web-shop"))
    (_, _, _), (event, subject, facts) = gateway.told.notices
    assert event == "quota.exceeded"
    assert subject == "route:orders limit:quota consumer:web-shop"
    assert facts == {"route": "orders", "limit": "quota", "consumer": "web-shop", "client": "192.0.2.1", "quota": 1}
    assert "swordfish" not in str(gateway.told.notices)


# over restarts


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    store = SqliteStore(str(tmp_path / "store.db"), clock=ManualClock(at("2026-11-22T12:00:00")))
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("period", ["day", "month", "30d"])
async def test_counts_go_on_after_a_restart(gateway: Gateway, store: SqliteStore, period: str) -> None:
    for _ in range(2):
        gateway.ask(gateway.policy(period=period, limit=3))
    await gateway.restart(store)
    quota = gateway.policy(period=period, limit=3)
    assert gateway.ask(quota)[1] is None
    assert gateway.ask(quota)[1] is not None
    assert not gateway.told.notices[0][0].endswith("exceeded")
    assert [event for event, _, _ in gateway.told.notices] == ["quota.threshold", "quota.exceeded"]


async def test_only_what_changed_is_written_and_what_failed_is_written_again(store: SqliteStore) -> None:
    gateway = Gateway()
    quota = gateway.policy(by="request.headers['x-tenant']")
    written: list[list[str]] = []

    class Disk:
        full = False

        async def put_quota_counts(self, counts: list[QuotaCount]) -> None:
            if self.full:
                raise StoreUnavailable("disk full")
            written.append(sorted(count.key for count in counts))

    disk: Any = Disk()
    for tenant in (b"a", b"b"):
        gateway.ask(quota, fields=[(b"x-tenant", tenant)])
    disk.full = True
    with pytest.raises(StoreUnavailable):
        await gateway.book.flush(disk, gateway.clock.now())
    disk.full = False
    await gateway.book.flush(disk, gateway.clock.now())
    gateway.ask(quota, fields=[(b"x-tenant", b"b")])
    await gateway.book.flush(disk, gateway.clock.now())
    await gateway.book.flush(disk, gateway.clock.now())
    assert written == [["a", "b"], ["b"]]


def test_a_flood_of_invented_keys_is_bounded_and_reaches_nobody_else() -> None:
    book = QuotaBook()
    counts = book.counts("s", "day")
    counts._max_keys = 100
    now = at("2026-11-22T12:00:00")
    counts.take("known", 5, now)
    for number in range(2_000):
        counts.take(f"invented {number}", 5_000, now)
    assert len(counts._counts) <= 100 + 1_024
    assert counts.used("known", now) == 1
    assert counts.used("another", now) >= 0
    counts.forget(now + 86_400)
    assert len(counts._counts) == 0


# periods

walks = st.lists(st.floats(0, 50_000), min_size=1, max_size=40)


@given(st.sampled_from(["day", "month"]), st.integers(0, 2_000_000_000), walks)
def test_a_calendar_counts_what_came_in_its_present_period(period: str, start: int, walk: list[float]) -> None:
    meter = Month() if period == "month" else Day()
    form = "%Y-%m" if period == "month" else "%Y-%m-%d"
    now, times = float(start), [float(start)]
    count = meter.start(now)
    for step in walk:
        now += step
        meter.spend(count, 1_000, now)
        times.append(now)

        def name(moment: float) -> str:
            return datetime.fromtimestamp(moment, UTC).strftime(form)

        assert meter.used(count, now) == sum(name(t) == name(now) for t in times)
        renews = meter.renews(count, now)
        assert name(now + renews - 0.01) == name(now) != name(now + renews + 0.01)
        assert meter.ends(count) == pytest.approx(now + renews)


@given(st.integers(1, 5), st.floats(1_700_000_000, 1_800_000_000), st.lists(st.floats(0, 5_000), max_size=50))
def test_a_rolling_period_never_holds_more_than_the_limit(limit: int, start: float, walk: list[float]) -> None:
    meter, now, admitted = Rolling(3600.0), start, []
    count: array[int] | None = None
    for step in walk:
        now += step
        if count is None:
            count = meter.start(now)
            admitted.append(now)
        elif meter.spend(count, limit, now) > 0:
            admitted.append(now)
    for first, beyond in zip(admitted, admitted[limit:], strict=False):
        assert beyond - first >= 3600.0


def test_a_clock_that_goes_back_gives_nothing_back() -> None:
    for meter in (Day(), Month(), Rolling(86_400.0)):
        now = at("2026-12-01T00:00:01")
        count = meter.start(now)
        assert meter.spend(count, 5, now - 10) == 2
        assert meter.spend(count, 2, now - 10) == -1
        assert meter.used(count, now - 10) == 2
        assert meter.used(count, now) == 2
