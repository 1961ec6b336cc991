from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.control_api import Api, running

from gatepost import ids
from gatepost.api.attempts import MessageStatus
from gatepost.api.destinations import status_of
from gatepost.lifecycle import State
from gatepost.model import App, Delivery, Endpoint, Trigger

APP = "/api/v1/app/shop"


def named(endpoint: Endpoint) -> str:
    return ids.encode("ep", endpoint.id)


async def two_endpoints(api: Api) -> tuple[App, Endpoint, Endpoint]:
    app = await api.make_app()
    return app, await api.make_endpoint(app, uid="a"), await api.make_endpoint(app, uid="b")


async def test_an_attempt_shows_what_happened(api: Api) -> None:
    app, a, _ = await two_endpoints(api)
    message = await api.make_message(app, a)
    await api.make_attempt(message, a, ok=False, status=0, error="connection refused", duration=0.0126)
    await api.make_attempt(message, a, response=b"caf\xc3\xa9 \xff", trigger=Trigger.MANUAL)
    good, bad = (await api.get(f"{APP}/attempt/endpoint/a")).json["data"]
    assert (good["response"], good["triggerType"], good["statusText"]) == ("café �", 1, "success")
    assert bad["endpointId"] == named(a)
    assert bad["msgId"] == ids.encode("msg", message)
    assert (bad["response"], bad["responseStatusCode"], bad["responseDurationMs"]) == ("connection refused", 0, 13)
    without = (await api.get(f"{APP}/attempt/endpoint/a", with_content="false")).json["data"]
    assert [item["response"] for item in without] == ["", ""]


async def test_attempts_are_narrowed(api: Api) -> None:
    app, a, b = await two_endpoints(api)
    message = await api.make_message(app, a, b)
    await api.make_attempt(message, a, ok=False, status=404)
    await api.make_attempt(message, a, ok=False, status=0)
    await api.make_attempt(message, b)
    url = f"{APP}/attempt/msg/{ids.encode('msg', message)}"

    async def found(**query: object) -> list[int]:
        return [item["responseStatusCode"] for item in (await api.get(url, **query)).json["data"]]

    assert await found() == [200, 0, 404]
    assert await found(status=0) == [200]
    assert await found(status=2) == [0, 404]
    for never in (1, 3, 4):  # an attempt succeeded or failed
        assert await found(status=never) == []
    assert await found(status_code_class=400) == [404]
    assert await found(status_code_class=0) == [0]
    assert await found(endpoint_id="a") == await found(endpoint_id=named(a)) == [0, 404]
    assert await found(event_types="other") == []
    assert (await api.get(url, endpoint_id="unknown")).status == 404
    assert (await api.get(url, status=5)).status == 422
    assert (await api.get(url, status_code_class=201)).status == 422


async def test_an_attempt_is_found_by_its_own_message_only(api: Api) -> None:
    app, a, _ = await two_endpoints(api)
    first, second = await api.make_message(app, a), await api.make_message(app, a)
    await api.make_attempt(first, a)
    (attempt,) = (await api.get(f"{APP}/attempt/endpoint/a")).json["data"]
    assert (await api.get(f"{APP}/msg/{ids.encode('msg', first)}/attempt/{attempt['id']}")).json == attempt
    assert (await api.get(f"{APP}/msg/{ids.encode('msg', second)}/attempt/{attempt['id']}")).status == 404


async def test_the_attempts_at_a_deleted_endpoint_stay_with_their_message(api: Api) -> None:
    app, a, _ = await two_endpoints(api)
    message = await api.make_message(app, a)
    await api.make_attempt(message, a)
    await api.delete(f"{APP}/endpoint/a")
    (attempt,) = (await api.get(f"{APP}/attempt/msg/{ids.encode('msg', message)}")).json["data"]
    assert (await api.get(f"{APP}/endpoint/{attempt['endpointId']}")).status == 404
    assert (await api.get(f"{APP}/msg/{ids.encode('msg', message)}/endpoint")).json["data"] == []


async def test_what_became_of_each_message_of_an_endpoint(api: Api) -> None:
    app, a, b = await two_endpoints(api)
    delivered, retried, exhausted, waiting = [await api.make_message(app, a, b) for _ in range(4)]
    await api.make_message(app, b)
    await api.make_attempt(delivered, a)
    await api.make_attempt(retried, a, ok=False, state=State.PENDING, due=1_800_000_005.5)
    await api.make_attempt(exhausted, a, ok=False)
    url = f"{APP}/endpoint/a/msg"
    listed = (await api.get(url)).json["data"]
    assert [(ids.decode("msg", item["id"]), item["statusText"]) for item in listed] == [
        (waiting, "sending"),
        (exhausted, "fail"),
        (retried, "pending"),
        (delivered, "success"),
    ]
    assert listed[2]["nextAttempt"] == "2027-01-15T08:00:05.500Z"
    assert "nextAttempt" not in listed[3]
    for status, message in ((0, delivered), (1, retried), (2, exhausted), (3, waiting)):
        page = (await api.get(url, status=status)).json
        assert [ids.decode("msg", item["id"]) for item in page["data"]] == [message]
    page = (await api.get(url, status=0, limit=2)).json
    assert (page["data"], page["done"]) == ([], False)
    page = (await api.get(url, status=0, limit=2, iterator=page["iterator"])).json
    assert ([ids.decode("msg", item["id"]) for item in page["data"]], page["done"]) == ([delivered], True)


async def test_where_a_message_went(api: Api) -> None:
    app, a, b = await two_endpoints(api)
    message = ids.encode("msg", await api.make_message(app, a, b))
    url = f"{APP}/msg/{message}/endpoint"
    listed = (await api.get(url)).json["data"]
    assert [(item["uid"], item["status"]) for item in listed] == [("b", 3), ("a", 3)]
    page = (await api.get(url, limit=1)).json
    assert [item["uid"] for item in page["data"]] == ["b"]
    page = (await api.get(url, limit=1, iterator=page["iterator"])).json
    assert ([item["uid"] for item in page["data"]], page["done"]) == (["a"], True)


@pytest.mark.parametrize(
    ("state", "tries", "status"),
    [
        (State.PENDING, 0, MessageStatus.SENDING),
        (State.PENDING, 1, MessageStatus.PENDING),
        (State.DELIVERED, 1, MessageStatus.SUCCESS),
        (State.EXHAUSTED, 9, MessageStatus.FAIL),
        (State.SKIPPED, 0, MessageStatus.CANCELED),
        (State.CANCELLED, 0, MessageStatus.CANCELED),
    ],
)
def test_every_state_of_a_delivery_has_a_status(state: State, tries: int, status: MessageStatus) -> None:
    assert status_of(Delivery(1, 1, state, tries, None)) is status


class Resends:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    async def resend(self, message: int, endpoint: int) -> Delivery | None:
        self.asked.append((message, endpoint))
        return Delivery(message, endpoint, State.PENDING, 1, 0.0)


async def test_sending_again_goes_to_the_delivery_engine(tmp_path: Path) -> None:
    resends = Resends()
    async with running(tmp_path, deliveries=resends) as api:
        app, a, _ = await two_endpoints(api)
        message = await api.make_message(app, event_id="event")
        reply = await api.post(f"{APP}/msg/event/endpoint/a/resend")
        assert (reply.status, reply.json) == (202, {})
        assert resends.asked == [(message, a.key)]


async def test_sending_again_without_an_engine_waits_in_the_store(api: Api) -> None:
    app, a, _ = await two_endpoints(api)
    message = await api.make_message(app, a)
    await api.make_attempt(message, a, ok=False)
    assert (await api.post(f"{APP}/msg/{ids.encode('msg', message)}/endpoint/a/resend")).status == 202
    (delivery,) = await api.store.deliveries_of(message)
    assert (delivery.state, delivery.tries) == (State.PENDING, 1)
