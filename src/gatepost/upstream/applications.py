"""Services that are ASGI applications in this process: `service: {asgi: mypackage.app:app}`.

    Application   one service: its AsgiHandler, and whether its lifespan runs
    Mounted       the handler of one route: the application as that route shows it

An application is started once, before the first snapshot that uses it serves, and goes on over reloads for as long as a
service of that name and object is declared. Its module is imported once a process: changed code needs a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from gatepost import log
from gatepost.errors import GatepostError
from gatepost.exchange import Exchange, Handler
from gatepost.named import load_object
from gatepost.upstream.asgi import AsgiHandler

STARTING: Final = 60.0  # seconds that an application's start-up may take
STOPPING: Final = 10.0  # seconds that its shut-down may take


class Application:
    """One service. Mutable; owned by the app."""

    __slots__ = ("handler", "object_name", "running", "service")

    def __init__(self, service: str, object_name: str) -> None:
        """Raises ValueError where the object cannot be had, or is no application."""
        app = load_object(object_name)
        if not callable(app):
            raise ValueError(f"{object_name} is no ASGI application: it cannot be called")
        self.service = service
        self.object_name = object_name
        self.handler = AsgiHandler(app)
        self.running = False


class Mounted(Handler):
    """An application under a route. What the route strips of the path becomes ASGI's `root_path`."""

    __slots__ = ("_asgi", "_identity", "_prefix")

    def __init__(self, application: Application, *, prefix: str | None = None, identity_encoding: bool = False) -> None:
        self._asgi = application.handler
        self._prefix = (prefix or "").removesuffix("/")
        self._identity = identity_encoding

    def handle(self, x: Exchange) -> None:
        if self._identity:
            x.head.take(b"accept-encoding")
        prefix = self._prefix
        path = x.path
        under = path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("/", "")
        self._asgi.call(x, prefix if under else "")

    def client_gone(self, x: Exchange) -> None:
        self._asgi.client_gone(x)


async def start(applications: Iterable[Application]) -> None:
    """Run the start-up of those that do not run yet. Raises GatepostError, and those it started are stopped again."""
    started: list[Application] = []
    try:
        for application in applications:
            if not application.running:
                started.append(application)
                await _start(application)
    except GatepostError:
        await stop(started)
        raise


async def stop(applications: Iterable[Application], patience: float = 0.0) -> None:
    """Give exchanges under way `patience` seconds, then run the shut-downs. A failure goes to the log."""
    for application in applications:
        await application.handler.idle(patience)
        if not application.running:
            continue
        application.running = False
        try:
            await asyncio.wait_for(application.handler.shutdown(), STOPPING)
        except (GatepostError, TimeoutError) as error:
            reason = str(error) or f"its shut-down takes more than {STOPPING:g} s"
            log.event("asgi_lifespan_ended", level="warning", service=application.service, reason=reason)


async def _start(application: Application) -> None:
    try:
        await asyncio.wait_for(application.handler.startup(), STARTING)
    except TimeoutError:
        raise GatepostError(
            f"the application of the service {application.service} takes more than {STARTING:g} s to start"
        ) from None
    except GatepostError as error:
        raise GatepostError(f"the service {application.service}: {error}") from None
    application.running = True
