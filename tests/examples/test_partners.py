"""The partner's receivers against real webhooks: one in Python, and Express with the npm package, which is not ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import signal
import time
from pathlib import Path

import pytest
from tests.support.node import Settings, free_port, running
from tests.support.rawclient import RawClient
from tests.support.shop import needs_express, partner

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
OTHER = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
PAYLOAD = {"event": "new_order", "data": {"order_id": 12345, "customer_name": "Jöhn Döe", "total_amount": 100.0}}

kinds = pytest.mark.parametrize("kind", ["python", pytest.param("express", marks=needs_express)])


def settings(port: int, **deliveries: object) -> Settings:
    endpoint = {"url": f"http://127.0.0.1:{port}/webhook", "uid": "partner", "secret": SECRET}
    quick = {"schedule": ["10ms", "10ms", "10ms"], "jitter": 0, "allow_networks": ["127.0.0.0/8"]}
    return {"apps": {"shop": {"endpoints": [endpoint]}}, "deliveries": quick | deliveries}


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None, version: str = "v1") -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"{version},{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


async def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    async with await RawClient.connect(("127.0.0.1", port)) as client:
        fields = {"Host": "partner", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        client.send(f"POST /webhook HTTP/1.1\r\n{head}\r\n".encode() + body)
        return (await client.response(b"POST")).status


@kinds
async def test_a_partner_verifies_what_gatepost_signs(kind: str, tmp_path: Path) -> None:
    port = free_port()
    async with partner(kind, port, SECRET) as receiver, running(tmp_path, settings(port)) as node:
        message = await node.api(
            "POST", "/api/v1/app/shop/msg", {"eventType": "order.created", "payload": PAYLOAD}, expect=202
        )
        line = await receiver.line(lambda line: "id" in line)
        assert line["verified"] is True
        assert line["id"] == message["id"]
        assert line["event"] == PAYLOAD


@kinds
async def test_a_partner_with_a_rotated_secret_verifies_with_the_old_and_with_the_new_one(
    kind: str, tmp_path: Path
) -> None:
    port = free_port()
    async with running(tmp_path, settings(port)) as node:
        app = await node.api("POST", "/api/v1/app", {"name": "Rotating", "uid": "rotating"}, expect=201)
        endpoint = {"url": f"http://127.0.0.1:{port}/webhook", "uid": "main", "secret": SECRET}
        path = f"/api/v1/app/{app['id']}"
        await node.api("POST", f"{path}/endpoint", endpoint, expect=201)
        await node.api("POST", f"{path}/endpoint/main/secret/rotate", {"key": OTHER})
        for secret in (SECRET, OTHER):
            async with partner(kind, port, secret) as receiver:
                await node.api("POST", f"{path}/msg", {"eventType": "order.created", "payload": PAYLOAD}, expect=202)
                assert (await receiver.line(lambda line: "status" in line))["verified"] is True


@kinds
async def test_an_event_that_a_partner_could_not_handle_comes_again(kind: str, tmp_path: Path) -> None:
    port = free_port()
    async with partner(kind, port, SECRET) as receiver, running(tmp_path, settings(port)) as node:
        receiver.process.send_signal(signal.SIGUSR2)
        await receiver.line(lambda line: "bad_day" in line)
        await node.api("POST", "/api/v1/app/shop/msg", {"eventType": "order.created", "payload": PAYLOAD}, expect=202)
        await receiver.line(lambda line: "verified" in line)
        told = [line for line in receiver.lines if "id" in line]
        assert [line["status"] // 100 for line in told] == [5, 5, 2]
        assert len({line["id"] for line in told}) == 1, "every try has the same webhook-id"


@kinds
async def test_a_partner_refuses_what_is_signed_with_another_secret(kind: str, tmp_path: Path) -> None:
    port = free_port()
    async with partner(kind, port, OTHER) as receiver, running(tmp_path, settings(port, schedule=[])) as node:
        await node.api("POST", "/api/v1/app/shop/msg", {"eventType": "order.created", "payload": PAYLOAD}, expect=202)
        line = await receiver.line(lambda line: "status" in line)
        assert line["status"] == 401
        assert "event" not in line


@kinds
async def test_a_partner_refuses_every_forgery(kind: str) -> None:
    port = free_port()
    body = json.dumps(PAYLOAD).encode()
    good = signed(body)
    async with partner(kind, port, SECRET):
        assert await post(port, body, good) // 100 == 2, "or the refusals below prove nothing"
        forgeries = {
            "no signature": {},
            "another body": signed(body + b" "),
            "another secret": signed(body, secret=OTHER),
            "another id": good | {"webhook-id": "msg_2"},
            "another time": good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)},
            "too old": signed(body, at=time.time() - 400),
            "from the future": signed(body, at=time.time() + 400),
            "no time": {name: value for name, value in good.items() if name != "webhook-timestamp"},
            "not a time": good | {"webhook-timestamp": "soon"},
            "another version": signed(body, version="v0"),
            "an empty signature": good | {"webhook-signature": "v1,"},
        }
        for what, headers in forgeries.items():
            assert await post(port, body, headers) == 401, what
