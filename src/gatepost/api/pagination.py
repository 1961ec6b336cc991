"""Pages: `{"data", "done", "iterator", "prevIterator"}`, as Svix's SDKs walk through them.

An iterator is the id of the last item that was seen; `-` and an id goes back from there. `iterator` is always a text,
empty where there is nothing to go on from: two of the SDKs do not read null. A page may be short, even empty, with
`done` false (`stores/base.py` says when): what ends a list is `done` alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
from fastapi import Response

from gatepost import ids
from gatepost.api.encoding import JSON, encode_list
from gatepost.api.errors import Fault, Unprocessable
from gatepost.stores.base import Filter, Page

T = TypeVar("T")

LIMIT: Final = 50
BATCH: Final = 32  # messages read at once: at most 32 MiB of payloads
BUDGET: Final = 8_388_608  # bytes of content on a page; more makes it a short one


class Cursor(NamedTuple):
    """Where a page begins: behind `id`, against the list's order if `back`."""

    id: int | None = None
    back: bool = False


def cursor(text: str | None, prefix: str) -> Cursor:
    """Raises Unprocessable where `text` is not an iterator of such ids."""
    if not text:
        return Cursor()
    back = text.startswith("-")
    identifier = ids.decode(prefix, text[1:] if back else text)
    if identifier is None:
        reason = f"iterator must be what another page gave as iterator or prevIterator ({prefix}_…)"
        raise Unprocessable(Fault(("query", "iterator"), reason))
    return Cursor(identifier, back)


class Cut(NamedTuple, Generic[T]):
    """A page in the list's order. `reached` is the id where a bounded look ended, if it ended before the list did."""

    items: Sequence[T]
    done: bool
    reached: int | None = None


def cut(items: Sequence[T], key: Callable[[T], int], at: Cursor, limit: int, *, ascending: bool) -> Cut[T]:
    """A page of what memory holds in ascending order."""
    if ascending != at.back:
        start = 0 if at.id is None else bisect_right(items, at.id, key=key)
        part = list(items[start : start + limit + 1])
    else:
        end = len(items) if at.id is None else bisect_left(items, at.id, key=key)
        part = list(items[max(0, end - limit - 1) : end])[::-1]
    done = len(part) <= limit
    part = part[:limit]
    return Cut(part[::-1] if at.back else part, done)


def narrow(at: Cursor, limit: int) -> Filter:
    """The store's lists have the newest first; going back is going up."""
    return Filter(limit=limit, iterator=at.id, ascending=at.back)


def of_store(page: Page[T], at: Cursor) -> Cut[T]:
    return Cut(page.items[::-1] if at.back else page.items, page.done, page.iterator)


async def read(fetch: Callable[[Filter], Awaitable[Page[T]]], wanted: Filter, size: Callable[[T], int]) -> Page[T]:
    """A page of things with large contents, read in batches so that no request can fill the memory."""
    items: list[T] = []
    held = 0
    while True:
        batch = msgspec.structs.replace(wanted, limit=min(BATCH, wanted.limit - len(items)))
        page = await fetch(batch)
        items += page.items
        held += sum(map(size, page.items))
        # A batch that is short without being the last was cut by the store's own patience: that is the page.
        if page.done or len(page.items) < batch.limit or len(items) >= wanted.limit or held >= BUDGET:
            return Page(items, page.done, page.iterator)
        wanted = msgspec.structs.replace(wanted, iterator=page.iterator)


async def page(
    found: Cut[T], at: Cursor, prefix: str, key: Callable[[T], int], document: Callable[[T], object]
) -> Response:
    """The answer. `key` gives an item's id, `document` what is shown of it."""
    first = last = None
    if found.items:
        first, last = key(found.items[0]), key(found.items[-1])
    if found.reached is not None:
        if at.back:
            first = found.reached
        else:
            last = found.reached
    if last is None:
        last = at.id
    ends = {
        "done": found.done,
        "iterator": "" if last is None else ids.encode(prefix, last),
        "prevIterator": None if first is None else "-" + ids.encode(prefix, first),
    }
    data = await encode_list(found.items, document)
    body = b'{"data":%b,%b' % (data, msgspec.json.encode(ends)[1:])
    return Response(body, media_type=JSON)
