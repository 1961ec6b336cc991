"""Lists, walked forwards and backwards as the SDKs do."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.support.control_api import Api

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.pagination import Cursor, Cut, cut, read
from gatepost.stores.base import Filter, Page


async def walk(api: Api, path: str, **query: Any) -> list[list[str]]:
    """Every page's ids, from the first page to the last."""
    pages = []
    iterator: dict[str, str] = {}
    while True:
        page = (await api.get(path, **query, **iterator)).json
        pages.append([item["id"] for item in page["data"]])
        if page["done"]:
            return pages
        iterator = {"iterator": page["iterator"]}


async def walk_back(api: Api, path: str, start: str, **query: Any) -> list[list[str]]:
    pages = []
    while True:
        page = (await api.get(path, **query, iterator=start)).json
        pages.append([item["id"] for item in page["data"]])
        if page["done"]:
            return pages
        start = page["prevIterator"]


async def test_apps_are_listed_from_the_oldest_and_back(api: Api) -> None:
    names = [ids.encode("app", (await api.make_app(None)).id) for _ in range(7)]
    assert await walk(api, "/api/v1/app", limit=3) == [names[:3], names[3:6], names[6:]]
    assert await walk(api, "/api/v1/app", limit=4, order="descending") == [names[:2:-1], names[2::-1]]
    assert await walk_back(api, "/api/v1/app", "-" + names[6], limit=3) == [names[3:6], names[:3]]
    newest_first = {"limit": 3, "order": "descending"}
    assert await walk_back(api, "/api/v1/app", "-" + names[0], **newest_first) == [names[3:0:-1], names[:3:-1]]


async def test_a_list_goes_on_where_a_deleted_item_stood(api: Api) -> None:
    apps = [await api.make_app(f"app-{number}") for number in range(4)]
    page = (await api.get("/api/v1/app", limit=2)).json
    await api.delete("/api/v1/app/app-1")
    rest = (await api.get("/api/v1/app", limit=2, iterator=page["iterator"])).json
    assert [item["uid"] for item in rest["data"]] == ["app-2", "app-3"]
    assert [ids.encode("app", identifier) for identifier in api.store.directory.app_ids] == [
        ids.encode("app", app.id) for app in apps if app.uid != "app-1"
    ]


async def test_endpoints_and_messages_are_listed_from_the_newest_and_back(api: Api) -> None:
    app = await api.make_app()
    endpoints = [ids.encode("ep", (await api.make_endpoint(app)).id) for _ in range(5)][::-1]
    messages = [ids.encode("msg", await api.make_message(app)) for _ in range(5)][::-1]
    for path, names in (("endpoint", endpoints), ("msg", messages)):
        url = f"/api/v1/app/shop/{path}"
        assert await walk(api, url, limit=2) == [names[:2], names[2:4], names[4:]]
        assert await walk_back(api, url, "-" + names[4], limit=2) == [names[2:4], names[:2]]
        assert await walk(api, url, limit=5) == [names]


async def test_the_iterator_of_the_last_page_finds_what_comes_later(api: Api) -> None:
    await api.make_app("one")
    page = (await api.get("/api/v1/app")).json
    assert page["done"]
    await api.make_app("two")
    later = (await api.get("/api/v1/app", iterator=page["iterator"])).json
    assert [item["uid"] for item in later["data"]] == ["two"]
    end = (await api.get("/api/v1/app", iterator=later["iterator"])).json
    assert end == {"data": [], "done": True, "iterator": later["iterator"], "prevIterator": None}


async def test_an_empty_list_has_an_iterator_that_is_a_text(api: Api) -> None:
    """Svix's Python and Rust SDKs refuse null there."""
    empty = (await api.get("/api/v1/app")).json
    assert empty == {"data": [], "done": True, "iterator": "", "prevIterator": None}
    assert (await api.get("/api/v1/app", iterator="")).json == empty


_NO_ITERATORS: Final = ["x", "-", "ep_00000000007", "app_0000000000!", "--app_00000000007"]


async def test_what_is_no_iterator_is_refused(api: Api) -> None:
    for iterator in _NO_ITERATORS:
        reply = await api.get("/api/v1/app", iterator=iterator)
        assert reply.status == 422
        assert reply.json["detail"][0]["loc"] == ["query", "iterator"]


_NO_LIMITS: Final = ["0", "251", "-1", "x"]


async def test_a_limit_is_from_1_to_250(api: Api) -> None:
    for limit in _NO_LIMITS:
        reply = await api.get("/api/v1/app", limit=limit)
        assert reply.status == 422
        assert reply.json["detail"][0]["loc"] == ["query", "limit"]


def test_every_page_of_every_size_meets_the_next_one_without_gap_or_repeat() -> None:
    items = list(range(10, 20))
    for ascending in (True, False):
        order = items if ascending else items[::-1]
        for limit in range(1, 12):
            for place in range(len(order)):
                forward = cut(items, int, Cursor(order[place]), limit, ascending=ascending)
                assert forward == Cut(order[place + 1 : place + 1 + limit], len(order) - place - 1 <= limit)
                back = cut(items, int, Cursor(order[place], back=True), limit, ascending=ascending)
                assert back == Cut(order[max(0, place - limit) : place], place <= limit)


class Book:
    """A store's list of numbers, which reads at most `patience` of them in one go."""

    def __init__(self, patience: int = 1_000) -> None:
        self.patience = patience
        self.asked: list[int] = []

    async def __call__(self, narrow: Filter) -> Page[int]:
        self.asked.append(narrow.limit)
        start = 0 if narrow.iterator is None else narrow.iterator + 1
        items = list(range(start, min(100, start + min(narrow.limit, self.patience))))
        done = not items or items[-1] == 99
        return Page(items, done, None if done else items[-1])


async def test_large_contents_are_read_in_batches_up_to_a_budget() -> None:
    book = Book()
    assert await read(book, Filter(limit=100), lambda _: 1) == Page(list(range(100)), True, None)
    assert book.asked == [32, 32, 32, 4]
    heavy = await read(Book(), Filter(limit=100), lambda _: pagination.BUDGET // 40)
    assert heavy == Page(list(range(64)), False, 63)


async def test_a_page_that_the_store_cut_short_stays_short() -> None:
    assert await read(Book(patience=5), Filter(limit=100), lambda _: 1) == Page(list(range(5)), False, 4)


async def test_a_long_list_lets_others_have_the_loop() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    items = Cut(list(range(64)), True)
    reply = await pagination.page(items, Cursor(), "msg", int, lambda _: "x" * 65_536)
    task.cancel()
    assert len(reply.body) > 64 * 65_536
    assert turns >= 16
