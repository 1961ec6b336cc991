"""Databases of a size that takes a while to come about, made through the store itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from gatepost import ids
from gatepost.analytics.sketch import Sketch
from gatepost.lifecycle import State
from gatepost.model import App, Attempt, Endpoint, Secret
from gatepost.stores.analytics import HOUR, AnalyticsRow
from gatepost.stores.base import Accepted, Completion, NewMessage, Outcome
from gatepost.stores.sqlite import SqliteStore

PAYLOAD = b'{"event":"new_order","data":{"order_id":12345,"customer_name":"John Doe","total_amount":100.0}}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BATCH = 2_000


def attempts(path: Path, number: int) -> tuple[str, str]:
    """One endpoint with `number` attempts, a tenth of them failed. The ids of its app and of itself."""
    return asyncio.run(_attempts(path, number))


def waiting(path: Path, messages: int, urls: list[str]) -> None:
    """`messages` for every one of `urls`, due since now: the backlog of a long outage."""
    asyncio.run(_waiting(path, messages, urls))


def analytics(path: Path, hours: int, consumers: int) -> str:
    """`hours` of analytics up to now, each with a row for each consumer: from when on, as the API takes it."""
    return asyncio.run(_analytics(path, hours, consumers))


async def _analytics(path: Path, hours: int, consumers: int) -> str:
    store = SqliteStore(str(path))
    await store.open()
    sketch = Sketch()
    for n in range(1_000):
        sketch.add(0.0005 + n % 50 * 0.0003)
    durations = sketch.encode()
    first = (int(time.time()) // HOUR - hours) * HOUR
    for hour in range(hours):
        await store.put_analytics(
            [
                AnalyticsRow(
                    HOUR, first + hour * HOUR, 0, "all", f"customer-{n}", 2, 1_000, 0, 1 << 20, *[durations] * 2
                )
                for n in range(consumers)
            ]
        )
    await store.close()
    return datetime.fromtimestamp(first, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _attempts(path: Path, number: int) -> tuple[str, str]:
    store = SqliteStore(str(path))
    await store.open()
    app, endpoints = await _objects(store, ["http://127.0.0.1:9/hook"])
    endpoint = endpoints[0]
    numbers = iter(range(number))
    while chunk := list(islice(numbers, BATCH)):
        accepted = await _accept(store, app, (endpoint.key,), len(chunk))
        await _complete(
            store, (_made(app, endpoint, message, n % 10 != 0) for message, n in zip(accepted, chunk, strict=True))
        )
    await store.close()
    return ids.encode("app", app.id), ids.encode("ep", endpoint.id)


async def _waiting(path: Path, messages: int, urls: list[str]) -> None:
    store = SqliteStore(str(path))
    await store.open()
    app, endpoints = await _objects(store, urls)
    keys = tuple(endpoint.key for endpoint in endpoints)
    left = messages
    while left:
        chunk = min(left, BATCH)
        await _accept(store, app, keys, chunk)
        left -= chunk
    await store.close()


async def _objects(store: SqliteStore, urls: list[str]) -> tuple[App, list[Endpoint]]:
    app = await store.put_app(App(key=0, id=0, name="bench", uid="bench"))
    endpoints = [
        await store.put_endpoint(Endpoint(key=0, id=0, app=app.key, url=url, secrets=(Secret(SECRET),))) for url in urls
    ]
    return app, endpoints


async def _accept(store: SqliteStore, app: App, endpoints: tuple[int, ...], number: int) -> list[int]:
    over = asyncio.get_running_loop().create_future()
    found: list[int] = []

    def done(outcome: Outcome) -> None:
        assert isinstance(outcome, Accepted), outcome
        found.append(outcome.id)
        if len(found) == number:
            over.set_result(None)

    for _ in range(number):
        store.accept(NewMessage(app.key, "order.created", PAYLOAD, endpoints), done)
    await over
    return found


async def _complete(store: SqliteStore, completions: Iterator[Completion]) -> None:
    over = asyncio.get_running_loop().create_future()
    todo = list(completions)
    left = len(todo)

    def done(on_disk: bool) -> None:
        nonlocal left
        assert on_disk
        left -= 1
        if not left:
            over.set_result(None)

    for completion in todo:
        store.complete(completion, done)
    await over


def _made(app: App, endpoint: Endpoint, message: int, ok: bool) -> Completion:
    attempt = Attempt(
        id=0,
        message=message,
        endpoint=endpoint.key,
        app=app.key,
        event_type="order.created",
        ok=ok,
        status=200 if ok else 500,
        url=endpoint.url,
        started=time.time(),
        duration=0.012,
        response=b'{"received":true}',
    )
    return Completion(attempt, State.DELIVERED if ok else State.EXHAUSTED, 1, None)
