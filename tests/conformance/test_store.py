"""The store contract, line by line (`stores/base.py`), for every implementation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.stores import (
    Answer,
    StoreUnderTest,
    a_message,
    accepted,
    accepted_all,
    an_app,
    an_attempt,
    completed,
)

from gatepost import ids
from gatepost.errors import StoreUnavailable
from gatepost.lifecycle import State
from gatepost.model import App, Batching, Bearer, Delivery, Endpoint, EndpointSettings, Secret, Trigger
from gatepost.stores.base import Accepted, EventIdTaken, Filter, Outcome, Refused, Repeated, Store


class TestLife:
    async def test_what_was_acknowledged_is_there_after_reopening(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        store = await life.reopen(store)
        assert await store.message(app.key, outcome.id)
        assert [d.message for d in await store.due(endpoint.key, life.clock.now(), 10)] == [outcome.id]

    async def test_what_was_acknowledged_is_there_after_a_crash(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcomes = await accepted_all(store, [a_message(app, [endpoint]) for _ in range(200)])
        assert await completed(store, an_attempt(outcomes[0].id, endpoint))
        store = await life.crash()
        waiting = await store.due(endpoint.key, life.clock.now(), 1000)
        assert [d.message for d in waiting] == [outcome.id for outcome in outcomes[1:]]
        assert (await store.deliveries_of(outcomes[0].id))[0].state is State.DELIVERED
        assert store.directory.endpoints == {endpoint.key: endpoint}

    async def test_nothing_is_acknowledged_before_fsync(self, life: StoreUnderTest, store: Store) -> None:
        if life.engine != "sqlite":
            pytest.skip("PostgreSQL syncs its own log; tests/crash kills it")
        app, [endpoint] = await an_app(store)
        trace = life.disk.trace
        trace.clear()
        store.on_commit(lambda messages: trace.append("committed"))
        answer = Answer[Outcome]()
        store.accept(a_message(app, [endpoint]), lambda outcome: (trace.append("accepted"), answer(outcome)))
        outcome = await answer.future
        recorded = Answer[bool]()
        store.complete(an_attempt(outcome.id, endpoint), lambda ok: (trace.append("recorded"), recorded(ok)))
        await recorded.future
        for moment in ("committed", "recorded"):
            before = [entry for entry in trace[: trace.index(moment)] if isinstance(entry, tuple)]
            assert before[-1] == ("sync", "wal"), f"a write came after the last fsync before {moment!r}: {trace}"
        between = trace[trace.index("accepted") : trace.index("recorded")]
        assert ("write", "wal") in between
        assert ("sync", "wal") in between

    async def test_closing_writes_what_was_handed_in(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        answer = Answer[Outcome]()
        store.accept(a_message(app, [endpoint]), answer)
        await store.close()
        assert isinstance(answer.future.result(), Accepted)
        await store.close()  # idempotent
        reopened = await life.open()
        assert await reopened.message(app.key, answer.future.result().id)

    async def test_a_closed_store_refuses(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        await store.close()
        assert not store.writable
        assert isinstance(await accepted(store, a_message(app)), Refused)
        assert await completed(store, an_attempt(1, endpoint)) is False
        with pytest.raises(StoreUnavailable):
            await store.next_due()
        with pytest.raises(StoreUnavailable):
            await store.put_app(App(0, 0, "late"))

    async def test_a_second_open_is_refused(self, life: StoreUnderTest, store: Store) -> None:
        if life.engine != "sqlite":
            pytest.skip("many nodes share a PostgreSQL database")
        with pytest.raises(StoreUnavailable, match="in use"):
            await life.open()
        assert store.writable

    async def test_ids_resume_above_the_stored_ones_even_if_the_clock_went_back(
        self, life: StoreUnderTest, store: Store
    ) -> None:
        app, [endpoint] = await an_app(store)
        first = await accepted(store, a_message(app, [endpoint]))
        await completed(store, an_attempt(first.id, endpoint))
        attempt = (await store.attempts_of_message(first.id, Filter())).items[0]
        life.clock.advance(-3600)
        store = await life.reopen(store)
        second = await accepted(store, a_message(app))
        assert second.id > attempt.id > first.id

    async def test_the_last_id_is_never_below_what_is_stored(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        assert store.last_id == outcome.id
        await completed(store, an_attempt(outcome.id, endpoint))
        last = store.last_id
        assert last > outcome.id
        store = await life.reopen(store)
        assert store.last_id == last
        later = await accepted(store, a_message(app))
        assert later.id > last


class TestAccepting:
    async def test_one_turn_of_the_loop_is_one_commit_in_order(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        commits: list[list[int]] = []
        store.on_commit(lambda messages: commits.append([message.id for message in messages]))
        messages = [a_message(app, [endpoint]) for _ in range(100)]
        outcomes = await accepted_all(store, messages)
        assert commits == [[outcome.id for outcome in outcomes]]
        assert commits[0] == sorted(commits[0])
        assert [message.id for message in messages] == commits[0]

    async def test_listeners_hear_of_a_commit_before_any_caller(self, store: Store) -> None:
        app, _ = await an_app(store)
        heard: list[Any] = []
        store.on_commit(lambda messages: heard.append(("first listener", len(messages))))
        store.on_commit(lambda messages: heard.append(("second listener", len(messages))))
        last = Answer[Outcome]()
        for n in range(3):
            store.accept(a_message(app), lambda _, n=n: heard.append(n))
        store.accept(a_message(app), last)
        await last.future
        assert heard == [("first listener", 4), ("second listener", 4), 0, 1, 2]

    async def test_done_is_never_called_within_accept(self, store: Store) -> None:
        app, _ = await an_app(store)
        answer = Answer[Outcome]()
        store.accept(a_message(app), answer)
        assert not answer.future.done()
        await answer.future

    async def test_a_callback_that_fails_takes_nobody_with_it(self, store: Store) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        app, _ = await an_app(store)

        def fails(_: object) -> None:
            raise RuntimeError("a caller's fault")

        store.on_commit(fails)
        store.accept(a_message(app), fails)
        assert isinstance(await accepted(store, a_message(app)), Accepted)
        assert [str(report["exception"]) for report in reports] == ["a caller's fault"] * 2

    async def test_one_that_cannot_be_written_refuses_only_itself(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        unspeakable = a_message(app, [endpoint], event_type="order.\ud800")
        outcomes = await accepted_all(store, [a_message(app), unspeakable, a_message(app)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted]
        assert store.writable

    async def test_everything_of_a_message_comes_back(self, store: Store) -> None:
        app, _ = await an_app(store)
        payload = b'{ "b": 1,\n  "a": "\xc3\xa4" }'  # kept byte for byte
        outcome = await accepted(
            store,
            a_message(app, payload=payload, channels=("/b", "/a"), event_id="e-1", tags=("t2", "t1")),
        )
        message = await store.message(app.key, outcome.id)
        assert message is not None
        assert message.payload == payload
        assert (message.app, message.event_type) == (app.key, "order.created")
        assert (message.channels, message.event_id, message.tags) == (("/b", "/a"), "e-1", ("t2", "t1"))
        assert await store.message_by_event_id(app.key, "e-1") == message
        assert await store.messages([outcome.id, 17]) == {outcome.id: message}

    async def test_another_app_does_not_see_it(self, store: Store) -> None:
        app, _ = await an_app(store)
        other, _ = await an_app(store)
        outcome = await accepted(store, a_message(app, event_id="e", channels=("/c",)))
        assert await store.message(other.key, outcome.id) is None
        assert await store.message_by_event_id(other.key, "e") is None
        assert await store.channel_messages(other.key, "/c", 0, 10) == []
        assert (await store.list_messages(other.key, Filter())).items == []

    async def test_a_fan_out_larger_than_a_transaction(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        many = [Endpoint(endpoint.key + n, 0, app.key, "") for n in range(5000)]
        outcome = await accepted(store, a_message(app, many))
        assert len(await store.deliveries_of(outcome.id)) == 5000

    async def test_large_fan_outs_share_no_transaction(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        commits: list[int] = []
        store.on_commit(lambda messages: commits.append(len(messages)))
        many = [Endpoint(endpoint.key + n, 0, app.key, "") for n in range(900)]
        await accepted_all(store, [a_message(app, many) for _ in range(6)])
        assert commits == [2, 2, 2]

    async def test_large_payloads_share_no_transaction(self, store: Store) -> None:
        app, _ = await an_app(store)
        commits: list[int] = []
        store.on_commit(lambda messages: commits.append(len(messages)))
        await accepted_all(store, [a_message(app, payload=bytes(3 << 20)) for _ in range(4)])
        assert commits == [2, 2]


class TestDuplicates:
    async def test_an_event_id_is_unique_in_its_app(self, life: StoreUnderTest, store: Store) -> None:
        app, _ = await an_app(store)
        other, _ = await an_app(store)
        first = await accepted(store, a_message(app, event_id="e"))
        assert await accepted(store, a_message(app, event_id="e")) == EventIdTaken(first.id)
        assert isinstance(await accepted(store, a_message(other, event_id="e")), Accepted)
        store = await life.reopen(store)
        assert await accepted(store, a_message(app, event_id="e")) == EventIdTaken(first.id)
        assert len((await store.list_messages(app.key, Filter())).items) == 1

    @pytest.mark.parametrize("key", ["order-12345", "auto_7b0c"])
    async def test_a_repeated_key_gets_the_first_answer(self, life: StoreUnderTest, store: Store, key: str) -> None:
        app, [endpoint] = await an_app(store)
        other, _ = await an_app(store)
        first = await accepted(store, a_message(app, [endpoint], idempotency_key=key, body_digest=b"1"))
        assert isinstance(first, Accepted)

        async def repeats() -> None:
            again = await accepted(store, a_message(app, [endpoint], idempotency_key=key, body_digest=b"1"))
            assert again == Repeated(first.id, same=True)
            changed = await accepted(store, a_message(app, [endpoint], idempotency_key=key, body_digest=b"2"))
            assert changed == Repeated(first.id, same=False)

        await repeats()
        store = await life.reopen(store)
        await repeats()
        store = await life.crash()
        await repeats()
        assert isinstance(await accepted(store, a_message(other, idempotency_key=key)), Accepted)
        assert len(await store.due(endpoint.key, life.clock.now(), 10)) == 1

    @pytest.mark.parametrize("key", ["order-12345", "auto_7b0c"])
    async def test_a_duplicate_in_flight_gets_the_same_answer(self, store: Store, key: str) -> None:
        app, [endpoint] = await an_app(store)
        messages = [
            a_message(app, [endpoint], idempotency_key=key, body_digest=digest) for digest in (b"1", b"1", b"2")
        ]
        first, second, third = await accepted_all(store, messages)
        assert isinstance(first, Accepted)
        assert second == Repeated(first.id, same=True)
        assert third == Repeated(first.id, same=False)
        assert len((await store.list_messages(app.key, Filter())).items) == 1

    async def test_event_ids_in_flight(self, store: Store) -> None:
        app, _ = await an_app(store)
        first, second = await accepted_all(store, [a_message(app, event_id="e") for _ in range(2)])
        assert second == EventIdTaken(first.id)

    async def test_an_explicit_key_is_free_again_after_twelve_hours(self, life: StoreUnderTest, store: Store) -> None:
        app, _ = await an_app(store)
        first = await accepted(store, a_message(app, idempotency_key="k"))
        life.clock.advance(12 * 3600 - 1)
        assert isinstance(await accepted(store, a_message(app, idempotency_key="k")), Repeated)
        life.clock.advance(2)
        again = await accepted(store, a_message(app, idempotency_key="k"))
        assert isinstance(again, Accepted)
        assert again.id != first.id
        assert await accepted(store, a_message(app, idempotency_key="k")) == Repeated(again.id, same=True)

    async def test_an_automatic_key_is_free_again_after_ten_minutes(self, life: StoreUnderTest, store: Store) -> None:
        app, _ = await an_app(store)
        await accepted(store, a_message(app, idempotency_key="auto_k"))
        life.clock.advance(599)
        assert isinstance(await accepted(store, a_message(app, idempotency_key="auto_k")), Repeated)
        life.clock.advance(2)
        assert isinstance(await accepted(store, a_message(app, idempotency_key="auto_k")), Accepted)

    async def test_a_taken_event_id_does_not_use_up_the_key(self, store: Store) -> None:
        app, _ = await an_app(store)
        await accepted(store, a_message(app, event_id="e"))
        for key in ("k", "auto_k"):
            taken = await accepted(store, a_message(app, event_id="e", idempotency_key=key))
            assert isinstance(taken, EventIdTaken)
            assert isinstance(await accepted(store, a_message(app, idempotency_key=key)), Accepted)

    async def test_duplicates_are_not_announced(self, store: Store) -> None:
        app, _ = await an_app(store)
        heard: list[int] = []
        store.on_commit(lambda messages: heard.extend(message.id for message in messages))
        outcomes = await accepted_all(store, [a_message(app, event_id="e") for _ in range(3)])
        assert heard == [outcomes[0].id]


class TestADiskThatRefuses:
    async def test_refused_and_nothing_written_then_taken_again(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        before = await accepted(store, a_message(app, [endpoint]))
        changes: list[bool] = []
        turned = asyncio.Event()
        store.on_writable(lambda writable: (changes.append(writable), turned.set() if writable else None))
        life.disk.full = True
        refused = await accepted(store, a_message(app, [endpoint], idempotency_key="auto_k", event_id="e"))
        assert isinstance(refused, Refused)
        assert any(why in refused.reason.lower() for why in ("full", "injected", "read-only"))
        assert not store.writable
        assert await completed(store, an_attempt(before.id, endpoint)) is False
        with pytest.raises(StoreUnavailable):
            await store.put_app(App(0, 0, "no room"))
        assert (await store.deliveries_of(before.id))[0].state is State.PENDING  # reading goes on

        life.disk.full = False
        async with asyncio.timeout(5):
            await turned.wait()  # by itself: the store probes
        assert store.writable
        assert changes == [False, True]
        again = await accepted(store, a_message(app, [endpoint], idempotency_key="auto_k", event_id="e"))
        assert isinstance(again, Accepted)  # neither key was used up by the refusal
        assert await completed(store, an_attempt(before.id, endpoint)) is True
        assert len((await store.list_messages(app.key, Filter())).items) == 2
        assert store.directory.app("no room") is None

    async def test_a_write_that_works_ends_it_before_the_probe(self, life: StoreUnderTest, store: Store) -> None:
        app, _ = await an_app(store)
        life.disk.full = True
        await accepted(store, a_message(app))
        life.disk.full = False
        assert isinstance(await accepted(store, a_message(app)), Accepted)
        assert store.writable

    async def test_listeners_hear_false_before_the_refusal(self, life: StoreUnderTest, store: Store) -> None:
        app, _ = await an_app(store)
        heard: list[Any] = []
        store.on_writable(heard.append)
        life.disk.full = True
        answer = Answer[Outcome]()
        store.accept(a_message(app), lambda outcome: (heard.append("refused"), answer(outcome)))
        await answer.future
        assert heard[:2] == [False, "refused"]

    async def test_a_refused_name_is_not_believed_to_be_stored(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        life.disk.full = True
        await accepted(store, a_message(app, [endpoint], event_type="seen.once"))
        life.disk.full = False
        outcome = await accepted(store, a_message(app, [endpoint], event_type="seen.once"))
        message = await store.message(app.key, outcome.id)
        assert message is not None
        assert message.event_type == "seen.once"


class TestDeliveries:
    async def test_a_new_message_is_due_at_once(self, life: StoreUnderTest, store: Store) -> None:
        app, endpoints = await an_app(store, endpoints=3)
        outcome = await accepted(store, a_message(app, endpoints[:2]))
        now = life.clock.now()
        assert await store.next_due() == {endpoint.key: now for endpoint in endpoints[:2]}
        [delivery] = await store.due(endpoints[0].key, now, 10)
        assert delivery == Delivery(outcome.id, endpoints[0].key, State.PENDING, 0, now)
        assert await store.due(endpoints[2].key, now, 10) == []
        assert len(await store.deliveries_of(outcome.id)) == 2

    async def test_a_failed_attempt_is_due_later(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        later = life.clock.now() + 5.25
        assert await completed(store, an_attempt(outcome.id, endpoint, state=State.PENDING, tries=1, due=later))
        assert await store.due(endpoint.key, life.clock.now(), 10) == []
        assert await store.next_due() == {endpoint.key: later}
        assert await store.due(endpoint.key, later, 10) == [Delivery(outcome.id, endpoint.key, State.PENDING, 1, later)]

    @pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.SKIPPED, State.CANCELLED])
    async def test_what_ended_is_not_due(self, life: StoreUnderTest, store: Store, state: State) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        assert await completed(store, an_attempt(outcome.id, endpoint, state=state))
        assert await store.due(endpoint.key, life.clock.now() + 1e6, 10) == []
        assert await store.next_due() == {}
        assert await store.deliveries_of(outcome.id) == [Delivery(outcome.id, endpoint.key, state, 1, None)]

    async def test_due_gives_the_earliest_first_without_the_skipped(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcomes = await accepted_all(store, [a_message(app, [endpoint]) for _ in range(6)])
        now = life.clock.now()
        for outcome, wait in zip(outcomes, (6, 5, 4, 3, 2, 1), strict=True):
            await completed(store, an_attempt(outcome.id, endpoint, state=State.PENDING, due=now + wait))
        order = [outcome.id for outcome in reversed(outcomes)]

        async def due(until: float, limit: int, skip: Any = ()) -> list[int]:
            return [d.message for d in await store.due(endpoint.key, until, limit, skip=skip)]

        assert await due(now + 10, 10) == order
        assert await due(now + 3, 10) == order[:3]  # at or before
        assert await due(now + 10, 2) == order[:2]
        assert await due(now + 10, 2, {order[0], order[2]}) == [order[1], order[3]]
        assert await due(now + 10, 2, order) == []

    async def test_one_endpoint_s_backlog_is_not_another_s(self, life: StoreUnderTest, store: Store) -> None:
        app, [dead, healthy] = await an_app(store, endpoints=2)
        await accepted_all(store, [a_message(app, [dead]) for _ in range(300)])
        outcome = await accepted(store, a_message(app, [healthy]))
        assert [d.message for d in await store.due(healthy.key, life.clock.now(), 1)] == [outcome.id]

    async def test_resending(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint, another] = await an_app(store, endpoints=2)
        _, [foreign] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        await completed(store, an_attempt(outcome.id, endpoint, state=State.EXHAUSTED, tries=9))
        now = life.clock.now()
        expected = Delivery(outcome.id, endpoint.key, State.PENDING, 9, now, manual=True, since=now, batch=0)
        assert await store.resend(outcome.id, endpoint.key, now) == expected
        assert await store.due(endpoint.key, now, 10) == [expected]
        made = await store.resend(outcome.id, another.key, now)  # where there was none
        assert made == Delivery(outcome.id, another.key, State.PENDING, 0, now, manual=True, since=now, batch=0)
        assert await store.resend(17, endpoint.key, now) is None
        assert await store.resend(outcome.id, foreign.key, now) is None
        assert await store.resend(outcome.id, 4711, now) is None

    async def test_resending_comes_after_what_was_handed_in_before(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        answer = Answer[bool]()
        store.complete(an_attempt(outcome.id, endpoint), answer)
        delivery = await store.resend(outcome.id, endpoint.key, life.clock.now())
        assert delivery is not None
        assert (delivery.state, delivery.tries) == (State.PENDING, 1)
        assert await store.deliveries_of(outcome.id) == [delivery]


class TestAttempts:
    async def test_everything_of_an_attempt_comes_back(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        completion = an_attempt(
            outcome.id, endpoint, status=201, response=b"\xff\x00ok", trigger=Trigger.MANUAL, url="https://old.example/"
        )
        assert await completed(store, completion)
        [attempt] = (await store.attempts_of_message(outcome.id, Filter())).items
        assert attempt.id > outcome.id
        for field in completion.attempt.__struct_fields__:
            if field != "id":
                assert getattr(attempt, field) == getattr(completion.attempt, field), field
        assert await store.attempt(attempt.id) == attempt
        assert await store.attempt(17) is None

    async def test_an_id_that_is_set_is_kept(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        assert await completed(store, an_attempt(outcome.id, endpoint, id=outcome.id + 99))
        attempt = await store.attempt(outcome.id + 99)
        assert attempt is not None
        assert attempt.message == outcome.id

    async def test_an_error_that_quotes_garbage_is_kept(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        outcome = await accepted(store, a_message(app, [endpoint]))
        assert await completed(store, an_attempt(outcome.id, endpoint, status=0, error="bad header: \udcff"))
        [attempt] = (await store.attempts_of_message(outcome.id, Filter())).items
        assert attempt.error == "bad header: \\udcff"


class TestMessageLists:
    @pytest.fixture
    async def app(self, life: StoreUnderTest, store: Store) -> App:
        """Ten messages, a second apart: even ones of type `even`, every third in /three, the last tagged."""
        app, [endpoint] = await an_app(store)
        for n in range(10):
            await accepted(
                store,
                a_message(
                    app,
                    [endpoint] if n < 4 else [],
                    payload=b"%d" % n,
                    event_type="odd" if n % 2 else "even",
                    channels=("/all", "/three") if n % 3 == 0 else ("/all",),
                    tags=("last",) if n == 9 else (),
                ),
            )
            life.clock.advance(1)
        return app

    @staticmethod
    async def listed(store: Store, app: App, **narrow: Any) -> list[int]:
        page = await store.list_messages(app.key, Filter(**narrow))
        assert page.done is (page.iterator is None)
        return [int(message.payload) for message in page.items]

    async def test_the_newest_first_or_last(self, store: Store, app: App) -> None:
        assert await self.listed(store, app) == list(range(9, -1, -1))
        assert await self.listed(store, app, ascending=True) == list(range(10))

    @pytest.mark.parametrize("ascending", [False, True])
    @pytest.mark.parametrize("narrow", [{}, {"event_types": ["even"]}, {"channel": "/three"}])
    async def test_pages_join_without_gap_or_repetition(
        self, store: Store, app: App, ascending: bool, narrow: dict[str, Any]
    ) -> None:
        whole = await self.listed(store, app, ascending=ascending, **narrow)
        joined: list[int] = []
        iterator: int | None = None
        done = False
        while not done:
            wanted = Filter(limit=2, iterator=iterator, ascending=ascending, **narrow)
            page = await store.list_messages(app.key, wanted)
            joined += [int(message.payload) for message in page.items]
            done, iterator = page.done, page.iterator
        assert joined == whole

    async def test_a_full_last_page_is_done(self, store: Store, app: App) -> None:
        page = await store.list_messages(app.key, Filter(limit=10))
        assert (len(page.items), page.done, page.iterator) == (10, True, None)

    async def test_filters(self, store: Store, app: App) -> None:
        endpoint = store.directory.endpoints_of(app.key)[0].key
        for narrow, expected in [
            ({"event_types": ["even"]}, [8, 6, 4, 2, 0]),
            ({"event_types": ["even", "odd"], "limit": 3}, [9, 8, 7]),
            ({"event_types": ["unknown"]}, []),
            ({"event_types": []}, []),
            ({"channel": "/three"}, [9, 6, 3, 0]),
            ({"channel": "/three", "event_types": ["even"]}, [6, 0]),
            ({"channel": "/thre"}, []),
            ({"tag": "last"}, [9]),
            ({"tag": "la"}, []),
            ({"endpoint": endpoint}, [3, 2, 1, 0]),
            ({"channel": "/three", "endpoint": endpoint}, [3, 0]),
        ]:
            assert await self.listed(store, app, **narrow) == expected, narrow

    async def test_times_are_exclusive_bounds(self, life: StoreUnderTest, store: Store, app: App) -> None:
        start = life.clock.now() - 10
        assert await self.listed(store, app, before=start + 3) == [2, 1, 0]
        assert await self.listed(store, app, after=start + 6) == [9, 8, 7]
        assert await self.listed(store, app, after=start + 2, before=start + 5) == [4, 3]
        assert await self.listed(store, app, after=start + 2.5, before=start + 4.5) == [4, 3]
        assert await self.listed(store, app, after=start - 5, before=start) == []

    async def test_what_a_resuming_subscriber_missed(self, store: Store, app: App) -> None:
        third = await store.list_messages(app.key, Filter(channel="/three", ascending=True, limit=1))
        missed = await store.channel_messages(app.key, "/three", third.items[0].id, 2)
        assert [int(message.payload) for message in missed] == [3, 6]
        assert len(await store.channel_messages(app.key, "/three", 0, 100)) == 4

    async def test_a_long_filtered_list_is_bounded_and_goes_on(self, store: Store) -> None:
        """A rare type among 7,000 others: each page says where to go on, and they meet it in the end."""
        app, _ = await an_app(store)
        await accepted(store, a_message(app, event_type="rare"))
        for _ in range(7):
            await accepted_all(store, [a_message(app) for _ in range(1000)])
        found: list[str] = []
        iterator: int | None = None
        done = False
        while not done:
            page = await store.list_messages(app.key, Filter(event_types=["rare"], iterator=iterator))
            assert page.done or page.iterator is not None
            found += [message.event_type for message in page.items]
            done, iterator = page.done, page.iterator
        assert found == ["rare"]


class TestAttemptLists:
    @pytest.fixture
    async def endpoints(self, life: StoreUnderTest, store: Store) -> list[Endpoint]:
        """Twelve attempts at the first endpoint and one at the second: 200, 404 and 503 in turn, types a and b."""
        app, endpoints = await an_app(store, endpoints=2)
        for n in range(12):
            message = a_message(
                app, endpoints, event_type="ab"[n % 2], channels=("/c",) if n < 6 else (), tags=("t",) if n > 9 else ()
            )
            outcome = await accepted(store, message)
            status = (200, 404, 503)[n % 3]
            completion = an_attempt(
                outcome.id,
                endpoints[0],
                state=State.DELIVERED if status == 200 else State.EXHAUSTED,
                status=status,
                event_type=message.event_type,
                response=b"%d" % n,
            )
            await completed(store, completion)
            life.clock.advance(1)
        await completed(store, an_attempt(outcome.id, endpoints[1], response=b"99"))
        return endpoints

    async def test_filters_of_an_endpoint(self, life: StoreUnderTest, store: Store, endpoints: list[Endpoint]) -> None:
        start = life.clock.now() - 12
        everything = list(range(11, -1, -1))
        for narrow, expected in [
            ({}, everything),
            ({"ascending": True}, everything[::-1]),
            ({"ok": True}, [9, 6, 3, 0]),
            ({"ok": False}, [11, 10, 8, 7, 5, 4, 2, 1]),
            ({"ok": False, "ascending": True, "limit": 2}, [1, 2]),
            ({"status_class": 2}, [9, 6, 3, 0]),
            ({"status_class": 4}, [10, 7, 4, 1]),
            ({"status_class": 5, "ok": False}, [11, 8, 5, 2]),
            ({"status_class": 5, "ok": True}, []),
            ({"status_class": 3}, []),
            ({"event_types": ["a"]}, everything[1::2]),
            ({"event_types": ["a"], "ok": False}, [10, 8, 4, 2]),
            ({"channel": "/c"}, everything[6:]),
            ({"tag": "t"}, [11, 10]),
            ({"before": start + 3}, [2, 1, 0]),
            ({"after": start + 9, "ok": False}, [11, 10]),
            ({"endpoint": endpoints[1].key}, []),
        ]:
            page = await store.attempts_of_endpoint(endpoints[0].key, Filter(**narrow))
            assert [int(attempt.response) for attempt in page.items] == expected, narrow

    async def test_pages(self, store: Store, endpoints: list[Endpoint]) -> None:
        for narrow in ({}, {"ok": False}, {"ok": True}, {"event_types": ["b"]}):
            for ascending in (False, True):
                whole = await store.attempts_of_endpoint(endpoints[0].key, Filter(ascending=ascending, **narrow))
                joined: list[Any] = []
                iterator: int | None = None
                done = False
                while not done:
                    wanted = Filter(limit=3, iterator=iterator, ascending=ascending, **narrow)
                    page = await store.attempts_of_endpoint(endpoints[0].key, wanted)
                    joined += page.items
                    done, iterator = page.done, page.iterator
                assert joined == whole.items

    async def test_of_a_message(self, store: Store, endpoints: list[Endpoint]) -> None:
        [second] = (await store.attempts_of_endpoint(endpoints[1].key, Filter())).items

        async def listed(**narrow: Any) -> list[int]:
            page = await store.attempts_of_message(second.message, Filter(**narrow))
            return [int(attempt.response) for attempt in page.items]

        assert await listed() == [99, 11]
        assert await listed(ascending=True, limit=1) == [11]
        assert await listed(ok=False) == [11]
        assert await listed(endpoint=endpoints[1].key) == [99]
        assert await listed(status_class=5) == [11]


class TestDirectory:
    async def test_everything_of_an_app_and_an_endpoint_comes_back(self, life: StoreUnderTest, store: Store) -> None:
        app = await store.put_app(
            App(0, 0, "Shop", uid="shop", metadata={"plan": "gold"}, throttle_rate=7, declared=True)
        )
        endpoint = await store.put_endpoint(
            Endpoint(
                key=0,
                id=0,
                app=app.key,
                url="https://partner.example/hook",
                uid="partner",
                description="Their orders",
                event_types=frozenset({"b", "a"}),
                channels=frozenset({"/c"}),
                headers={"X-Tenant": "7"},
                secrets=(Secret("whsec_bmV3"), Secret("whsec_b2xk", expires=1_700_000_100.5)),
                disabled=True,
                version=3,
                rate_limit=5,
                metadata={"k": "v"},
                declared=True,
                settings=EndpointSettings(
                    filter="payload.total > 10", schedule=(1.0, 2.5), batch=Batching(messages=7), auth=Bearer("t0ken")
                ),
            )
        )
        plain = await store.put_endpoint(Endpoint(0, 0, app.key, "https://plain.example/"))
        assert app.key
        assert app.id
        assert app.created == app.updated == life.clock.now()
        store = await life.reopen(store)
        directory = store.directory
        assert directory.apps == {app.key: app}
        assert directory.endpoints_of(app.key) == (endpoint, plain)
        assert directory.app("shop") == directory.app(ids.encode("app", app.id)) == app
        assert directory.endpoint(app.key, "partner") == endpoint
        assert directory.endpoint(app.key, ids.encode("ep", endpoint.id)) == endpoint

    async def test_replacing_keeps_id_and_creation(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint] = await an_app(store, uid="old")
        heard: list[tuple[int, Endpoint | None]] = []
        store.directory.watch(lambda key, value: heard.append((key, value)))
        life.clock.advance(60)
        changed = await store.put_app(App(app.key, 0, "New name", uid="new"))
        assert (changed.id, changed.created, changed.updated) == (app.id, app.created, app.created + 60)
        assert store.directory.app("old") is None
        assert store.directory.app("new") == changed
        moved = await store.put_endpoint(Endpoint(endpoint.key, 0, app.key, "https://moved.example/", disabled=True))
        assert (moved.id, moved.created) == (endpoint.id, endpoint.created)
        assert store.directory.endpoints[endpoint.key] == moved
        assert heard == [(endpoint.key, moved)]
        store = await life.reopen(store)
        assert store.directory.endpoints == {moved.key: moved}
        assert store.directory.apps == {changed.key: changed}

    async def test_a_taken_uid_is_refused(self, store: Store) -> None:
        app, [endpoint] = await an_app(store, uid="shop")
        other, _ = await an_app(store)
        with pytest.raises(ValueError, match="shop"):
            await store.put_app(App(0, 0, "Another", uid="shop"))
        with pytest.raises(ValueError, match="shop"):
            await store.put_app(App(other.key, 0, "Another", uid="shop"))
        await store.put_endpoint(Endpoint(0, 0, app.key, "https://a.example/", uid="e"))
        with pytest.raises(ValueError, match="'e'"):
            await store.put_endpoint(Endpoint(endpoint.key, 0, app.key, "https://b.example/", uid="e"))
        await store.put_endpoint(Endpoint(0, 0, other.key, "https://b.example/", uid="e"))  # unique in the app only
        assert store.directory.apps[other.key] == other
        assert isinstance(await accepted(store, a_message(app)), Accepted)

    async def test_a_failed_write_does_not_undo_its_neighbours(self, store: Store) -> None:
        await an_app(store, uid="shop")
        results = await asyncio.gather(
            store.put_app(App(0, 0, "A")),
            store.put_app(App(0, 0, "B", uid="shop")),
            store.put_app(App(0, 0, "C")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [App, ValueError, App]
        assert sorted(a.name for a in store.directory.apps.values()) == ["A", "C", "Shop"]

    async def test_what_is_gone_cannot_be_replaced(self, store: Store) -> None:
        app, [endpoint] = await an_app(store)
        await store.delete_endpoint(endpoint.key)
        with pytest.raises(LookupError):
            await store.put_endpoint(endpoint)
        await store.delete_app(app.key)
        with pytest.raises(LookupError):
            await store.put_app(app)
        with pytest.raises(LookupError):
            await store.put_endpoint(Endpoint(0, 0, app.key, "https://late.example/"))

    async def test_a_deleted_endpoint_is_sent_nothing_more(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint, other] = await an_app(store, endpoints=2)
        outcomes = await accepted_all(store, [a_message(app, [endpoint, other]) for _ in range(1200)])
        heard: list[tuple[int, Endpoint | None]] = []
        store.directory.watch(lambda key, value: heard.append((key, value)))
        await store.delete_endpoint(endpoint.key)
        await store.delete_endpoint(endpoint.key)  # idempotent
        assert heard == [(endpoint.key, None)]
        assert store.directory.endpoints_of(app.key) == (other,)
        assert await store.due(endpoint.key, life.clock.now(), 10) == []
        assert await store.next_due() == {other.key: life.clock.now()}
        assert await store.resend(outcomes[0].id, endpoint.key, 0.0) is None
        store = await life.reopen(store)
        assert store.directory.endpoints_of(app.key) == (other,)
        states = await swept(store, outcomes[-1].id)
        assert states == {endpoint.key: State.CANCELLED, other.key: State.PENDING}

    async def test_what_was_on_its_way_when_an_endpoint_was_deleted(self, life: StoreUnderTest, store: Store) -> None:
        app, [endpoint, other] = await an_app(store, endpoints=2)
        first = await accepted(store, a_message(app, [endpoint]))
        await store.delete_endpoint(endpoint.key)
        # matched before the deletion, handed in after it
        second = await accepted(store, a_message(app, [endpoint, other]))
        assert [d.endpoint for d in await store.deliveries_of(second.id)] == [other.key]
        # its attempt was under way
        assert await completed(store, an_attempt(first.id, endpoint, state=State.PENDING, due=life.clock.now() + 5))
        assert [d.state for d in await store.deliveries_of(first.id)] == [State.CANCELLED]
        assert len((await store.attempts_of_message(first.id, Filter())).items) == 1

    async def test_deleting_an_app_deletes_its_endpoints_and_frees_its_uid(
        self, life: StoreUnderTest, store: Store
    ) -> None:
        app, endpoints = await an_app(store, uid="shop", endpoints=2)
        outcome = await accepted(store, a_message(app, endpoints))
        await store.delete_app(app.key)
        assert store.directory.app("shop") is None
        assert store.directory.endpoints == {}
        assert await store.next_due() == {}
        successor, _ = await an_app(store, uid="shop")
        assert successor.key != app.key
        assert (await store.list_messages(successor.key, Filter())).items == []
        store = await life.reopen(store)
        assert store.directory.app("shop") == successor
        assert set((await swept(store, outcome.id)).values()) == {State.CANCELLED}

    async def test_the_directory_changes_though_the_caller_has_left(self, store: Store) -> None:
        app, _ = await an_app(store)
        leaving = asyncio.ensure_future(store.put_endpoint(Endpoint(0, 0, app.key, "https://x.example/", uid="kept")))
        await asyncio.sleep(0)
        leaving.cancel()
        await accepted(store, a_message(app))  # a later commit
        assert store.directory.endpoint(app.key, "kept") is not None


async def swept(store: Store, message: int) -> dict[int, State]:
    """The states of a message's deliveries, once the sweep, which runs in idle moments, has reached it."""
    async with asyncio.timeout(5):
        while True:
            states = {delivery.endpoint: delivery.state for delivery in await store.deliveries_of(message)}
            if State.CANCELLED in states.values():
                return states
