"""What the caches of this node hold, and letting go of it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Query, Request, Response
from typing_extensions import TypedDict

from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.problems import INVALID, ErrorOut, Refused, not_found, router
from gatepost.errors import ProtocolError
from gatepost.http1.targets import normalise
from gatepost.policies.caching.storage import Place, Storage

noun = router("/api/v1/cache", "Cache")


class CacheOut(TypedDict):
    entries: int
    bytes: int
    memory: int
    hits: int
    misses: int
    evicted: int


class CachePurgeOut(TypedDict):
    removed: int


_URL = Query(description="`http://host/path?query`, as clients ask for it: exactly this.", max_length=8_192)
_PREFIX = Query(description="`http://host/path`: everything that begins so.", max_length=8_192)
_WHAT: Final = ("url", "prefix", "tag")
_TAG = Query(description="What `Surrogate-Key` or `Cache-Tag` of an answer names.", max_length=1_024)


@noun.get("", operation_id="v1.cache.get", response_model=CacheOut)
async def get(context: Ctx) -> Response:
    """How much is stored, and how often it answered since the node started."""
    storage = _storage(context)
    return answer(
        CacheOut(
            entries=len(storage),
            bytes=storage.size,
            memory=storage.memory,
            hits=storage.hits,
            misses=storage.misses,
            evicted=storage.evicted,
        )
    )


@noun.delete("", operation_id="v1.cache.purge", response_model=CachePurgeOut)
async def purge(
    context: Ctx,
    request: Request,
    url: Annotated[str | None, _URL] = None,
    prefix: Annotated[str | None, _PREFIX] = None,
    tag: Annotated[str | None, _TAG] = None,
) -> Response:
    """Let go of what is stored under a URL, a prefix or a tag; of everything where none is given.

    What is still on its way to be stored began before: it is not stored either."""
    storage = _storage(context)
    for name in request.query_params:
        if name not in _WHAT:  # misspelt it would let go of everything
            raise _wrong(name, f"is not known here; give one of {', '.join(_WHAT)}, or none of them for everything")
    given = [name for name, value in (("url", url), ("prefix", prefix), ("tag", tag)) if value is not None]
    if len(given) > 1:
        raise _wrong(given[1], "give one of url, prefix and tag")
    if url is not None:
        place, query = _place("url", url)
        removed = storage.purge_url(place, query)
    elif prefix is not None:
        place, query = _place("prefix", prefix)
        if query:
            raise _wrong("prefix", "a prefix has no query")
        removed = await _slowly(storage.purge_prefix(place.host, place.path))
    elif tag is not None:
        removed = storage.purge_tag(tag.encode())
    else:
        removed = await _slowly(storage.purge())
    return answer(CachePurgeOut(removed=removed))


def _storage(context: Ctx) -> Storage:
    if context.cache is None:
        raise not_found("cache", "here")
    return context.cache


def _place(name: str, text: str) -> tuple[Place, bytes]:
    """Both schemes are meant, whichever is given."""
    try:
        url = urlsplit(text)
        if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc:
            raise ValueError("it must begin with http://host")
        path = normalise((url.path or "/").encode())
        return Place(url.netloc.lower().encode(), path), url.query.encode()
    except ProtocolError as error:
        reason = error.problem.detail
    except ValueError as error:
        reason = str(error)
    raise _wrong(name, f"this is no URL: {reason}")


def _wrong(parameter: str, detail: str) -> Refused:
    return Refused(INVALID, errors=[ErrorOut(detail=detail, parameter=parameter)])


async def _slowly(steps: Generator[None, None, int]) -> int:
    """A long work in slices, so that exchanges go on between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            removed: int = end.value
            return removed
        await asyncio.sleep(0)
