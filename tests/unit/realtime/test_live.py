"""Live streams over a real store, without a server: what a browser is sent, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.stores import a_message, accepted, accepted_all, an_app
from tests.support.tokens import SECRET, token

from gatepost import ids, log
from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.exchange import Exchange
from gatepost.http1.messages import Fields
from gatepost.model import App, Message
from gatepost.realtime import backlog
from gatepost.realtime.hub import Hub
from gatepost.realtime.sse import MAX_TOPICS, TICKS, Live
from gatepost.stores.base import Accepted
from gatepost.stores.sqlite import SqliteStore

PATH = "/.well-known/mercure"


class Stage:
    """A node's live part: a store, a hub that hears its commits, and handlers over them."""

    def __init__(self, store: SqliteStore, clock: ManualClock, shop: App) -> None:
        self.store = store
        self.clock = clock
        self.shop = shop
        self.hub = Hub(store.last_id, asyncio.get_running_loop().call_soon)
        store.on_commit(self.hub.announce)
        self.live = self.configured()

    def configured(self, **config: Any) -> Live:
        config.setdefault("public", ("/shop/*",))
        return Live(schema.Live(**config), self.hub, self.store, self.clock)

    def open(
        self, query: str, fields: Fields | None = None, *, live: Live | None = None, method: str = "GET"
    ) -> tuple[Exchange, RecordingDownstream]:
        x, client = make_exchange(method, f"{PATH}?{query}", fields)
        (live or self.live).handle(x)
        return x, client

    def follow(self, *topics: str, last: int | str | None = None, live: Live | None = None) -> RecordingDownstream:
        text = ids.encode("msg", last) if isinstance(last, int) else last
        fields = [] if text is None else [(b"last-event-id", text.encode())]
        return self.open("&".join(f"topic={topic}" for topic in topics), fields, live=live)[1]

    async def publish(self, *channels: str, payload: bytes = b"{}", event_type: str = "order.paid") -> int:
        outcome = await accepted(
            self.store, a_message(self.shop, channels=channels, payload=payload, event_type=event_type)
        )
        assert isinstance(outcome, Accepted)
        return outcome.id


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock = ManualClock()
    store = SqliteStore(str(tmp_path / "store.db"), clock=clock)
    await store.open()
    shop, _ = await an_app(store, "shop")
    stage = Stage(store, clock, shop)
    yield stage
    stage.live.stop()
    await store.close()


def events(client: RecordingDownstream) -> list[int | None]:
    """The ids of the events so far."""
    lines = client.body.decode().split("\n")
    return [ids.decode("msg", line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]


def refusal(client: RecordingDownstream) -> tuple[int, str]:
    assert client.header(b"content-type") == b"application/problem+json"
    return client.status, str(json.loads(client.body)["type"]).rpartition(":")[2]


async def settled(live: Live) -> None:
    """Until no subscriber reads its backlog any more."""
    while live._tasks:
        await asyncio.gather(*live._tasks)


# What a stream looks like


async def test_a_message_appears_on_the_streams_of_its_channel(stage: Stage) -> None:
    page = stage.follow("/shop/orders/12345")
    other = stage.follow("/shop/orders/99999")
    identifier = await stage.publish("/orders/12345", payload=b'{"status":"paid"}')
    assert page.status == 200
    assert page.length is None
    assert page.header(b"content-type") == b"text/event-stream"
    assert page.header(b"cache-control") == b"no-store"
    assert page.header(b"x-accel-buffering") == b"no"
    assert page.body.decode() == (
        f'retry: 2000\n\nid: {ids.encode("msg", identifier)}\nevent: order.paid\ndata: {{"status":"paid"}}\n\n'
    )
    assert events(other) == []


async def test_an_app_is_named_by_its_id_as_well(stage: Stage) -> None:
    page = stage.follow(f"/{ids.encode('app', stage.shop.id)}/a", live=stage.configured(public=("/shop/*",)))
    assert refusal(page) == (403, "topic-forbidden")
    by_id = f"/{ids.encode('app', stage.shop.id)}/a"
    page = stage.follow(by_id, live=stage.configured(public=(by_id,)))
    assert page.status == 200, page.body
    identifier = await stage.publish("/a")
    assert events(page) == [identifier]


async def test_one_stream_follows_several_topics(stage: Stage) -> None:
    page = stage.follow("/shop/a", "/shop/b")
    one, two = await stage.publish("/a"), await stage.publish("/a", "/b")
    await stage.publish("/c")
    assert events(page) == [one, two]


async def test_an_event_is_never_sent_before_it_is_on_disk(stage: Stage) -> None:
    page = stage.follow("/shop/a")
    seen: list[list[int | None]] = []
    stage.store.on_commit(lambda _: seen.append(events(page)))
    message = a_message(stage.shop, channels=("/a",))
    stage.store.accept(message, lambda _: None)
    await asyncio.sleep(0)
    assert events(page) == []
    await stage.publish("/b")
    assert seen[0] == [message.id]


# Resuming


async def test_a_stream_goes_on_where_it_broke(stage: Stage) -> None:
    made = [await stage.publish("/a") for _ in range(5)]
    page = stage.follow("/shop/a", last=made[1])
    assert page.header(b"last-event-id") == ids.encode("msg", made[1]).encode()
    await settled(stage.live)
    made.append(await stage.publish("/a"))
    assert events(page) == made[2:]


async def test_the_last_id_may_stand_in_the_query_and_the_header_counts_first(stage: Stage) -> None:
    made = [await stage.publish("/a") for _ in range(3)]
    first, second = (ids.encode("msg", identifier) for identifier in made[:2])
    _, page = stage.open(f"topic=/shop/a&lastEventID={first}")
    _, both = stage.open(f"topic=/shop/a&lastEventID={first}", [(b"last-event-id", second.encode())])
    await settled(stage.live)
    assert events(page) == made[1:]
    assert events(both) == made[2:]


@pytest.mark.parametrize("last", ["earliest", "urn:uuid:of-another-hub", "msg_", "ep_00000000001"])
async def test_an_id_that_is_not_ours_gets_everything_and_is_told_so(stage: Stage, last: str) -> None:
    made = [await stage.publish("/a") for _ in range(3)]
    page = stage.follow("/shop/a", last=last)
    assert page.header(b"last-event-id") == b"earliest"
    await settled(stage.live)
    assert events(page) == made


async def test_an_id_from_the_future_gets_what_happens_now(stage: Stage) -> None:
    await stage.publish("/a")
    page = stage.follow("/shop/a", last=2**62)
    await settled(stage.live)
    identifier = await stage.publish("/a")
    assert events(page) == [identifier]


async def test_a_long_backlog_of_several_topics_comes_in_order_and_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "PAGE", 12)  # four a channel
    channels = [("/a",), ("/b",), ("/a",), ("/a", "/b"), ("/c",)]
    messages = [a_message(stage.shop, channels=channels[i * 7 % 5]) for i in range(100)]
    await accepted_all(stage.store, messages)
    page = stage.follow("/shop/a", "/shop/b", last=messages[9].id)
    await settled(stage.live)
    assert events(page) == [m.id for m in messages[10:] if m.channels != ("/c",)]


async def test_messages_that_come_while_the_backlog_is_read_follow_it(stage: Stage) -> None:
    made = [await stage.publish("/a") for _ in range(200)]
    page = stage.follow("/shop/a", last=made[0])
    made += [await stage.publish("/a") for _ in range(5)]
    await settled(stage.live)
    assert events(page) == made[1:]


async def test_between_backlog_and_live_nothing_is_lost_or_repeated(stage: Stage) -> None:
    """Many streams resume at any moment of a busy channel; each sees every message after its id once, in order."""
    made: list[int] = [await stage.publish("/a", "/b")]
    pages: list[tuple[int, RecordingDownstream]] = []

    async def write() -> None:
        for n in range(60):
            batch = [a_message(stage.shop, channels=("/a",) if n % 3 else ("/b",)) for _ in range(3)]
            for outcome in await accepted_all(stage.store, batch):
                assert isinstance(outcome, Accepted)
                made.append(outcome.id)

    writer = asyncio.create_task(write())
    while not writer.done():
        if len(pages) < 80:
            position = len(made) * (len(pages) % 5) // 5
            pages.append((position, stage.follow("/shop/a", "/shop/b", last=made[position])))
        await asyncio.sleep(0)
    await writer
    await settled(stage.live)
    while stage.hub._work:  # the last messages are handed out in slices
        await asyncio.sleep(0)
    assert len(pages) > 20
    for position, page in pages:
        assert events(page) == made[position + 1 :]


async def test_what_was_stored_before_a_restart_is_resumed(stage: Stage) -> None:
    made = [await stage.publish("/a") for _ in range(3)]
    hub = Hub(stage.store.last_id, asyncio.get_running_loop().call_soon)
    again = Live(schema.Live(public=("/shop/*",)), hub, stage.store, stage.clock)
    page = stage.follow("/shop/a", last=made[0], live=again)
    await settled(again)
    assert events(page) == made[1:]


async def test_a_backlog_waits_for_a_slow_reader_and_holds_up_nobody_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "READERS", 1)
    reads = 0
    read = stage.store.channel_messages

    async def counted(*arguments: Any) -> list[Message]:
        nonlocal reads
        reads += 1
        return await read(*arguments)

    monkeypatch.setattr(stage.store, "channel_messages", counted)
    live = stage.configured()
    made = [await stage.publish("/a") for _ in range(100)]
    slow = stage.follow("/shop/a", last=made[0], live=live)
    assert slow.source is not None
    slow.source.pause()
    quick = stage.follow("/shop/a", last=made[0], live=live)
    while len(events(quick)) < 99:
        await asyncio.sleep(0)
    assert events(slow) == []
    assert reads == 3, "one page of the slow one's, which it did not take, and two of the other's"
    slow.source.resume()
    await settled(live)
    assert events(slow) == made[1:]


async def test_a_subscriber_that_leaves_during_its_backlog_ends_the_reading(stage: Stage) -> None:
    made = [await stage.publish("/a") for _ in range(3)]
    page = stage.follow("/shop/a", last=made[0])
    assert page.source is not None
    page.source.cancel()
    await settled(stage.live)
    assert events(page) == []
    assert stage.live.streams == stage.hub.receivers == 0


async def test_a_store_that_cannot_be_read_ends_the_stream_and_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await stage.publish("/a") for _ in range(3)]

    async def broken(*_: Any) -> list[Message]:
        raise OSError("disk gone")

    monkeypatch.setattr(stage.store, "channel_messages", broken)
    with log.recorded() as lines:
        page = stage.follow("/shop/a", last=made[0])
        await settled(stage.live)
    assert page.aborted
    assert [(line["event"], line["reason"]) for line in lines] == [("live_backlog_failed", "disk gone")]


# Those who cannot keep up, and ends


async def test_a_slow_subscriber_is_cut_and_the_others_go_on(stage: Stage) -> None:
    live = stage.configured(buffer_bytes=1_000)
    slow, quick = stage.follow("/shop/a", live=live), stage.follow("/shop/a", live=live)
    assert slow.source is not None
    slow.source.pause()
    made = [await stage.publish("/a", payload=b'"' + b"x" * 100 + b'"') for _ in range(20)]
    assert slow.aborted
    assert events(quick) == made
    assert live.streams == stage.hub.receivers == 1


async def test_a_client_that_leaves_is_forgotten(stage: Stage) -> None:
    x, client = stage.open("topic=/shop/a")
    client.gone = True
    stage.live.client_gone(x)
    assert stage.live.streams == stage.hub.receivers == 0
    assert stage.live._timer is None, "nobody is left to speak to"
    stage.live.client_gone(make_exchange()[0])  # one that was never a stream


async def test_stopping_ends_streams_on_purpose_and_spreads_their_return(stage: Stage) -> None:
    pages = [stage.follow("/shop/a") for _ in range(3)]
    stage.live.stop()
    assert all(page.finished for page in pages)
    assert [page.body.rpartition(b"retry: ")[2] for page in pages] == [b"2000\n\n", b"2125\n\n", b"2250\n\n"]
    assert refusal(stage.follow("/shop/a")) == (503, "live-unavailable")
    assert stage.hub.receivers == 0


async def test_a_stream_does_not_outlive_its_token(stage: Stage) -> None:
    live = stage.configured(public=(), jwt_secret=SECRET)
    fields = [(b"authorization", b"Bearer " + token(exp=stage.clock.now() + 30).encode())]
    x, page = stage.open("topic=/shop/orders/1", fields, live=live)
    assert page.status == 200
    stage.clock.advance(29)
    live._tick(x.loop)
    assert not page.ended
    stage.clock.advance(1)
    live._tick(x.loop)
    assert page.finished
    assert x.outcome == "token-expired"
    live.stop()


async def test_ended_streams_leave_nothing_though_their_tokens_go_on(stage: Stage) -> None:
    live = stage.configured(public=(), jwt_secret=SECRET)
    fields = [(b"authorization", b"Bearer " + token(exp=stage.clock.now() + 3600).encode())]
    for _ in range(500):
        x, _ = stage.open("topic=/shop/orders/1", fields, live=live)
        live.client_gone(x)
    assert len(live._expiries) <= 65


async def test_one_timer_speaks_to_everyone_once_a_heartbeat(stage: Stage) -> None:
    pages = [stage.follow("/shop/a") for _ in range(TICKS * 2 + 1)]
    before = stage.live._timer
    assert before is not None
    assert before.when() - asyncio.get_running_loop().time() <= 15 / TICKS
    paused = pages[0]
    assert paused.source is not None
    paused.source.pause()
    for _ in range(TICKS):
        assert stage.live._timer is not None
        stage.live._timer.cancel()
        stage.live._tick(asyncio.get_running_loop())
    assert [page.body.count(b":\n\n") for page in pages] == [0] + [1] * (TICKS * 2)


# Refusals


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (400, "topic-missing")),
        ("topics=/shop/a", (400, "topic-missing")),
        ("&".join(["topic=/shop/a"] * (MAX_TOPICS + 1)), (400, "too-many-topics")),
        ("topic=", (400, "topic-invalid")),
        ("topic=/shop", (400, "topic-invalid")),
        ("topic=/shop/*", (400, "topic-invalid")),
        ("topic=/shop/orders/{id}", (400, "topic-invalid")),
        ("topic=https://shop.example/orders/1", (400, "topic-invalid")),
        ("topic=/shop/a&authorization=eyJh", (400, "token-in-url")),
        ("topic=/bakery/a", (403, "topic-forbidden")),
        ("topic=/ghost/a", (404, "app-unknown")),
    ],
)
async def test_what_cannot_be_subscribed_to(stage: Stage, query: str, expected: tuple[int, str]) -> None:
    x, client = stage.open(query, live=stage.configured(public=("/shop/*", "/ghost/*")))
    assert refusal(client) == expected
    assert x.outcome == expected[1]
    assert stage.hub.receivers == 0


async def test_a_private_topic_needs_a_token_that_names_it(stage: Stage) -> None:
    live = stage.configured(public=(), jwt_secret=SECRET)
    _, without = stage.open("topic=/shop/orders/1", live=live)
    assert refusal(without) == (401, "token-missing")
    assert without.header(b"www-authenticate") == b'Bearer realm="gatepost"'
    fields = [(b"cookie", b"mercureAuthorization=" + token(exp=stage.clock.now() + 30).encode())]
    _, wrong = stage.open("topic=/shop/orders/2", fields, live=live)
    assert refusal(wrong) == (403, "topic-forbidden")
    _, right = stage.open("topic=/shop/orders/1", fields, live=live)
    assert right.status == 200
    live.stop()


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_streams_are_read_with_get(stage: Stage, method: str) -> None:
    _, client = stage.open("topic=/shop/a", method=method)
    assert refusal(client) == (405, "method-not-allowed")
    assert client.header(b"allow") == b"GET, OPTIONS"


async def test_more_subscribers_than_allowed_are_told_to_come_later(stage: Stage) -> None:
    live = stage.configured(subscribers=2)
    pages = [stage.follow("/shop/a", live=live) for _ in range(3)]
    assert [page.status for page in pages] == [200, 200, 503]
    assert pages[2].header(b"retry-after") == b"2"
    assert pages[0].source is not None
    pages[0].source.cancel()
    assert stage.follow("/shop/a", live=live).status == 200
    live.stop()


# Pages of other origins


def cors(client: RecordingDownstream) -> dict[bytes, bytes]:
    return {name: value for name, value in client.fields if name.startswith(b"access-control") or name == b"vary"}


async def test_only_named_origins_may_read_with_credentials(stage: Stage) -> None:
    live = stage.configured(allow_origins=("https://shop.example",))
    _, friend = stage.open("topic=/shop/a", [(b"origin", b"https://shop.example")], live=live)
    assert cors(friend) == {
        b"vary": b"origin",
        b"access-control-allow-origin": b"https://shop.example",
        b"access-control-allow-credentials": b"true",
        b"access-control-expose-headers": b"last-event-id",
    }
    for origin in (b"https://evil.example", b"null", b"https://shop.example.evil.example"):
        _, stranger = stage.open("topic=/shop/a", [(b"origin", origin)], live=live)
        assert cors(stranger) == {b"vary": b"origin"}
    live.stop()


async def test_any_origin_may_read_what_is_public_but_without_credentials(stage: Stage) -> None:
    live = stage.configured(allow_origins=("*",))
    _, page = stage.open("topic=/shop/a", [(b"origin", b"https://anyone.example")], live=live)
    assert cors(page)[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in cors(page)
    live.stop()


async def test_a_refusal_can_be_read_by_the_page_as_well(stage: Stage) -> None:
    live = stage.configured(public=(), allow_origins=("https://shop.example",))
    _, client = stage.open("topic=/shop/a", [(b"origin", b"https://shop.example")], live=live)
    assert client.status == 403
    assert cors(client)[b"access-control-allow-origin"] == b"https://shop.example"


async def test_a_preflight_is_answered(stage: Stage) -> None:
    live = stage.configured(allow_origins=("https://shop.example",))
    _, client = stage.open("topic=/shop/a", [(b"origin", b"https://shop.example")], live=live, method="OPTIONS")
    assert client.status == 204
    assert cors(client)[b"access-control-allow-headers"] == b"authorization, last-event-id, cache-control"
    assert cors(client)[b"access-control-allow-origin"] == b"https://shop.example"
