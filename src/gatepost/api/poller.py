"""A poller: an app's messages for a receiver that cannot open a port, in commit order.

Each poller has a name and a position that is kept. A page comes from behind the position; asking with the page's
`iterator` says that it was dealt with, keeps that position, and gives the next one. A page that got lost comes again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from fastapi import Path, Query, Response
from typing_extensions import TypedDict

from gatepost.api import pagination
from gatepost.api.context import Ctx
from gatepost.api.encoding import JSON, encode_list
from gatepost.api.errors import Fault, Unprocessable
from gatepost.api.fields import NAME, AppName, ByChannel, ByType, seconds_of, split_types
from gatepost.api.messages import MessageOut, document
from gatepost.api.router import router

MOST: Final = 50  # messages of a page: their payloads may have a MiB each


class PollerOut(TypedDict):
    data: list[MessageOut]
    iterator: str
    done: bool


noun = router("/api/v1/app/{app_id}/poller/{poller_id}", "Message")


@noun.get("", operation_id="v1.message.poll", response_model=PollerOut)
async def poll(
    context: Ctx,
    app_name: AppName,
    name: Annotated[str, Path(alias="poller_id", max_length=256, pattern=NAME, description="A name of your own.")],
    limit: Annotated[int, Query(ge=1, le=MOST, description="The most messages a page may have.")] = pagination.LIMIT,
    iterator: Annotated[
        str | None, Query(description="The last page's: it was dealt with, and is not given again.")
    ] = None,
    after: Annotated[datetime | None, Query(description="Begin anew at this moment.")] = None,
    event_types: ByType = None,
    channel: ByChannel = None,
) -> Response:
    """Get the messages after the poller's position, the oldest first. `done` is true when there are no more now."""
    app = context.app(app_name)
    moment = seconds_of(after)
    if iterator and moment is not None:
        raise Unprocessable(Fault(("query", "after"), "name either iterator or after"))
    if moment is not None:
        position = await context.store.position_at(app.key, moment)
    elif iterator:
        position = iterator
    else:
        position = await context.store.poller_position(app.key, name)
    types = split_types(event_types)
    try:
        found = await context.store.follow(app.key, position, limit, types, channel)
    except ValueError:
        raise Unprocessable(Fault(("query", "iterator"), "iterator must be what another page gave")) from None
    if iterator or moment is not None:
        await context.store.keep_poller_position(app.key, name, position)
    data = await encode_list(found.messages, document)
    ends = msgspec.json.encode({"iterator": found.position, "done": found.done})
    return Response(b'{"data":%b,%b' % (data, ends[1:]), media_type=JSON)
