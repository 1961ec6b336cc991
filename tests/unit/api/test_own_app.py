"""The app `gatepost` is the gateway's own: it can be used like any other, and neither renamed nor deleted."""

from __future__ import annotations

import pytest
from tests.support.control_api import Api

from gatepost.notices import OWN_APP

PATH = f"/api/v1/app/{OWN_APP}"


@pytest.fixture(autouse=True)
async def own(api: Api) -> None:
    await api.make_app(OWN_APP)


async def test_it_is_neither_deleted_nor_renamed(api: Api) -> None:
    for reply in (
        await api.delete(PATH),
        await api.patch(PATH, {"uid": "mine"}),
        await api.patch(PATH, {"uid": None}),
        await api.put(PATH, {"name": "Mine"}),
        await api.put(PATH, {"name": "Mine", "uid": "mine"}),
    ):
        assert reply.status == 409
        assert reply.json["code"] == "conflict"
        assert "gateway's own" in reply.json["detail"]
    assert api.store.directory.app(OWN_APP) is not None


async def test_it_can_be_used_like_any_other(api: Api) -> None:
    assert (await api.patch(PATH, {"name": "Alarms"})).json["name"] == "Alarms"
    assert (await api.put(PATH, {"name": "Alerts", "uid": OWN_APP})).json["name"] == "Alerts"
    assert (await api.post(f"{PATH}/endpoint", {"url": "https://pager.example/"})).status == 201
