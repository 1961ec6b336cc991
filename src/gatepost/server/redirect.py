"""A listener that only sends clients on to HTTPS."""

from __future__ import annotations

from typing import Final

from gatepost.errors import Problem
from gatepost.exchange import Exchange, Handler, Route, problem
from gatepost.server.gate import Snapshot
from gatepost.server.routing import Router

HOSTLESS: Final = Problem(
    400, "host-missing", "The request names no host", "only with a Host can it be sent on to HTTPS"
)
LOOP: Final = Problem(
    421,
    "redirect-loop",
    "This listener only sends clients on to HTTPS",
    "the proxy in front says that this is HTTPS already: let it come to the HTTPS listener",
)


class RedirectHttps(Handler):
    """308 (RFC 9110 §15.4.9), so that method and body are repeated, to the same host and target on `port`."""

    def __init__(self, port: int) -> None:
        self._port = b"" if port == 443 else b":%d" % port

    def handle(self, x: Exchange) -> None:
        head = x.head
        refusal = HOSTLESS if not head.host else LOOP if x.scheme == b"https" else None
        if refusal is not None:
            answer = problem(x.id, refusal)
            x.outcome = answer.outcome
            x.downstream.respond(x, answer.status, answer.fields, answer.body)
            return
        target = head.target
        if target[:1] != b"/":  # in absolute form
            target = x.path.encode() + (b"?" + x.query if x.query else b"")
        location = b"https://%b%b%b" % (_without_port(head.host), self._port, target)
        x.downstream.respond(x, 308, [(b"location", location)], b"")

    def client_gone(self, x: Exchange) -> None:
        pass


def redirecting(port: int, like: Snapshot) -> Snapshot:
    """What such a listener serves, under the limits and with the trust of the others."""
    router: Router[Route] = Router()
    router.add("(redirect)", "/*", Route("(redirect)", RedirectHttps(port)))
    return Snapshot(router, like.limits, like.is_trusted)


def _without_port(host: bytes) -> bytes:
    bare, _, port = host.rpartition(b":")
    return bare if port.isdigit() and bare else host
