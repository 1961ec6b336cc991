"""What a resuming subscriber missed, without a gap to the live part and without a repeat.

The line between the two is one id: `until`, the hub's latest when the subscriber joined. Everything up to it is on
disk and comes from here; everything above it is announced later and waits in the subscriber. Commits come in the
order of ids, so nothing falls between.

Channels are merged by id, because `Last-Event-ID` is one number: after a broken stream everything above it is still to
come, whatever its channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gatepost.model import Message
from gatepost.realtime import frames
from gatepost.realtime.hub import Channel
from gatepost.realtime.subscriber import Subscriber
from gatepost.stores.base import Store

PAGE: Final = 64  # messages in memory for one subscriber, over all its channels
READERS: Final = 8  # subscribers that read at a time: after a restart everyone resumes at once


class Backlog:
    """Reads for all subscribers of a node. Who does not take what was read holds up nobody: it reads again later."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers = asyncio.Semaphore(READERS)

    async def send(self, to: Subscriber, channels: Sequence[Channel], after: int, until: int) -> None:
        """Write every message of `channels` with `after` < id <= `until`, then let the live ones follow."""
        while after < until and not to.closed:
            async with self._readers:
                after = await self._send_page(to, channels, after, until)
            await to.ready()
        if not to.closed:
            to.caught_up()

    async def _send_page(self, to: Subscriber, channels: Sequence[Channel], after: int, until: int) -> int:
        """Send what one page holds and the connection takes. Returns the id up to which all was sent."""
        limit = max(4, PAGE // len(channels))
        complete = until  # below this id, every channel was read
        found: dict[int, Message] = {}  # a message may stand in several channels
        for app, channel in channels:
            page = await self._store.channel_messages(app, channel, after, limit)
            found.update((message.id, message) for message in page)
            if len(page) >= limit:
                complete = min(complete, page[-1].id)
        for identifier in sorted(found):
            if identifier > complete:
                break
            if to.paused or to.closed:
                return after
            message = found[identifier]
            to.write(frames.event(identifier, message.event_type, message.payload))
            after = identifier
        return complete
