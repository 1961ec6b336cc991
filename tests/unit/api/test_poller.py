"""A poller: messages for a receiver that cannot open a port."""

from __future__ import annotations

from tests.support.control_api import Api

POLLER = "/api/v1/app/shop/poller/desk"


async def test_what_was_dealt_with_does_not_come_again_and_what_was_not_does(api: Api) -> None:
    app = await api.make_app()
    for n in range(5):
        await api.make_message(app, event_id=f"m{n}")
    first = (await api.get(POLLER, limit=3)).json
    assert ([each["eventId"] for each in first["data"]], first["done"]) == (["m0", "m1", "m2"], False)
    assert (await api.get(POLLER, limit=3)).json == first  # nobody said that it was dealt with
    second = (await api.get(POLLER, limit=3, iterator=first["iterator"])).json
    assert ([each["eventId"] for each in second["data"]], second["done"]) == (["m3", "m4"], True)
    assert (await api.get(POLLER, limit=3)).json == second
    assert (await api.get(POLLER, iterator=second["iterator"])).json["data"] == []
    await api.make_message(app, event_id="m5")
    assert [each["eventId"] for each in (await api.get(POLLER)).json["data"]] == ["m5"]
    assert len((await api.get("/api/v1/app/shop/poller/another")).json["data"]) == 6


async def test_a_poller_begins_anew_at_a_moment(api: Api) -> None:
    app = await api.make_app()
    await api.make_message(app)
    moment = "2027-01-15T08:00:05Z"
    api.clock.advance(10)
    await api.make_message(app, event_id="later")
    for query in ({"after": moment}, {}):
        assert [each.get("eventId") for each in (await api.get(POLLER, **query)).json["data"]] == ["later"]
    for wrong in ({"iterator": "x"}, {"iterator": "1", "after": moment}, {"limit": 51}):
        assert (await api.get(POLLER, **wrong)).status == 422
