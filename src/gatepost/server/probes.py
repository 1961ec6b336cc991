"""`/health` and `/ready`: answered from memory, open to everyone, told apart on purpose.

Alive says that the process answers; ready says that it may be sent traffic. A node that is stopping is alive and not
ready.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gatepost.exchange import Exchange, Handler


class Probe(Handler):
    """200 while `check` names nothing that is wrong, 503 with the reasons otherwise."""

    def __init__(self, check: Callable[[], list[str]]) -> None:
        self._check = check

    def handle(self, x: Exchange) -> None:
        wrong = self._check()
        body = msgspec.json.encode({"status": "unavailable", "reasons": wrong} if wrong else {"status": "ok"})
        fields = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        x.downstream.respond(x, 503 if wrong else 200, fields, body)

    def client_gone(self, x: Exchange) -> None:
        pass
