"""Services that are ASGI applications, and routes whose service depends on the version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.exchanges import make_exchange

from gatepost.compile import check
from gatepost.config.loading import load_text
from gatepost.errors import ConfigError, GatepostError
from gatepost.exchange import Exchange, Handler
from gatepost.policies.version import NOTE
from gatepost.upstream.applications import Application, Mounted, start, stop
from gatepost.upstream.versions import ByVersion

HERE = "tests.unit.upstream.test_applications"
Send = Callable[[dict[str, Any]], Awaitable[None]]

NOT_CALLABLE = 1
seen: list[dict[str, Any]] = []


async def echo(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    if scope["type"] == "lifespan":
        seen.append(await receive())
        await send({"type": "lifespan.startup.complete"})
        seen.append(await receive())
        await send({"type": "lifespan.shutdown.complete"})
        return
    seen.append(scope)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def failing(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    import sys

    # `--import-mode=importlib` gives this module another name than the one that the gateway imports it by.
    sys.modules[HERE] = sys.modules[__name__]
    seen.clear()


async def call(mounted: Mounted, path: str) -> dict[str, Any]:
    x, client = make_exchange("GET", path, [(b"accept-encoding", b"gzip"), (b"a", b"1")], handler=mounted)
    mounted.handle(x)
    await mounted._asgi.idle(5.0)
    assert client.body == b"ok"
    return seen[-1]


@pytest.mark.parametrize(
    ("prefix", "path", "root"),
    [
        (None, "/a/b", ""),
        ("/a", "/a/b", "/a"),
        ("/a/", "/a/b", "/a"),
        ("/a", "/a", "/a"),
        ("/a", "/ab", ""),
        ("/a", "/elsewhere", ""),
    ],
)
async def test_what_the_route_strips_is_the_root_path(prefix: str | None, path: str, root: str) -> None:
    scope = await call(Mounted(Application("s", f"{HERE}:echo"), prefix=prefix), path)
    assert (scope["root_path"], scope["path"]) == (root, path)


async def test_an_application_whose_response_is_read_is_asked_not_to_compress() -> None:
    application = Application("s", f"{HERE}:echo")
    names = [name for name, _ in (await call(Mounted(application, identity_encoding=True), "/"))["headers"]]
    assert b"a" in names
    assert b"accept-encoding" not in names
    names = [name for name, _ in (await call(Mounted(application), "/"))["headers"]]
    assert b"accept-encoding" in names


async def test_each_starts_once_and_stops_once() -> None:
    application = Application("s", f"{HERE}:echo")
    await start([application])
    await start([application])
    await stop([application])
    await stop([application])
    assert [event["type"] for event in seen] == ["lifespan.startup", "lifespan.shutdown"]


async def test_where_one_does_not_start_those_before_it_are_stopped() -> None:
    good = Application("good", f"{HERE}:echo")
    with pytest.raises(GatepostError, match="the service bad: the application did not start: no database"):
        await start([good, Application("bad", f"{HERE}:failing")])
    assert not good.running
    assert [event["type"] for event in seen] == ["lifespan.startup", "lifespan.shutdown"]


def test_what_is_no_application_is_a_fault() -> None:
    with pytest.raises(ValueError, match="is no ASGI application"):
        Application("s", f"{HERE}:NOT_CALLABLE")


@pytest.mark.parametrize(
    ("service", "route", "where", "why"),
    [
        ("{}", "", "services.s", "who answers"),
        ("{targets: ['http://h'], asgi: 'a:b'}", "", "services.s", "`targets` says nothing"),
        ("{asgi: 'a:b', pool: 3}", "", "services.s", "`pool` says nothing"),
        ("{asgi: 'no_such_module:app'}", "", "services.s.asgi", "there is no module no_such_module"),
        (f"{{asgi: '{HERE}:echo'}}", ", upgrade: true", "routes.r.upgrade", "says nothing"),
        (f"{{asgi: '{HERE}:echo'}}", ", timeouts: {total: 1s}", "routes.r.timeouts", "says nothing"),
        (f"{{asgi: '{HERE}:echo'}}", ", split: [{service: t, percent: 5}]", "routes.r.split", "says nothing"),
        (f"{{asgi: '{HERE}:echo'}}", ", mirror: {service: s}", "routes.r.mirror.service", "in this process"),
    ],
)
def test_what_means_nothing_to_an_application_is_a_fault(service: str, route: str, where: str, why: str) -> None:
    text = f"""\
services:
  s: {service}
  t: {{targets: ["http://h"]}}
routes:
  r: {{match: {{path: /}}, service: s{route}}}
"""
    with pytest.raises(ConfigError) as refused:
        check("gatepost.yaml", load_text(text))
    (issue,) = refused.value.issues
    assert issue.path == where
    assert why in issue.reason


class Named(Handler):
    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self.said = said

    def handle(self, x: Exchange) -> None:
        self.said.append(f"{self.name} handles")

    def client_gone(self, x: Exchange) -> None:
        self.said.append(f"{self.name} hears")


@pytest.mark.parametrize(("version", "who"), [("v2", "second"), ("v1", "first"), (None, "first"), (7, "first")])
def test_the_version_says_who_answers_and_who_hears_that_the_client_left(version: object, who: str) -> None:
    said: list[str] = []
    handler = ByVersion(Named("first", said), {"v2": Named("second", said)})
    x, _ = make_exchange()
    if version is not None:
        x.note(NOTE, version)
    handler.handle(x)
    handler.client_gone(x)
    assert said == [f"{who} handles", f"{who} hears"]
