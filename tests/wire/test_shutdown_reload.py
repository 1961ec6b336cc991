"""How a node stops, and how its configuration changes while it serves."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.backend import OK, Backend, Exchange, echo_upgrade
from tests.support.node import Node, Settings, address, running
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.receiver import Receiver

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest_asyncio.fixture(loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()
    assert not backend.faults, backend.faults


def settings(backend: Backend, **more: object) -> Settings:
    return {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {
            "main": {"match": {"path": "/*"}, "service": "main"},
            "upgrade": {"match": {"path": "/upgrade"}, "service": "main", "upgrade": True},
        },
        **more,
    }


class Held:
    """A backend script that holds its answer until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, x: Exchange) -> None:
        await x.body()
        await self.go.wait()
        x.write(OK)


@asynccontextmanager
async def client_of(node: Node, sends: bytes = b"") -> AsyncIterator[RawClient]:
    async with await RawClient.connect(node.traffic) as client:
        client.send(sends)
        yield client


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_node_stops_at_once(tmp_path: Path, backend: Backend, number: signal.Signals) -> None:
    async with running(tmp_path, settings(backend)) as node, client_of(node, GET) as client:
        assert (await client.response()).status == 200
        node.signal(number)
        assert await client.closed() == b""
        assert await node.exit_code(within=5) == 0
        with pytest.raises(OSError, match="onnect"):
            await RawClient.connect(node.traffic)


async def test_during_the_drain_delay_it_accepts_and_says_close_and_is_not_ready(
    tmp_path: Path, backend: Backend
) -> None:
    """A load balancer needs a moment to see that `/ready` fails; nobody who comes meanwhile may be turned away."""
    shutdown = {"shutdown": {"drain_delay": "1s"}}
    async with running(tmp_path, settings(backend, **shutdown)) as node, client_of(node, GET) as kept:
        assert (await kept.response()).get(b"connection") is None
        node.signal(signal.SIGTERM)
        await node.event("stopping")
        assert (await node.ready()).status == 503
        assert (await node.request(b"GET", b"/health")).status == 200
        kept.send(GET)
        assert [answer.get(b"connection") for answer in await kept.answers(b"GET")] == [b"close"]
        async with client_of(node, GET) as late:
            assert [answer.status for answer in await late.answers(b"GET")] == [200]
        assert await node.exit_code(within=5) == 0


async def test_what_is_in_flight_finishes(tmp_path: Path, backend: Backend) -> None:
    backend.script = held = Held()
    async with running(tmp_path, settings(backend)) as node, client_of(node, GET) as waiting:
        await backend.request()
        async with client_of(node, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha") as sending:
            await backend.request(1)
            node.signal(signal.SIGTERM)
            await node.event("stopping")
            sending.send(b"lf")
            held.go.set()
            [answer] = await waiting.answers(b"GET")
            assert (answer.status, answer.get(b"connection")) == (200, b"close")
            [answer] = await sending.answers(b"POST")
            assert answer.status == 200
        assert await node.exit_code(within=5) == 0


async def test_what_does_not_finish_in_time_is_cut(tmp_path: Path, backend: Backend) -> None:
    backend.script = Held()
    async with (
        running(tmp_path, settings(backend, shutdown={"drain": "300ms"})) as node,
        client_of(node, GET) as client,
    ):
        x = await backend.request()
        node.signal(signal.SIGTERM)
        with pytest.raises(ClosedEarly):
            await client.response()
        await x.gone()
        assert await node.exit_code(within=5) == 0


async def test_tunnels_and_streams_are_ended(tmp_path: Path, backend: Backend) -> None:
    """They would never finish by themselves."""
    more: Settings = {"live": {"public": ["/shop/*"]}, "apps": {"shop": {}}}
    async with running(tmp_path, settings(backend, **more)) as node:
        backend.script = echo_upgrade
        upgrade = b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        live = b"GET /.well-known/mercure?topic=/shop/orders/1 HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
        async with client_of(node, upgrade) as tunnel, client_of(node, live) as stream:
            assert (await tunnel.response()).status == 101
            assert b" 200 " in await stream.until(b"\r\n\r\n")
            node.signal(signal.SIGTERM)
            await tunnel.closed()
            assert (await stream.closed()).endswith(b"0\r\n\r\n"), "ended on purpose, not cut"
            assert await node.exit_code(within=5) == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, backend: Backend) -> None:
    backend.script = Held()
    async with running(tmp_path, settings(backend, shutdown={"drain": "1m"})) as node, client_of(node, GET):
        await backend.request()
        node.signal(signal.SIGTERM)
        await node.event("stopping")
        node.signal(signal.SIGTERM)
        assert await node.exit_code(within=5) == 1


async def test_nothing_acknowledged_is_lost_when_it_stops(tmp_path: Path, backend: Backend) -> None:
    async with Receiver() as receiver:
        more: Settings = {
            "apps": {"shop": {"endpoints": [{"uid": "partner", "url": receiver.url}]}},
            "deliveries": {"allow_networks": ["127.0.0.0/8"]},
        }
        async with running(tmp_path, settings(backend, **more)) as node:
            body = {"eventType": "stop.test", "payload": {}}
            sent = [(await node.api("POST", "/api/v1/app/shop/msg", body, expect=202))["id"] for _ in range(20)]
            node.signal(signal.SIGTERM)
            assert await node.exit_code(within=10) == 0
            await node.start()
            await receiver.until(lambda: receiver.received.keys() >= set(sent), "every message", within=10)


# Reloading.


def naming(backend: Backend, service: str) -> Settings:
    """Every path goes to one service, and the base path of its target says which."""
    return {
        "services": {service: {"targets": [f"{backend.url}/{service}"]}},
        "routes": {"main": {"match": {"path": "/*"}, "service": service}},
    }


async def echo_target(x: Exchange) -> None:
    await x.body()
    x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(x.target), x.target))


async def test_sighup_reloads_under_load_without_a_failed_request(tmp_path: Path, backend: Backend) -> None:
    backend.script = echo_target
    stop = asyncio.Event()
    answers: list[bytes] = []

    async def load(node: Node, *, kept: bool) -> None:
        while not stop.is_set():
            async with client_of(node) as client:
                for _ in range(50 if kept else 1):
                    client.send(GET)
                    answer = await client.response()
                    assert answer.status == 200
                    answers.append(bytes(answer.body))

    async with running(tmp_path, naming(backend, "v0")) as node:
        clients = [asyncio.create_task(load(node, kept=n % 2 == 0)) for n in range(4)]
        for version in range(1, 6):
            node.write(naming(backend, f"v{version}"))
            seen = len(node.errors)
            node.signal(signal.SIGHUP)
            await node.event("config_reloaded", after=seen)
            async with client_of(node, GET) as client:
                assert (await client.response()).body == b"/v%d/" % version, "from the next head on"
        stop.set()
        await asyncio.gather(*clients)
    assert set(answers) >= {b"/v%d/" % version for version in range(5)}


async def test_a_request_keeps_the_configuration_it_began_with(tmp_path: Path, backend: Backend) -> None:
    backend.script = held = Held()
    async with running(tmp_path, settings(backend)) as node, client_of(node, GET) as client:
        await backend.request()
        node.write({"services": {}, "routes": {}})
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded")
        held.go.set()
        assert (await client.response()).status == 200
        client.send(GET)
        assert (await client.response()).status == 404


async def test_a_changed_file_is_reloaded_by_itself(tmp_path: Path, backend: Backend) -> None:
    backend.script = echo_target
    async with running(tmp_path, naming(backend, "old")) as node:
        node.write(naming(backend, "new"))
        await node.event("config_reloaded")
        async with client_of(node, GET) as client:
            assert (await client.response()).body == b"/new/"


WRONG = {
    "an unknown key": ("routes.main.match.pth", lambda s: s["routes"]["main"]["match"].update(pth="/x")),
    "an unknown service": ("routes.main.service", lambda s: s["routes"]["main"].update(service="mian")),
    "a wrong type": ("limits.header_count", lambda s: s.update(limits={"header_count": "many"})),
    "an expression": (
        "routes.main.emit[0].when",
        lambda s: s["routes"]["main"].update(emit=[{"app": "a", "event_type": "b.c", "when": "respnse.status == 1"}]),
    ),
}


async def test_a_wrong_file_is_refused_with_path_and_line_and_changes_nothing(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        for what, (expected, spoil) in WRONG.items():
            wrong = json.loads(json.dumps(settings(backend)))
            spoil(wrong)
            node.write(wrong)
            seen = len(node.errors)
            node.signal(signal.SIGHUP)
            refused = await node.event("config_refused", after=seen)
            assert refused["path"] == expected, what
            assert refused["reason"], what
            assert expected.rpartition(".")[2] in node.file.read_text().splitlines()[refused["line"] - 1], what
            async with client_of(node, GET) as client:
                assert (await client.response()).status == 200


async def test_a_file_that_is_not_yaml_is_refused_and_a_good_one_taken_again(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        node.write_text("routes: {\n  main: [\n")
        node.signal(signal.SIGHUP)
        assert (await node.event("config_refused"))["line"] >= 2
        node.write(settings(backend))
        seen = len(node.errors)
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded", after=seen)


async def test_what_only_a_restart_changes_is_said(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        node.write(settings(backend, access_log={"output": "off"}))
        node.signal(signal.SIGHUP)
        assert "access_log" in (await node.event("config_needs_restart"))["settings"]


# Starting.


async def refusal_to_start(node: Node) -> str:
    await node.launch()
    assert await node.exit_code(within=10) != 0
    text = "\n".join(str(line) for line in node.errors)
    assert "Traceback" not in text
    return text


async def test_a_node_does_not_start_with_a_wrong_file(tmp_path: Path, backend: Backend) -> None:
    node = Node(tmp_path, settings(backend, limits={"header_cuont": 5}))
    text = await refusal_to_start(node)
    assert "limits.header_cuont" in text
    assert "line" in text


async def test_a_second_node_on_the_same_store_is_refused(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        second = Node(tmp_path / "second", settings(backend, store=f"sqlite:///{tmp_path}/gatepost.db"))
        assert await refusal_to_start(second)
        assert (await node.ready()).status == 200


async def test_a_port_that_is_taken_is_an_error_of_one_line(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        listen = {"listen": {"traffic": address(node.traffic), "control": address(node.control)}}
        second = Node(tmp_path / "second", settings(backend, **listen))
        started = time.monotonic()
        assert str(node.traffic[1]) in await refusal_to_start(second)
        assert time.monotonic() - started < 10
