"""What a service does by itself, beside its exchanges: the list that its settings ask for."""

from __future__ import annotations

import asyncio

from gatepost.upstream.checks import Checks
from gatepost.upstream.discovery import Discovery
from gatepost.upstream.targets import Upstream, Work


def start(upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
    """It serves from now on. Nothing happens where it has begun already."""
    if upstream.started:
        return
    config = upstream.config
    works: list[Work] = []
    if config.discover is not None:
        works.append(Discovery(upstream, loop))
    if config.health is not None:
        works.append(Checks(upstream, config.health, loop))
    upstream.start(works)
