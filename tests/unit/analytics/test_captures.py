from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.exchanges import make_exchange

from gatepost import log
from gatepost.analytics.capture import Capture, Captures, Part
from gatepost.analytics.capture_document import body_of
from gatepost.analytics.capture_keeper import CaptureKeeper
from gatepost.analytics.redaction import Redaction
from gatepost.clock import ManualClock
from gatepost.config.capture import Capture as Settings
from gatepost.config.capture import Captures as Kept
from gatepost.stores.sqlite import SqliteStore


def pass_one(policy: Capture, status: int = 200, body: bytes = b"ok") -> None:
    x, client = make_exchange()
    stage = policy.stage(x, client)
    policy.on_request(x)
    stage.respond(x, status, [(b"content-type", b"text/plain")], body)
    x.status = status
    x.response_fields = client.fields
    policy.on_finish(x)


def a_policy(captures: Captures, **settings: Any) -> Capture:
    return Capture(Settings(**{"sample": 1.0, **settings}), Redaction(), captures)


def test_an_exchange_that_is_not_drawn_meets_nothing() -> None:
    captures = Captures(ManualClock(), 1_000_000)
    x, client = make_exchange()
    assert a_policy(captures, sample=0.0).stage(x, client) is client
    assert x.notes is None


def test_about_the_share_that_is_asked_for_is_kept() -> None:
    captures = Captures(ManualClock(), 1 << 30)
    policy = a_policy(captures, sample=0.25)
    for _ in range(2_000):
        pass_one(policy)
    assert 350 < len(captures.handed_over()) < 650  # six deviations


def test_what_exceeds_the_buffer_is_dropped_and_counted_until_there_is_room() -> None:
    captures = Captures(ManualClock(), 20_000)
    policy = a_policy(captures)
    for _ in range(10):
        pass_one(policy, body=b"x" * 4_096)
    assert len(captures.handed_over()) == 2
    assert captures.dropped == 8
    pass_one(policy)
    assert len(captures.handed_over()) == 1


def test_only_statuses_that_are_asked_for_are_kept() -> None:
    captures = Captures(ManualClock(), 1_000_000)
    policy = a_policy(captures, statuses=("5xx", "404"))
    for status in (200, 301, 400, 404, 500, 599):
        pass_one(policy, status)
    assert [seen.status for seen in captures.handed_over()] == [404, 500, 599]


async def test_what_the_store_cannot_write_is_dropped_and_told_of(tmp_path: Path) -> None:
    clock = ManualClock()
    store = SqliteStore(str(tmp_path / "gatepost.db"), clock=clock)
    await store.open()
    captures = Captures(clock, 1_000_000)
    keeper = CaptureKeeper(store, captures, Kept(), clock)
    pass_one(a_policy(captures))
    await keeper.flush()
    (kept,) = await store.list_captures(route=None, low=0, high=1_000, before=None, limit=10)
    assert json.loads(kept.document)["response"]["body"]["text"] == "ok"
    clock.advance(86_401)
    await keeper.drop()
    assert await store.capture(kept.id) is None

    for _ in range(5):
        pass_one(a_policy(captures))
    await keeper.flush()
    await CaptureKeeper(store, captures, Kept(most=2), clock).drop()
    assert len(await store.list_captures(route=None, low=0, high=1_000, before=None, limit=10)) == 2

    await store.close()
    pass_one(a_policy(captures))
    with log.recorded() as events:
        await keeper.flush()
    assert [(event["event"], event["captures"]) for event in events] == [("captures_dropped", 1)]


def test_bodies_are_shown_only_where_they_are_texts_and_readable() -> None:
    def shown(content_type: bytes, data: bytes, *more: tuple[bytes, bytes]) -> Any:
        body = body_of(Part([(b"content-type", content_type), *more], data, len(data)), Redaction())
        return None if body is None else body["text"]

    assert shown(b"text/plain; charset=utf-8", b"\xc3\x84") == "Ä"
    assert shown(b"application/problem+json", b'{"token": 1, "a": 2}') == '{"token":"[redacted]","a":2}'
    assert shown(b"application/json", b'{"token": 1, "a": ') == '{"token": "[redacted]", "a": '
    assert shown(b"application/x-www-form-urlencoded", b"a=1&pin=2") == "a=1&pin=[redacted]"
    assert shown(b"application/soap+xml", b"<a><pin>1</pin></a>") == "<a><pin>[redacted]</pin></a>"
    assert shown(b"application/octet-stream", b"secret") is None
    assert shown(b"multipart/form-data; boundary=x", b"secret") is None
    assert shown(b"", b"secret") is None
    assert shown(b"text/plain", b"secret", (b"content-encoding", b"gzip")) is None
    assert shown(b"text/plain", b"") is None
    assert body_of(Part([(b"content-type", b"text/plain")], b"", 9), Redaction()) is not None
