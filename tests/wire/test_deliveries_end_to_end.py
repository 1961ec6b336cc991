"""From the store to real receivers and back: what was accepted arrives signed, is recorded, and survives a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvloop
from standardwebhooks.webhooks import Webhook
from tests.support.backend import OK, Backend, Exchange
from tests.support.rawclient import PATIENCE
from tests.support.stores import accepted_all

from gatepost import ids
from gatepost.clock import SystemClock
from gatepost.config.schema import Deliveries as Settings
from gatepost.deliveries import Deliveries
from gatepost.destinations.webhook import WebhookDestination
from gatepost.model import App, Endpoint, Secret
from gatepost.net.deadlines import Deadlines
from gatepost.net.guard import Guard
from gatepost.net.resolve import Answer, Resolver
from gatepost.stores.base import Filter, NewMessage
from gatepost.stores.sqlite import SqliteStore

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = Settings(schedule=(0.05, 0.1, 0.2), timeout=1.0, allow_networks=("127.0.0.0/8",))


class Node:
    """Store, engine and destination as `app` wires them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"

    async def __aenter__(self) -> Node:
        loop, clock = asyncio.get_running_loop(), SystemClock()
        self.store = SqliteStore(str(self.path))
        await self.store.open()
        self.deadlines = Deadlines(loop)
        self.destination = WebhookDestination(
            SETTINGS,
            resolver=Resolver(no_names),
            guard=Guard(SETTINGS.allow_networks),
            deadlines=self.deadlines,
            clock=clock,
            loop=loop,
        )
        self.engine = Deliveries(self.store, self.destination, SETTINGS, clock, loop)
        self.store.on_commit(self.engine.accept)
        await self.engine.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.engine.stop(0.0)
        self.destination.close()
        self.deadlines.close()
        await self.store.close()

    async def endpoints(self, *urls: str) -> tuple[App, list[Endpoint]]:
        app = await self.store.put_app(App(0, 0, "shop"))
        secrets = (Secret(SECRET),)
        return app, [await self.store.put_endpoint(Endpoint(0, 0, app.key, url, secrets=secrets)) for url in urls]

    async def accept(self, app: App, endpoints: list[Endpoint], count: int = 1) -> list[int]:
        keys = [endpoint.key for endpoint in endpoints]
        messages = [NewMessage(app.key, "order.created", b'{"n":%d}' % n, keys) for n in range(count)]
        await accepted_all(self.store, messages)
        return [message.id for message in messages]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.store.next_due()


def no_names(host: str) -> asyncio.Future[Answer]:
    raise AssertionError(f"{host} was looked up")


def on_uvloop(test: Callable[[Path, Backend], object], folder: Path) -> None:
    async def main() -> None:
        receiver = Backend()
        await receiver.start()
        await test(folder, receiver)  # type: ignore[misc]
        await receiver.stop()
        assert receiver.faults == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_the_event_arrives_signed_on_the_third_try_and_each_try_is_on_record(tmp_path: Path) -> None:
    async def story(folder: Path, receiver: Backend) -> None:
        async def fail_twice(x: Exchange) -> None:
            await x.body()
            x.write(OK if len(receiver.requests) == 3 else b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nbusy")

        receiver.script = fail_twice
        async with Node(folder) as node:
            app, endpoints = await node.endpoints(f"{receiver.url}/webhook")
            (message,) = await node.accept(app, endpoints)
            await node.until(lambda: node.engine.delivered == 1 and not node.engine.held)
            tries = (await node.store.attempts_of_message(message, Filter(ascending=True))).items
            assert [(a.status, a.response) for a in tries] == [(500, b"busy"), (500, b"busy"), (200, b"ok")]
            for x in receiver.requests:
                headers = {name.decode(): value.decode() for name, value in x.message.fields}
                assert headers["webhook-id"] == ids.encode("msg", message)
                Webhook(SECRET).verify(bytes(x.message.body), headers)

    on_uvloop(story, tmp_path)


def test_a_node_that_died_is_taken_over_by_the_next_and_nothing_is_lost(tmp_path: Path) -> None:
    async def story(folder: Path, receiver: Backend) -> None:
        receiver.script = lambda x: x.gone()
        async with Node(folder) as node:
            app, endpoints = await node.endpoints(f"{receiver.url}/webhook")
            messages = await node.accept(app, endpoints, 100)
            await receiver.request(3)
        receiver.reset()
        async with Node(folder) as node:
            await node.until(lambda: node.engine.delivered == 100 and not node.engine.held)
        got = {x.get(b"webhook-id") for x in receiver.requests}
        assert got == {ids.encode("msg", message).encode() for message in messages}
        assert len(receiver.requests) == 100

    on_uvloop(story, tmp_path)


def test_one_endpoint_that_hangs_and_one_that_fails_hold_up_no_other(tmp_path: Path) -> None:
    async def story(folder: Path, receiver: Backend) -> None:
        async def script(x: Exchange) -> None:
            await x.body()
            if x.target == b"/hangs":
                await x.gone()
            else:
                x.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" if x.target == b"/fails" else OK)

        receiver.script = script
        async with Node(folder) as node:
            well = [f"{receiver.url}/{n}" for n in range(8)]
            app, endpoints = await node.endpoints(f"{receiver.url}/hangs", f"{receiver.url}/fails", *well)
            for _ in range(10):
                await node.accept(app, endpoints, 20)
            await node.until(lambda: node.engine.delivered == 200 * len(well))
            assert [x.target for x in receiver.requests].count(b"/hangs") <= 16

    on_uvloop(story, tmp_path)
