"""The contract of a destination: it makes one try, reports how it went, and decides nothing else.

When to try, and whether to try again, is for `deliveries` to say.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from gatepost.clock import Clock
from gatepost.model import Endpoint


class Result:
    """How one try went. `status` 0 means that no response came; `error`, where not empty, says why it failed in
    words that the endpoint's owner can act on."""

    __slots__ = ("body", "duration", "error", "retry_after", "started", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        error: str,
        started: float,
        duration: float,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.body = body  # as much of the response's as is kept
        self.error = error
        self.started = started  # Unix seconds
        self.duration = duration  # seconds
        self.retry_after = retry_after  # seconds from the end of this try; None: the response did not say

    @property
    def ok(self) -> bool:
        return not self.error and 200 <= self.status < 300


Done: TypeAlias = Callable[[Result], None]


class Sending(Protocol):
    """A try under way."""

    def cancel(self) -> None:
        """Give it up; `done` is not called any more. The other side may have seen the request."""
        ...


class Sender(Protocol):
    """What sends to one endpoint, prepared once (URL, headers, keys) and replaced when the endpoint changes."""

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        """Begin one try of the message with the public id `id`. `done` is called once, on the loop, never before
        this returns, and whatever happens within the destination's time-out. Never raises."""
        ...


class Destination(Protocol):
    def sender(self, endpoint: Endpoint) -> Sender:
        """Never raises: where an endpoint cannot be sent to, its sender reports so each time."""
        ...

    def close(self) -> None:
        """Close every connection. Tries under way end without a result."""
        ...


class Context(NamedTuple):
    """What declared destinations get of the node."""

    clock: Clock
    loop: asyncio.AbstractEventLoop
    response_bytes: int  # kept of what the other side says
    tls: ssl.SSLContext | None = None  # the system's authorities otherwise


class Declared(Protocol):
    """A destination that the configuration declares, under a name."""

    def sender(self, endpoint: Endpoint) -> Sender:
        """As `Destination.sender`."""
        ...

    async def stop(self) -> None:
        """Close every connection. Tries under way end without a result."""
        ...


S_contra = TypeVar("S_contra", contravariant=True)


class MakeDestination(Protocol[S_contra]):
    def __call__(self, settings: S_contra, context: Context, /) -> Declared:
        """Makes one, without a connection yet. Raises GatepostError where a package is missing."""
        ...
