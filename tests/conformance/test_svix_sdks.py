"""The official Svix clients, from PyPI and from npm, against a real node: `server_url` is all that is changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook
from svix.api import (
    ApplicationIn,
    AppPortalAccessIn,
    EndpointIn,
    EndpointSecretRotateIn,
    EventExampleIn,
    EventTypeIn,
    MessageAttemptListByMsgOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    RecoverIn,
    Svix,
    SvixOptions,
)
from svix.exceptions import HttpError, HTTPValidationError
from tests.support.node import Node, running

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "deliveries": {"schedule": ["10ms"], "jitter": 0, "allow_networks": ["127.0.0.0/8"]},
    "notices": {"enabled": False},
}
SCHEMA = {"type": "object", "required": ["order_id"], "properties": {"order_id": {"type": "integer", "example": 12345}}}
PATIENCE = 20.0  # seconds

T = TypeVar("T")

pytestmark = pytest.mark.asyncio(loop_scope="module")
needs_npm = pytest.mark.skipif(
    not shutil.which("node") or not (ROOT / "node_modules" / "svix").is_dir(),
    reason="needs Node.js and `npm ci`: the Svix client",
)


class Receiver:
    """Answers `status` to everything, and remembers it. In threads of its own: the client waits in the test's."""

    def __init__(self) -> None:
        self.status = 500
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._news:
                    receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    receiver._news.notify_all()
                self.send_response(receiver.status)
                self.send_header("content-length", "4")
                self.end_headers()
                self.wfile.write(b"seen")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def received(self, count: int) -> tuple[dict[str, str], bytes]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, PATIENCE), self.requests
        return self.requests[count - 1]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def until(look: Callable[[], T | None]) -> T:
    """What is there in a moment: the client has no other way than to ask again."""
    end = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running(tmp_path_factory.mktemp("svix"), SETTINGS) as node:
        yield node


def server_url(node: Node) -> str:
    return f"http://{node.control[0]}:{node.control[1]}"


def client(node: Node, token: str = "") -> Svix:
    return Svix(token or node.token, SvixOptions(server_url=server_url(node), retry_schedule=[]))


async def in_thread(life: Callable[[Svix, Receiver], None], svix: Svix) -> None:
    receiver = Receiver()
    try:
        await asyncio.to_thread(life, svix, receiver)
    finally:
        await asyncio.to_thread(receiver.stop)
        svix._httpx_client.close()


async def test_the_whole_life_with_the_client_from_pypi(node: Node) -> None:
    def life(svix: Svix, receiver: Receiver) -> None:
        app = svix.application.create(ApplicationIn(name="From PyPI", uid="pypi"))
        assert svix.application.get_or_create(ApplicationIn(name="Again", uid="pypi")).id == app.id
        svix.event_type.create(EventTypeIn(name="order.created", description="Made", schemas={"1": SCHEMA}))
        assert (svix.event_type.get("order.created").schemas or {})["1"] == SCHEMA
        made = svix.endpoint.create("pypi", EndpointIn(url=receiver.url, uid="main", event_types=["order.created"]))
        assert made.event_types == ["order.created"]

        with pytest.raises(HTTPValidationError) as invalid:
            svix.message.create("pypi", MessageIn(event_type="order.created", payload={"wrong": 1}))
        assert [each.loc for each in invalid.value.detail] == [["body", "payload"]]
        order = MessageIn(event_type="order.created", event_id="first", payload={"order_id": 12345})
        message = svix.message.create("pypi", order)
        with pytest.raises(HttpError) as taken:
            svix.message.create("pypi", order)
        assert taken.value.code == "conflict"
        receiver.received(2)

        def failures() -> list[Any] | None:
            shown = MessageAttemptListByMsgOptions(with_content=True)
            attempts = svix.message_attempt.list_by_msg("pypi", message.id, shown).data
            return attempts if len(attempts) == 2 else None

        assert [(each.status, each.response) for each in until(failures)] == [(2, "seen"), (2, "seen")]

        before = svix.endpoint.get_secret("pypi", "main").key
        secret = svix.endpoint.rotate_secret("pypi", "main", EndpointSecretRotateIn()).key
        assert svix.endpoint.get_secret("pypi", "main").key == secret != before

        receiver.status = 200
        since = datetime.now(UTC) - timedelta(minutes=1)
        task = svix.endpoint.recover("pypi", "main", RecoverIn(since=since))
        assert task.task == "endpoint.recover"
        headers, body = receiver.received(3)
        for each in (before, secret):
            assert Webhook(each).verify(body, headers) == {"order_id": 12345}
        until(lambda: svix.endpoint.get_stats("pypi", "main").success or None)  # while it is sent, it is not sent again
        svix.message_attempt.resend("pypi", "first", "main")
        receiver.received(4)
        assert len({body for _, body in receiver.requests}) == 1

        until(lambda: svix.background_task.get(task.id).status == "finished" or None)
        assert task.id in [each.id for each in svix.background_task.list().data]
        svix.endpoint.send_example("pypi", "main", EventExampleIn(event_type="order.created"))
        receiver.received(5)
        svix.message.expunge_content("pypi", message.id)
        assert svix.message.get("pypi", "first", MessageGetOptions(with_content=True)).payload == {"expired": True}

    await in_thread(life, client(node))


async def test_a_portals_token_opens_its_own_app_and_nothing_else(node: Node) -> None:
    def life(svix: Svix, receiver: Receiver) -> None:
        for uid in ("mine", "yours"):
            svix.application.create(ApplicationIn(name=uid, uid=uid))
            svix.endpoint.create(uid, EndpointIn(url=receiver.url, uid="main"))
        portal = svix.authentication.app_portal_access("mine", AppPortalAccessIn())
        assert portal.url.startswith(server_url(node) + "/portal#key=")
        theirs = client(node, portal.token)
        assert [each.uid for each in theirs.endpoint.list("mine").data] == ["main"]
        theirs.endpoint.create("mine", EndpointIn(url=receiver.url, uid="second"))
        theirs.endpoint.rotate_secret("mine", "second", EndpointSecretRotateIn())
        theirs.message.list("mine")
        closed: list[Callable[[], object]] = [
            lambda: theirs.application.list(),
            lambda: theirs.application.delete("mine"),
            lambda: theirs.endpoint.list("yours"),
            lambda: theirs.endpoint.delete("yours", "main"),
            lambda: theirs.message.list("yours"),
            lambda: theirs.event_type.delete("order.created"),
            lambda: theirs.authentication.app_portal_access("mine", AppPortalAccessIn()),
            lambda: theirs.message.expunge_content("mine", "any"),
        ]
        for call in closed:
            with pytest.raises(HttpError) as refused:
                call()
            assert refused.value.status_code == 403
        with pytest.raises(HttpError) as unknown:
            theirs.message.create("mine", MessageIn(event_type="order.created", payload={"order_id": 1}))
        assert unknown.value.status_code == 401
        theirs.authentication.logout()
        with pytest.raises(HttpError) as over:
            theirs.endpoint.list("mine")
        assert over.value.status_code == 401
        theirs._httpx_client.close()

    await in_thread(life, client(node))


async def test_lists_are_walked_by_their_iterators(node: Node) -> None:
    def life(svix: Svix, _: Receiver) -> None:
        svix.application.create(ApplicationIn(name="Pages", uid="pages"))
        sent = [svix.message.create("pages", MessageIn(event_type="a.b", payload={"n": n})).id for n in range(5)]
        seen: list[str] = []
        iterator: str | None = None
        while True:
            page = svix.message.list("pages", MessageListOptions(limit=2, iterator=iterator))
            seen += [each.id for each in page.data]
            if page.done:
                break
            iterator = page.iterator
        assert seen == sent[::-1]

    await in_thread(life, client(node))


@needs_npm
async def test_the_whole_life_with_the_client_from_npm(node: Node) -> None:
    process = await asyncio.create_subprocess_exec(
        *("node", str(ROOT / "tests" / "support" / "svix_life.mjs"), server_url(node), node.token),
        cwd=ROOT,
        env={**os.environ, "NODE_PATH": str(ROOT / "node_modules")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, errors.decode()
    seen = json.loads(out)
    assert seen["task"] == "endpoint.recover"
    assert set(seen["bodies"][:4]) == {'{"order_id":12345}'}
