"""examples/extending: a FastAPI application behind a key, a limit and a policy of one's own (docs/extending.md)."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.node import Node, address, running
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message

from gatepost.policies.api_key import new_key

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "extending"
KEY, DIGEST = new_key()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """The example as it stands, on free ports."""
    folder = tmp_path_factory.mktemp("extending")
    for module in EXAMPLE.glob("*.py"):
        (folder / module.name).write_bytes(module.read_bytes())
    os.environ["WEB_SHOP_KEY_SHA256"] = DIGEST
    text = (EXAMPLE / "gatepost.yaml").read_text()
    node = Node(folder, {})
    listen = f'listen: {{traffic: "{address(node.traffic)}", control: "{address(node.control)}"}}'
    text, count = re.subn(r"^listen:.*$", listen, text, flags=re.MULTILINE)
    assert count == 1
    node.write_text(text)
    try:
        await node.start()
        yield node
    finally:
        del os.environ["WEB_SHOP_KEY_SHA256"]
        if node.process.returncode is None:
            node.kill()
        await node.exit_code()
    assert not node.tracebacks, node.errors


async def ask(node: Node, path: str, *, key: str = KEY, body: bytes = b"") -> Message:
    method = b"POST" if body else b"GET"
    head = b"%b %b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" % (method, path.encode())
    head += b"X-Api-Key: %b\r\n" % key.encode() if key else b""
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body) if body else b""
    async with await RawClient.connect(node.traffic) as client:
        client.send(head + b"\r\n" + body)
        return await client.response(method)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_application_answers_behind_key_limit_and_policy(node: Node) -> None:
    assert (await ask(node, "/quotes/oak-table", key="")).status == 401
    answer = await ask(node, "/quotes/oak-table")
    assert json.loads(answer.body) == {
        "article": "oak-table",
        "price": 420,
        "url": "http://shop.example/quotes/oak-table",
    }
    assert answer.get(b"x-opening-hours") == b"0-24"
    assert answer.get(b"ratelimit") is not None
    answer = await ask(node, "/quotes/pine-chair", body=b'{"quantity": 3}')
    assert json.loads(answer.body) == {"article": "pine-chair", "total": 237}
    assert (await ask(node, "/quotes/nothing")).status == 404
    statuses = [(await ask(node, "/quotes/oak-table")).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]


def test_the_page_shows_the_class_as_it_is() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    shown = re.search(r"```python\n(import time.*?)```", page, re.DOTALL)
    assert shown is not None
    assert (EXAMPLE / "opening_hours.py").read_text().endswith(shown[1])


@pytest.mark.asyncio(loop_scope="module")
async def test_applications_start_and_stop_with_the_services_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(LIFESPANS)
    route = {"match": {"path": "/*"}, "service": "first"}
    settings = {"services": {"first": {"asgi": "counted:first"}}, "routes": {"all": route}}
    async with running(tmp_path, settings) as node:

        async def after_reload(services: dict[str, object]) -> str:
            before = len(node.errors)
            node.write(
                {**settings, "services": services, "routes": {"all": {**route, "service": next(iter(services))}}}
            )
            node.signal(signal.SIGHUP)
            await node.event("config_reloaded", after=before, within=20)
            return (await ask(node, "/")).body.decode()

        assert (await ask(node, "/")).body == b"first 1"
        first = settings["services"]["first"]
        assert await after_reload({"first": first, "more": {"targets": ["http://127.0.0.1:1"]}}) == "first 1", (
            "it stays"
        )
        assert await after_reload({"second": {"asgi": "counted:second"}}) == "second 1"
        before = len(node.errors)
        node.write({**settings, "services": {"first": {"asgi": "counted:failing"}}})
        node.signal(signal.SIGHUP)
        refused = await node.event("config_refused", after=before, within=20)
        assert "the service first: the application did not start: no database" in refused["reason"]
        assert (await ask(node, "/")).body == b"second 1"
        node.signal(signal.SIGTERM)
        assert await node.exit_code() == 0
    lines = (tmp_path / "lifespans").read_text().splitlines()
    assert sorted(lines) == ["first started", "first stopped", "second started", "second stopped"]
    assert lines.index("second started") < lines.index("first stopped") + 2


LIFESPANS = """
import pathlib

LOG = pathlib.Path(__file__).with_name("lifespans")

def application(name, reason=""):
    starts = 0
    async def app(scope, receive, send):
        nonlocal starts
        if scope["type"] == "lifespan":
            await receive()
            if reason:
                await send({"type": "lifespan.startup.failed", "message": reason})
                return
            starts += 1
            with LOG.open("a") as file:
                file.write(f"{name} started\\n")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            with LOG.open("a") as file:
                file.write(f"{name} stopped\\n")
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{name} {starts}".encode()})
    return app

first = application("first")
second = application("second")
failing = application("failing", "no database")
"""
