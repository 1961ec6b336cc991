"""`emit`: each thing that may go wrong, and what it then does to the response and to the message."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.exchanges import RecordingDownstream, RecordingSource, make_exchange
from tests.support.governed_store import GovernedStore, governed_store
from tests.support.manual_loop import ManualLoop
from tests.support.stores import a_message, accepted

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.schema import Emit
from gatepost.events.emission import Outcome, RuleError, compile_rule
from gatepost.events.emit import Emitter
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Entry, Journal
from gatepost.exchange import Downstream, Exchange, Handler, Response, Route
from gatepost.http1.messages import Fields
from gatepost.model import App
from gatepost.net.deadlines import Deadlines

ORDER = b'{"order_id": 12345, "total_amount": 100.0}'
CREATED = Emit(
    when="response.status == 201",
    app="shop",
    event_type="order.created",
    payload="${ {'event': 'new_order', 'data': response.body} }",
    channels=("/orders/${response.body.order_id}",),
)
ALWAYS = Emit(when="true", app="shop", event_type="seen", payload="${ {'path': request.path} }")
JSON: Fields = [(b"content-type", b"application/json")]


class Gateway:
    """A route with `emit`, without the server around it."""

    def __init__(self, store: GovernedStore, clock: ManualClock, journal: Path, *, journal_limit: int = 10_000) -> None:
        self.clock = clock
        self.loop = ManualLoop(self.clock)
        self.store = store
        self.ingest = Ingest(self.store, self.clock)
        self.journal = Journal(journal, self.ingest, retry=3600, limit=journal_limit)
        self.deadlines = Deadlines(self.loop)  # type: ignore[arg-type]

    def emitter(self, *rules: Emit, timeout: float = 2.0, body_limit: int = 1_000) -> Emitter:
        return Emitter(
            [compile_rule(rule, place) for place, rule in enumerate(rules)],
            self.ingest,
            self.journal,
            self.deadlines,
            route="create-order",
            timeout=timeout,
            body_limit=body_limit,
        )

    def forwarded(self, emitter: Emitter, method: str = "POST", body: bytes = b"{}") -> Forwarded:
        x, client = make_exchange(method, "/orders?src=web", [(b"x-tenant", b"t1")], body, route="create-order")
        stage = emitter.stage(x, client)
        refusal = emitter.on_request(x)
        return Forwarded(emitter, x, client, stage, refusal)


class Forwarded:
    """One exchange that has passed `on_request`: the test is its target."""

    def __init__(
        self,
        emitter: Emitter,
        x: Exchange,
        client: RecordingDownstream,
        stage: Downstream,
        refusal: Response | None,
    ) -> None:
        self._emitter = emitter
        self.x = x
        self.client = client
        self.stage = stage
        self.refusal = refusal
        self.source = RecordingSource()

    def answer(self, body: bytes = ORDER, status: int = 201, fields: Fields = JSON) -> None:
        self.stage.respond(self.x, status, fields, body)

    def begin(self, length: int | None = None, status: int = 201, fields: Fields = JSON) -> None:
        self.stage.begin(self.x, status, fields, length, self.source)

    @property
    def outcome(self) -> object:
        return (self.x.notes or {}).get("emit")

    async def passed(self) -> None:
        """Until the client has the whole response."""
        if not self.client.ended:
            end = asyncio.Event()
            self.client.on_end = end.set
            await asyncio.wait_for(end.wait(), 5)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, object]]]:
    with log.recorded() as events:
        yield events


@asynccontextmanager
async def running(folder: Path, **options: int) -> AsyncIterator[Gateway]:
    clock = ManualClock(now=1_750_000_000.0)
    async with governed_store(folder / "store.db", clock) as store:
        gateway = Gateway(store, clock, folder / "journal", **options)
        await gateway.journal.open()
        yield gateway
        await gateway.journal.close()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running(tmp_path) as gateway:
        yield gateway


def rule(**changes: object) -> Emit:
    return Emit(**{**{f: getattr(CREATED, f) for f in CREATED.__struct_fields__}, **changes})


# All is well


async def test_a_response_is_held_until_its_message_is_on_disk(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.answer()
    assert order.client.silent
    await gateway.store.committed()
    assert (order.client.status, order.client.fields, order.client.body) == (201, JSON, ORDER)
    assert order.outcome == "emitted"
    (message,) = await gateway.store.made()
    assert message.event_type == "order.created"
    assert message.payload == b'{"event":"new_order","data":' + ORDER + b"}"
    assert message.channels == ("/orders/12345",)
    assert not order.x.held


async def test_a_response_that_comes_in_pieces_goes_out_whole(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.begin(len(ORDER))
    order.stage.send(ORDER[:7])
    order.stage.send(ORDER[7:])
    assert order.client.silent
    order.stage.finish()
    await order.passed()
    assert order.client.calls == ["respond"]
    assert order.client.body == ORDER
    assert len(await gateway.store.made()) == 1


async def test_where_no_rule_applies_nothing_is_held(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.begin(4, status=200)
    assert not order.x.held
    order.stage.send(b"ab")
    order.stage.send(b"cd")
    order.stage.finish()
    assert order.client.calls == ["begin", "send", "send", "finish"]
    assert order.client.source is order.source
    assert order.outcome is None
    assert await gateway.store.made() == []


async def test_a_rule_on_the_request_alone_may_leave_the_exchange_to_its_client(gateway: Gateway) -> None:
    emitter = gateway.emitter(rule(when="request.method == 'POST'"))
    assert gateway.forwarded(emitter, "POST").x.held
    other = gateway.forwarded(emitter, "PUT")
    assert not other.x.held
    other.answer()
    assert await gateway.store.made() == []


async def test_a_rule_that_reads_no_body_buffers_none(gateway: Gateway) -> None:
    gateway.store.hold()
    emitter = gateway.emitter(ALWAYS)
    assert not emitter.identity_encoding
    order = gateway.forwarded(emitter)
    order.begin(4)
    assert order.client.silent
    assert order.source.calls == ["pause"]
    order.stage.send(b"ab")  # was on its way
    await gateway.store.committed()
    assert order.source.calls == ["pause", "resume"]
    assert order.client.source is order.source
    order.stage.send(b"cd")
    order.stage.finish()
    assert order.client.calls == ["begin", "send", "send", "finish"]
    assert order.client.body == b"abcd"
    assert (await gateway.store.made())[0].payload == b'{"path":"/orders"}'


async def test_a_body_that_ended_while_it_was_held_is_nobody_elses_to_pause(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(ALWAYS), "HEAD")
    order.begin(4)
    order.stage.finish()
    await gateway.store.committed()
    assert order.client.calls == ["begin", "finish"]
    assert order.client.length == 4
    assert order.client.source is not order.source


async def test_each_rule_makes_its_message(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED, ALWAYS, rule(when="response.status == 500")))
    order.answer()
    await order.passed()
    assert [m.event_type for m in await gateway.store.made()] == ["order.created", "seen"]
    assert order.outcome == "emitted,emitted"


async def test_what_the_rules_read_is_asked_for(gateway: Gateway) -> None:
    emitter = gateway.emitter(rule(payload="${request.body}"))
    assert emitter.needs_request_body
    assert emitter.identity_encoding  # its channel reads the response's body
    order = gateway.forwarded(emitter, body=b'{"asked":1}')
    order.answer()
    await order.passed()
    assert (await gateway.store.made())[0].payload == b'{"asked":1}'
    assert not gateway.emitter(ALWAYS).needs_request_body


async def test_a_condition_may_read_the_body(gateway: Gateway) -> None:
    emitter = gateway.emitter(rule(when="response.body.total_amount > 50.0"))
    for amount in (100, 10):
        order = gateway.forwarded(emitter)
        order.answer(b'{"order_id":1,"total_amount":%d.0}' % amount)
        await order.passed()
    assert len(await gateway.store.made()) == 1


async def test_the_id_of_a_rule_deduplicates(gateway: Gateway) -> None:
    emitter = gateway.emitter(rule(id="order-${response.body.order_id}"))
    first, second = gateway.forwarded(emitter), gateway.forwarded(emitter)
    first.answer()
    second.answer()
    await first.passed()
    await second.passed()
    assert [m.event_id for m in await gateway.store.made()] == ["order-12345"]
    assert (first.outcome, second.outcome) == ("emitted", "duplicate")
    assert second.client.status == 201


# The store


async def test_store_down_before_503_and_nothing_is_forwarded(gateway: Gateway) -> None:
    await gateway.store.fail()
    order = gateway.forwarded(gateway.emitter(CREATED))
    assert order.refusal is not None
    assert order.refusal.status == 503
    assert (b"retry-after", b"1") in order.refusal.fields
    assert json.loads(order.refusal.body)["type"] == "urn:gatepost:problem:events-unavailable"
    assert not order.x.held


async def test_store_down_before_does_not_concern_requests_that_make_no_event(gateway: Gateway) -> None:
    await gateway.store.fail()
    assert gateway.forwarded(gateway.emitter(rule(when="request.method == 'POST'")), "PUT").refusal is None
    assert gateway.forwarded(gateway.emitter(rule(durable=False))).refusal is None


async def test_store_down_after_the_response_passes_and_the_message_is_journaled(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(rule(id="o-1")))
    gateway.store.disk_full()
    order.answer()
    assert order.client.silent  # until it is in the journal
    await order.passed()
    assert (order.client.status, order.client.body) == (201, ORDER)
    assert order.outcome == "journaled"
    assert gateway.journal.waiting == 1

    await gateway.store.mend()
    gateway.journal.replay()
    await gateway.store.committed()
    assert gateway.journal.waiting == 0
    (message,) = await gateway.store.made()
    assert (message.event_type, message.event_id, message.channels) == ("order.created", "o-1", ("/orders/12345",))


async def test_slow_commit_the_journal_takes_over_at_half_time(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(CREATED, timeout=2.0))
    order.answer()
    gateway.loop.advance(0.9)
    await asyncio.sleep(0)
    assert gateway.journal.waiting == 0
    gateway.loop.advance(0.4)
    await order.passed()
    assert order.outcome == "journaled"
    assert gateway.journal.waiting == 1

    await gateway.store.committed()  # after all
    assert gateway.journal.waiting == 0
    assert len(await gateway.store.made()) == 1


async def test_a_late_commit_and_its_replay_are_one_message(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.answer()
    gateway.loop.advance(1.5)
    await order.passed()
    gateway.journal.replay()
    await gateway.store.committed()
    assert gateway.journal.waiting == 0
    assert len(await gateway.store.made()) == 1


async def test_slow_commit_and_slow_journal_the_response_passes_in_time(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda fd: disk.wait(10))
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(CREATED, timeout=2.0))
    order.answer()
    gateway.loop.advance(1.7)
    assert order.client.silent
    gateway.loop.advance(0.3)
    assert order.client.status == 201
    assert order.outcome == "unconfirmed"
    disk.set()
    await gateway.store.committed()
    assert len(await gateway.store.made()) == 1


async def test_neither_store_nor_journal_the_response_passes_and_the_log_says_what_is_lost(
    tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    async with running(tmp_path, journal_limit=10) as gateway:
        order = gateway.forwarded(gateway.emitter(rule(id="o-1")))
        gateway.store.disk_full()
        order.answer()
        await order.passed()
        assert order.client.status == 201
        assert order.outcome == "lost"
    lost = [event for event in logged if event["event"] == "emit_lost"]
    assert [event["event_id"] for event in lost] == ["o-1"]


async def test_not_durable_the_response_does_not_wait(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(rule(durable=False)))
    order.answer()
    assert order.client.status == 201
    assert order.outcome == "unconfirmed"
    await gateway.store.committed()
    assert len(await gateway.store.made()) == 1


async def test_not_durable_and_store_down_the_journal_keeps_it(gateway: Gateway) -> None:
    await gateway.store.fail()
    order = gateway.forwarded(gateway.emitter(rule(durable=False)))
    order.answer()
    assert order.client.status == 201
    await accepted(gateway.store, a_message(App(0, 0, "")))  # refused after the message before it
    await journaled(gateway)
    assert gateway.journal.waiting == 1


async def journaled(gateway: Gateway) -> None:
    """Until what was handed to the journal before is on disk."""
    told = asyncio.Event()
    gateway.journal.append(Entry("probe", "app_x", "t", "{}"), lambda reason: told.set())
    await asyncio.wait_for(told.wait(), 5)
    gateway.journal.settle("probe")


# The client


async def test_client_gone_the_message_is_made(gateway: Gateway) -> None:
    gateway.store.hold()
    order = gateway.forwarded(gateway.emitter(CREATED))
    assert order.x.held  # what the server asks before it aborts the upstream
    order.client.gone = True
    order.begin(len(ORDER))
    order.stage.send(ORDER)
    order.stage.finish()
    await gateway.store.committed()
    assert len(await gateway.store.made()) == 1
    assert not order.x.held


async def test_an_exchange_that_is_ended_from_outside_is_answered_by_nobody(gateway: Gateway) -> None:
    gateway.store.hold()
    emitter = gateway.emitter(CREATED)
    order = gateway.forwarded(emitter)
    order.answer()
    emitter.on_finish(order.x)  # a second SIGTERM, a client that takes nothing any more
    await gateway.store.committed()
    gateway.loop.advance(3)
    assert order.client.calls == []
    assert len(await gateway.store.made()) == 1


# Rules that cannot be followed


async def failing(gateway: Gateway, forwarded: Forwarded, outcome: str) -> None:
    """The response passed, nothing was made, and record and log say why."""
    await forwarded.passed()
    assert forwarded.outcome == outcome
    assert await gateway.store.made() == []
    assert not forwarded.x.held


@pytest.mark.parametrize("body", [b"", b"plain", b'{"order_id": 1', b'{"order_id": "\xff"}', b"[" * 100_000])
async def test_body_not_json(gateway: Gateway, body: bytes) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED, body_limit=1_000_000))
    with log.recorded() as events:
        order.answer(body)
    await failing(gateway, order, "body-not-json")
    assert order.client.body == body
    (event,) = events
    assert (event["event"], event["outcome"], event["route"]) == ("emit_failed", "body-not-json", "create-order")


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_no_body_at_all_is_not_json(gateway: Gateway, method: str) -> None:
    order = gateway.forwarded(gateway.emitter(rule(when="true")), method)
    order.begin(None, status=204 if method == "POST" else 200)
    order.stage.finish()
    await failing(gateway, order, "body-not-json")
    assert order.client.calls == ["begin", "finish"]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"channels": ("/orders/${response.body.missing}",)}, "expression-failed"),
        ({"id": "${response.body.missing}"}, "expression-failed"),
        ({"payload": "${ {'a': response.body.missing} }"}, "expression-failed"),
        ({"when": "response.body.missing == 1"}, "when-failed"),
        ({"when": "request.headers['x-missing'] == 'a'"}, "when-failed"),
        ({"app": "nobody"}, "app-unknown"),
        ({"app": "${request.headers['x-tenant']}"}, "app-unknown"),
        ({"event_type": "order ${response.body.order_id}"}, "invalid-message"),
        ({"channels": ("/orders/*/${response.body.order_id}",)}, "invalid-message"),
        ({"payload": "${response.body.order_id}"}, "invalid-message"),
    ],
)
async def test_a_rule_that_fails_lets_the_response_pass(
    gateway: Gateway, changes: dict[str, object], outcome: str
) -> None:
    order = gateway.forwarded(gateway.emitter(rule(**changes)))
    with log.recorded() as events:
        order.answer()
    await failing(gateway, order, outcome)
    assert order.client.body == ORDER
    assert [e["outcome"] for e in events] == [outcome]
    assert events[0]["reason"]


async def test_a_rule_that_fails_does_not_hinder_the_others(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(rule(app="nobody"), CREATED))
    order.answer()
    await order.passed()
    assert order.outcome == "app-unknown,emitted"
    assert len(await gateway.store.made()) == 1


async def test_body_too_large_by_its_length(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED, body_limit=10))
    order.begin(11)
    assert order.client.calls == ["begin"]
    order.stage.send(b"x" * 11)
    order.stage.finish()
    await failing(gateway, order, "body-too-large")


async def test_body_too_large_as_it_comes(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED, ALWAYS, body_limit=10))
    gateway.store.hold()
    order.begin()
    order.stage.send(b"x" * 10)
    assert order.client.silent
    order.stage.send(b"y")
    assert order.source.calls == ["pause"]  # the rule that reads no body is followed first
    await gateway.store.committed()
    order.stage.send(b"z")
    order.stage.finish()
    assert order.client.body == b"x" * 10 + b"yz"
    assert order.outcome == "body-too-large,emitted"


async def test_a_payload_above_the_limit(gateway: Gateway) -> None:
    gateway.ingest.payload_limit = 10
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.answer()
    await failing(gateway, order, "body-too-large")


async def test_body_compressed(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.answer(b"\x1f\x8b", fields=[(b"content-encoding", b"gzip")])
    await failing(gateway, order, "body-compressed")


async def test_server_sent_events_pass_at_once(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.begin(fields=[(b"content-type", b"Text/Event-Stream; charset=utf-8")])
    assert order.client.calls == ["begin"]
    order.stage.send(b"data: 1\n\n")
    assert order.client.body == b"data: 1\n\n"
    order.stage.finish()
    await failing(gateway, order, "body-streamed")


async def test_a_body_without_a_length_that_does_not_end_passes_after_a_while(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED, timeout=2.0))
    order.begin()
    order.stage.send(b'{"n":1}\n')
    gateway.loop.advance(1.5)
    assert order.client.silent
    gateway.loop.advance(0.5)
    assert order.client.body == b'{"n":1}\n'
    order.stage.send(b'{"n":2}\n')
    order.stage.finish()
    await failing(gateway, order, "body-streamed")
    assert order.client.body == b'{"n":1}\n{"n":2}\n'


async def test_a_body_that_breaks_off_looks_so_to_the_client(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(CREATED))
    order.begin(len(ORDER))
    order.stage.send(ORDER[:5])
    order.stage.abort()
    await failing(gateway, order, "body-truncated")
    assert order.client.calls == ["begin", "send", "abort"]


async def test_failures_of_one_kind_are_logged_in_moderation(gateway: Gateway) -> None:
    emitter = gateway.emitter(rule(app="nobody"))
    with log.recorded() as events:
        for _ in range(5):
            gateway.forwarded(emitter).answer()
        gateway.clock.advance(10)
        gateway.forwarded(emitter).answer()
    assert [e["unlogged"] for e in events] == [0, 4]


# Answers that no target made


async def test_what_a_policy_refuses_makes_no_message(gateway: Gateway) -> None:
    emitter = gateway.emitter(ALWAYS)
    x, client = make_exchange("POST", "/orders")
    stage = emitter.stage(x, client)
    stage.respond(x, 401, JSON, b"{}")  # before `on_request` of this policy
    assert client.status == 401
    assert await gateway.store.made() == []


async def test_the_gateways_own_502_makes_no_message(gateway: Gateway) -> None:
    order = gateway.forwarded(gateway.emitter(ALWAYS))
    order.x.outcome = "upstream-unreachable"
    order.answer(b"{}", status=502)
    assert order.client.status == 502
    assert await gateway.store.made() == []
    assert not order.x.held


def test_every_outcome_is_told_to_users() -> None:
    page = (Path(__file__).parents[3] / "docs" / "emit.md").read_text()
    words = [word for name, word in vars(Outcome).items() if name.isupper() and word != Outcome.EMITTED]
    assert words
    assert [word for word in words if f"`{word}`" not in page] == []


def test_a_rule_that_does_not_compile_tells_every_fault_with_its_setting() -> None:
    with pytest.raises(RuleError) as raised:
        compile_rule(rule(when="response.status", channels=("fine", "${nobody}"), id="${"))
    assert [setting for setting, _ in raised.value.faults] == ["when", "channels[1]", "id"]


def test_a_rule_whose_messages_could_never_be_is_refused() -> None:
    with pytest.raises(RuleError, match=r"event_type: must be .*; channels\[1\]: must be "):
        compile_rule(rule(event_type="order created", channels=("/orders/1", "/orders/*")))


async def test_what_emit_may_hold_of_a_response_bounds_no_request(tmp_path: Path) -> None:
    clock = ManualClock()
    async with governed_store(tmp_path / "store.db", clock) as store:
        emitter = Gateway(store, clock, tmp_path / "journal").emitter(CREATED, body_limit=1_000)
        assert Route("create-order", _Nothing(), (emitter,)).stream_limit is None


class _Nothing(Handler):
    def handle(self, x: Exchange) -> None: ...
    def client_gone(self, x: Exchange) -> None: ...
