"""`discover: dns`: each address of a target's name is a target of its own, and they follow the name.

The resolver keeps an answer for its TTL; once that is over the name is asked for again. While there is no answer, or
the name has vanished, the last addresses stay: an empty service helps nobody.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gatepost import log
from gatepost.config.services import ServiceTarget
from gatepost.errors import UpstreamError
from gatepost.net.deadlines import NEVER
from gatepost.net.url import parse_url
from gatepost.upstream.targets import Target, Upstream

LOOK: Final = 1.0  # seconds between two looks at whether an answer has run out; no TTL counts for less
PATIENCE: Final = 10.0  # seconds for a look-up
MOST: Final = 256  # addresses of one name that are used


class Discovery:
    """Owns the members of an upstream whose targets are names."""

    __slots__ = ("_config", "_found", "_loop", "_members", "_task", "_upstream", "deadline")

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop
        self._config = upstream.config
        self._found: dict[ServiceTarget, tuple[str, ...]] = {}  # addresses, sorted
        self._members: dict[tuple[ServiceTarget, str], Target] = {}
        self._task: asyncio.Task[None] | None = None
        self.deadline = NEVER

    def start(self) -> None:
        self.deadline = 0.0
        self._upstream.deadlines.join(self)

    def stop(self) -> None:
        self._upstream.deadlines.leave(self)
        self.deadline = NEVER
        if self._task is not None:
            self._task.cancel()

    def members(self) -> None:
        """It is what changes them."""

    def expire(self, now: float) -> None:
        self.deadline = NEVER
        self._task = self._loop.create_task(self._look())

    async def _look(self) -> None:
        changed = False
        for each in self._config.targets:
            if each.url.startswith("unix:"):
                addresses: tuple[str, ...] = ("",)
            else:
                url = parse_url(each.url)
                try:
                    async with asyncio.timeout(PATIENCE):
                        answer = await self._upstream.resolver.resolve(url.host, url.port)
                except (UpstreamError, TimeoutError):
                    continue
                addresses = tuple(sorted({address.ip for address in answer}))[:MOST]
            if self._found.get(each) != addresses:
                self._found[each] = addresses
                changed = True
        if changed:
            self._use()
        self.deadline = self._loop.time() + LOOK

    def _use(self) -> None:
        upstream, config = self._upstream, self._config
        members: dict[tuple[ServiceTarget, str], Target] = {}
        for each in config.targets:
            for address in self._found.get(each, ("",)):
                # One whose name was never found goes by its name: what is wrong with it is told at each try.
                member = self._members.get((each, address)) or Target(
                    each.url, config.pool, upstream.tls, weight=each.weight, address=address or None
                )
                members[each, address] = member
        gone = [target.name for key, target in self._members.items() if key not in members]
        new = [target.name for key, target in members.items() if key not in self._members]
        self._members = members
        upstream.use(list(members.values()))
        log.event(
            "targets_found", service=upstream.name, targets=len(members), new=", ".join(new), gone=", ".join(gone)
        )
