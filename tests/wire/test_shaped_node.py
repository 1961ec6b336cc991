"""A whole node: endpoints that filter, transform and go elsewhere than to a webhook, and alerts that people read."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.backend import Backend, Exchange
from tests.support.node import Node, address, running
from tests.support.rawclient import soon

WRITE = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read() + b'\\n')"


class Taken:
    """A webhook receiver: bodies by path."""

    def __init__(self) -> None:
        self.backend = Backend()
        self.came: dict[str, list[Any]] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> Taken:
        async def script(x: Exchange) -> None:
            body = await x.body()
            self.came.setdefault(x.target.decode(), []).append(json.loads(body))
            self._news.set()
            x.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        self.backend.script = script
        await self.backend.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.stop()

    async def first(self, path: str) -> Any:
        async def there() -> Any:
            while path not in self.came:
                self._news.clear()
                await self._news.wait()
            return self.came[path][0]

        return await soon(there(), f"a webhook at {path}")


def settings(file: Path, url: str) -> dict[str, Any]:
    return {
        "deliveries": {"allow_networks": ["127.0.0.0/8"]},
        "destinations": {"audit": {"command": {"run": [sys.executable, "-c", WRITE, str(file)]}}},
        "apps": {
            "shop": {
                "endpoints": [
                    {
                        "uid": "audit",
                        "destination": "audit",
                        "event_types": ["order.*"],
                        "filter": "payload.total > 100",
                    },
                    {"uid": "small", "url": f"{url}/small", "transform": "{'id': payload.id, 'type': event_type}"},
                    {"uid": "thin", "url": f"{url}/thin", "payload": "thin"},
                ]
            }
        },
    }


async def run(node: Node, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost", *words),
        cwd=node.directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_what_endpoints_ask_for_is_what_they_get(tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    async with Taken() as taken, running(tmp_path / "node", settings(audit, taken.backend.url)) as node:
        for message in (
            {"eventType": "order.paid", "payload": {"id": 1, "total": 12}},
            {"eventType": "user.created", "payload": {"id": 2, "total": 1200}},
            {"eventType": "order.paid", "payload": {"id": 3, "total": 1200}},
        ):
            made = await node.api("POST", "/api/v1/app/shop/msg", message, expect=202)
        assert await taken.first("/small") in [
            {"id": n, "type": t} for n, t in ((1, "order.paid"), (2, "user.created"), (3, "order.paid"))
        ]
        thin = await taken.first("/thin")
        assert thin["app"] == "shop"
        assert thin["link"] == f"/api/v1/app/shop/msg/{thin['id']}"

        async def attempted() -> list[Any]:
            while True:
                attempts = await node.api("GET", "/api/v1/app/shop/attempt/endpoint/audit?limit=50")
                if attempts["data"]:
                    found: list[Any] = attempts["data"]
                    return found
                await asyncio.sleep(0.01)  # nothing tells from outside that an attempt is recorded

        [attempt] = await soon(attempted(), "an attempt of the command")
        assert (attempt["msgId"], attempt["responseStatusCode"], attempt["url"]) == (
            made["id"],
            200,
            "destination:audit",
        )
        assert [json.loads(line)["id"] for line in audit.read_text().splitlines()] == [3]


async def test_an_alert_is_one_command_away(tmp_path: Path) -> None:
    async with Taken() as taken:
        whole = settings(tmp_path / "audit", taken.backend.url)
        async with running(tmp_path / "node", whole) as node:
            where = ("--control", f"http://{address(node.control)}", "--token-file", str(node.token_file))
            code, said = await run(
                node, "alerts", "add", "slack", f"{taken.backend.url}/slack", "--type", "config.*", *where
            )
            assert (code, said.endswith("alerts by slack\n")) == (0, True), said
            node.signal(signal.SIGHUP)
            alert = await taken.first("/slack")
            assert list(alert) == ["text"]
            assert alert["text"].startswith("config.reloaded: config")
            code, said = await run(node, "alerts", "add", "slack", "http://10.0.0.1/", *where)
            assert code == 1
            assert "not a public address" in said
            code, said = await run(node, "alerts", "add", "email", "ops@example.com", *where)
            assert code == 1
            assert "declares no destination 'mail'" in said
        code, said = await run(node, "alerts", "add", "slack", "http://x.example/", *where)
        assert code == 1
        assert "cannot be asked" in said
        assert "Traceback" not in said
