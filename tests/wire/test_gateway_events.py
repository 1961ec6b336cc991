"""The gateway's own events reach who asked for them: a webhook, signed, and a live page."""

from __future__ import annotations

import asyncio
import datetime
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.certificates import Authority
from tests.support.node import Node, address
from tests.support.rawclient import RawClient, soon

from gatepost.signatures import STANDARD_WEBHOOKS

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "gp_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"


class Pager:
    """A receiver of webhooks: `told` by event type, every signature verified."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.told: dict[str, list[dict[str, Any]]] = {}
        self.bodies: list[bytes] = []
        self._news = asyncio.Event()
        backend.script = self._take

    async def _take(self, x: Exchange) -> None:
        body = await x.body()
        fields = [(name.lower(), value) for name, value in x.message.fields]
        STANDARD_WEBHOOKS.verify(fields, body, [SECRET], datetime.datetime.now().timestamp())
        document = json.loads(body)
        self.bodies.append(body)
        self.told.setdefault(document["type"], []).append(document)
        self._news.set()
        x.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def hears(self, event_type: str, about: str = "") -> dict[str, Any]:
        """The first event of a type, with `about` in its subject."""

        async def heard() -> dict[str, Any]:
            while True:
                for told in self.told.get(event_type, []):
                    if about in told["subject"]:
                        return told
                self._news.clear()
                await self._news.wait()

        return await soon(heard(), f"the event {event_type}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Node, Pager]]:
    backend = Backend()
    await backend.start()
    folder = tmp_path_factory.mktemp("events")
    soon_over = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5)
    cert, key = Authority(folder).issue("shop.example", until=soon_over)
    node = Node(folder / "node", {})
    node.write(
        {
            "listen": {
                "traffic": [address(node.traffic), {"address": "127.0.0.1:0", "tls": {"cert": cert, "key": key}}],
                "control": address(node.control),
            },
            "services": {"main": {"targets": [backend.url]}},
            "routes": {
                name: {"match": {"path": f"/{name}"}, "service": "main", "policies": [{"api_key": {}}]}
                for name in ("locked", "secret")
            },
            "apps": {"gatepost": {"endpoints": [{"uid": "pager", "url": f"{backend.url}/hook", "secret": SECRET}]}},
            "deliveries": {"allow_networks": ["127.0.0.0/8"]},
            "live": {"public": ["/gatepost/*"]},
        }
    )
    pager = Pager(backend)
    await node.start()
    yield node, pager
    node.kill()
    await node.exit_code()
    assert not node.tracebacks, node.errors
    await backend.stop()


async def test_a_refused_configuration_is_told_by_webhook_and_live(started: tuple[Node, Pager]) -> None:
    node, pager = started
    good = json.loads(node.file.read_text())
    async with await RawClient.connect(node.traffic) as page:
        page.send(b"GET /.well-known/mercure?topic=/gatepost/events HTTP/1.1\r\nHost: a\r\n\r\n")
        await page.until(b"\r\n\r\n")
        node.write({**good, "limits": {"header_count": "many"}})
        node.signal(signal.SIGHUP)
        told = await pager.hears("config.refused")
        assert told["subject"] == "config"
        assert told["facts"]["path"] == "limits.header_count"
        assert told["facts"]["faults"] == 1
        assert told["facts"]["line"] > 0
        await page.until(b"config.refused")
    node.write(good)
    node.signal(signal.SIGHUP)
    told = await pager.hears("config.reloaded")
    assert told["facts"]["routes"] == 2


async def test_a_certificate_that_ends_soon_is_told_once_over_a_restart(started: tuple[Node, Pager]) -> None:
    node, pager = started
    told = await pager.hears("certificate.expiring")
    assert told["facts"]["days"] == 7
    assert told["facts"]["names"] == "shop.example"
    node.signal(signal.SIGTERM)
    await node.exit_code()
    seen = len(node.errors)
    await node.start()
    await node.event("certificate_expiring", after=seen)
    async with await RawClient.connect(node.traffic) as client:  # what is told after it has come: it would have, too
        client.send(b"GET /locked HTTP/1.1\r\nHost: a\r\nX-Api-Key: wrong\r\n\r\n")
        assert (await client.response()).status == 401, node.errors[-3:]
    await pager.hears("auth.failed", "locked")
    assert len(pager.told["certificate.expiring"]) == 1


async def test_no_key_that_was_tried_is_in_an_event(started: tuple[Node, Pager]) -> None:
    node, pager = started
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"GET /secret?key=%b HTTP/1.1\r\nHost: a\r\nX-Api-Key: %b\r\n\r\n" % (KEY.encode(), KEY.encode()))
        assert (await client.response()).status == 401, node.errors[-3:]
    await pager.hears("auth.failed", "secret")
    assert not [body for body in pager.bodies if KEY.encode() in body]


async def test_the_app_cannot_be_deleted(started: tuple[Node, Pager]) -> None:
    node, _ = started
    refused = await node.api("DELETE", "/api/v1/app/gatepost", expect=409)
    assert refused["code"] == "conflict"


async def test_they_can_be_turned_off(tmp_path: Path) -> None:
    node = Node(tmp_path, {"notices": {"enabled": False}})
    await node.start()
    try:
        await node.api("GET", "/api/v1/app/gatepost", expect=404)
        seen = len(node.errors)
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded", after=seen)
    finally:
        node.kill()
        await node.exit_code()
    assert not node.tracebacks, node.errors
