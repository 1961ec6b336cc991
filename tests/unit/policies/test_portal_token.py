"""`portal_token`: what an app's own people may do, and what not."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from hashlib import sha256

import pytest
from tests.support.exchanges import make_exchange

from gatepost.errors import StoreUnavailable
from gatepost.exchange import Exchange, Response
from gatepost.http1.messages import Fields
from gatepost.model import App
from gatepost.policies.admin_token import AdminToken
from gatepost.policies.portal_token import PortalToken
from gatepost.stores.directory import Directory

ADMIN = b"gp_admin_0123456789012345678901234567890123"
MINE = b"appsk_mine"


async def look(digest: bytes) -> int | None:
    if digest == sha256(b"appsk_busy").digest():
        raise StoreUnavailable("full")
    return {sha256(MINE).digest(): 1, sha256(b"appsk_gone").digest(): 9}.get(digest)


def guard() -> PortalToken:
    directory = Directory()
    directory.put_app(App(1, 101, "Mine", uid="mine"))
    directory.put_app(App(2, 102, "Yours", uid="yours"))
    return PortalToken(AdminToken(sha256(ADMIN).digest()), look, directory)


async def asked(method: str, path: str, token: bytes = MINE) -> tuple[int, Exchange]:
    """The status of the refusal, 200 where the guard lets it pass."""
    fields: Fields = [(b"authorization", b"Bearer " + token)]
    x, _ = make_exchange(method, path, fields)
    answer = guard().on_request(x)
    if isinstance(answer, Awaitable):
        answer = await answer
    assert answer is None or isinstance(answer, Response)
    if answer is None:
        return 200, x
    assert set(json.loads(answer.body)) == {"code", "detail"}
    return answer.status, x


@pytest.mark.parametrize(
    "line",
    [
        "GET /api/v1/app/mine",
        "HEAD /api/v1/app/mine/endpoint",
        "POST /api/v1/app/mine/endpoint",
        "DELETE /api/v1/app/mine/endpoint/e",
        "PATCH /api/v1/app/mine/endpoint/e/headers",
        "POST /api/v1/app/mine/endpoint/e/secret/rotate",
        "POST /api/v1/app/mine/endpoint/e/recover",
        "GET /api/v1/app/mine/endpoint/e/stats",
        "GET /api/v1/app/mine/attempt/msg/m",
        "GET /api/v1/app/mine/msg/m/attempt/a",
        "POST /api/v1/app/mine/msg/m/endpoint/e/resend",
        "GET /api/v1/event-type/order.paid",
        "POST /api/v1/auth/logout",
    ],
)
async def test_it_opens_what_its_people_see_to(line: str) -> None:
    status, x = await asked(*line.split())
    assert status == 200
    assert x.consumer is not None
    assert x.consumer.id == "portal"


@pytest.mark.parametrize(
    "line",
    [
        "GET /api/v1/app",
        "POST /api/v1/app",
        "DELETE /api/v1/app/mine",
        "PATCH /api/v1/app/mine",
        "GET /api/v1/app/yours/endpoint",
        "GET /api/v1/app/nobody/endpoint",
        "POST /api/v1/app/mine/msg",
        "POST /api/v1/app/mine/msg/batch",
        "GET /api/v1/app/mine/poller/p",
        "DELETE /api/v1/app/mine/msg/m/content",
        "POST /api/v1/app/mine/endpoint/e/bulk-replay",
        "POST /api/v1/msg",
        "POST /api/v1/event-type",
        "DELETE /api/v1/event-type/a",
        "POST /api/v1/auth/app-portal-access/mine",
        "GET /api/v1/background-task",
        "GET /api/v1/consumer",
        "GET /api/v1/audit",
        "GET /metrics",
        # Behind here paths are decoded: nothing may mean one thing here and another there.
        "GET /api/v1/app/mine/endpoint/e%2Fsecret",
        "POST /api/v1/app/mine/msg/m%2Fx/endpoint/e/resend",
    ],
)
async def test_it_opens_nothing_else(line: str) -> None:
    status, x = await asked(*line.split())
    assert status == 403
    assert x.consumer is None


@pytest.mark.parametrize(("token", "status"), [(b"appsk_other", 401), (b"appsk_gone", 401), (b"appsk_busy", 503)])
async def test_a_token_that_is_over_or_cannot_be_asked_about(token: bytes, status: int) -> None:
    assert (await asked("GET", "/api/v1/app/mine", token))[0] == status


async def test_everyone_else_is_asked_for_the_admin_token() -> None:
    assert (await asked("GET", "/api/v1/app", ADMIN))[0] == 200
    assert (await asked("GET", "/api/v1/app", b"gp_admin_wrong"))[0] == 401
