"""The contract of a destination (`destinations/base.py`), for every kind, against what is really on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from redis.asyncio import Redis
from tests.support.queues import NatsServer, ValkeyServer
from tests.support.rawclient import PATIENCE, soon
from tests.support.receiver import Receiver

from gatepost.clock import SystemClock
from gatepost.config.destinations import Command, DestinationDecl, Nats, Smtp, Valkey
from gatepost.config.schema import Deliveries as Settings
from gatepost.destinations import KINDS
from gatepost.destinations.alerts import settings_of
from gatepost.destinations.base import Context, Result
from gatepost.destinations.chosen import Destinations
from gatepost.destinations.webhook import WebhookDestination
from gatepost.errors import GatepostError
from gatepost.model import Endpoint, EndpointSettings, Secret
from gatepost.net.deadlines import Deadlines
from gatepost.net.guard import Guard
from gatepost.net.resolve import NameUnknown, Resolver

ID = b"msg_0S8pLQk3xY2"
BODY = '{"event": "new_order",  "data": {"name": "Zoë"}}'.encode()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
READ = r"""
import os, sys
body = sys.stdin.buffer.read()
with open(sys.argv[1], "ab") as file:
    file.write(os.environ["GATEPOST_MESSAGE_ID"].encode() + b" " + body + b"\n")
"""


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    server = NatsServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    yield server
    server.stop()


class Side(ABC):
    """The other side of one kind, as a test needs it."""

    options: dict[str, str] = {}  # noqa: RUF012  never changed

    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        """Begin to listen."""
        self.folder = folder

    async def stop(self) -> None:
        """Listen no more."""
        return

    @abstractmethod
    def decl(self) -> DestinationDecl | None:
        """What the configuration says; None for webhooks."""

    @abstractmethod
    def nobody(self) -> DestinationDecl | str:
        """The same where nobody listens; a URL for webhooks."""

    @abstractmethod
    async def taken(self) -> list[tuple[bytes, bytes]]:
        """(id, body) of what came."""


class WebhookSide(Side):
    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.receiver = Receiver()
        await self.receiver.__aenter__()

    async def stop(self) -> None:
        await self.receiver.__aexit__()
        assert self.receiver.faults == []

    def decl(self) -> None:
        return None

    def nobody(self) -> str:
        return "http://127.0.0.1:1/"

    async def taken(self) -> list[tuple[bytes, bytes]]:
        return [(id.encode(), body) for id, body in self.receiver.received.items()]


class CommandSide(Side):
    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.file = folder / "taken"

    def decl(self) -> DestinationDecl:
        return DestinationDecl(command=Command(run=(sys.executable, "-c", READ, str(self.file))))

    def nobody(self) -> DestinationDecl:
        return DestinationDecl(command=Command(run=("/nowhere/to/be/found",)))

    async def taken(self) -> list[tuple[bytes, bytes]]:
        lines = self.file.read_bytes().splitlines()
        return [(line[: len(ID)], line[len(ID) + 1 :]) for line in lines]


class NatsSide(Side):
    options = {"subject": "orders.new"}  # noqa: RUF012

    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.url = request.getfixturevalue("nats_server").url
        self.client = await nats.connect(self.url)
        self.stream = self.client.jetstream()
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await self.stream.delete_stream("orders")
        await self.stream.add_stream(name="orders", subjects=["orders.>"])

    async def stop(self) -> None:
        await self.client.close()

    def decl(self) -> DestinationDecl:
        return DestinationDecl(nats=Nats(servers=(self.url,)))

    def nobody(self) -> DestinationDecl:
        return DestinationDecl(nats=Nats(servers=("nats://127.0.0.1:1",), timeout=1.0))

    async def taken(self) -> list[tuple[bytes, bytes]]:
        state = (await self.stream.stream_info("orders")).state
        found = [await self.stream.get_msg("orders", seq) for seq in range(state.first_seq, state.last_seq + 1)]
        return [((each.headers or {})["Nats-Msg-Id"].encode(), each.data or b"") for each in found]


class ValkeySide(Side):
    options = {"stream": "orders"}  # noqa: RUF012

    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.url = request.getfixturevalue("valkey_server").url
        self.client = Redis.from_url(self.url)
        await self.client.flushall()

    async def stop(self) -> None:
        await self.client.aclose()

    def decl(self) -> DestinationDecl:
        return DestinationDecl(valkey=Valkey(url=self.url))

    def nobody(self) -> DestinationDecl:
        return DestinationDecl(valkey=Valkey(url="redis://127.0.0.1:1"))

    async def taken(self) -> list[tuple[bytes, bytes]]:
        return [(fields[b"id"], fields[b"body"]) for _, fields in await self.client.xrange("orders")]


class Mails:
    """What a mail server of aiosmtpd was given."""

    def __init__(self) -> None:
        self.came: list[Envelope] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.came.append(envelope)
        return self.answer


class SmtpSide(Side):
    options = {"to": "ops@example.com"}  # noqa: RUF012

    async def start(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.mails = Mails()
        self.server = Controller(self.mails, hostname="127.0.0.1", port=0)
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        # `Controller.start` cannot tell which port it was given.
        self.server.port = _free_port()
        self.server.start()

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    def decl(self) -> DestinationDecl:
        return DestinationDecl(smtp=Smtp(host="127.0.0.1", port=self.server.port, security="none"))

    def nobody(self) -> DestinationDecl:
        return DestinationDecl(smtp=Smtp(host="127.0.0.1", port=1, security="none"))

    async def taken(self) -> list[tuple[bytes, bytes]]:
        from email import message_from_bytes, policy

        found = []
        for envelope in self.mails.came:
            mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
            body = mail.get_body()
            assert body is not None
            found.append((str(mail["Message-ID"])[1:].partition("@")[0].encode(), body.get_content().strip().encode()))
        return found


SIDES: dict[str, type[Side]] = {
    "webhook": WebhookSide,
    "command": CommandSide,
    "nats": NatsSide,
    "valkey": ValkeySide,
    "smtp": SmtpSide,
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Node:
    """All destinations of one node."""

    def __init__(self, declared: dict[str, DestinationDecl]) -> None:
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(loop)

        def unknown(host: str) -> asyncio.Future[Any]:
            raise NameUnknown(host)

        webhook = WebhookDestination(
            Settings(timeout=5.0),
            resolver=Resolver(unknown),
            guard=Guard(["127.0.0.0/8"]),
            deadlines=self.deadlines,
            clock=SystemClock(),
            loop=loop,
        )
        self.destinations = Destinations(webhook, declared, Context(SystemClock(), loop, 16_384))

    async def stop(self) -> None:
        self.destinations.close()
        await self.destinations.stop()
        self.deadlines.close()

    async def sent(self, endpoint: Endpoint, body: bytes = BODY) -> Result:
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.destinations.sender(endpoint).send(ID, body, result.set_result)
        assert not result.done()  # never before `send` returns
        return await soon(result, "a result")


def endpoint(name: str, options: dict[str, str], url: str = "destination:it", *, declared: bool = True) -> Endpoint:
    settings = EndpointSettings(destination=name, options=options)
    return Endpoint(1, 1, 1, url, secrets=(Secret(SECRET),), declared=declared, settings=settings)


def test_every_kind_is_held_to_the_contract() -> None:
    assert {"webhook", *KINDS} == SIDES.keys()


@pytest.fixture(params=list(SIDES))
async def side(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Side]:
    side = SIDES[request.param]()
    await side.start(request, tmp_path)
    yield side
    await side.stop()


@pytest.fixture
async def node(side: Side) -> AsyncIterator[Node]:
    decl = side.decl()
    node = Node({} if decl is None else {"it": decl})
    yield node
    await node.stop()


def there(side: Side) -> Endpoint:
    if isinstance(side, WebhookSide):
        return endpoint("webhook", {}, side.receiver.url)
    return endpoint("it", side.options)


async def test_a_message_arrives_with_its_id_and_every_byte(side: Side, node: Node) -> None:
    result = await node.sent(there(side))
    assert result.ok, result.error
    assert await side.taken() == [(ID, BODY)]
    assert result.duration >= 0
    assert abs(result.started - SystemClock().now()) < 60


async def test_many_at_once_arrive(side: Side, node: Node) -> None:
    bodies = [b'{"n":%d}' % n for n in range(8)]
    sender = node.destinations.sender(there(side))
    loop = asyncio.get_running_loop()
    results: list[asyncio.Future[Result]] = [loop.create_future() for _ in bodies]
    for number, (body, result) in enumerate(zip(bodies, results, strict=True)):
        sender.send(b"msg_%011d" % number, body, result.set_result)
    for result in results:
        assert (await soon(result, "a result")).ok
    assert sorted(body for _, body in await side.taken()) == bodies


async def test_where_nobody_listens_the_attempt_says_so(side: Side) -> None:
    nobody = side.nobody()
    node = Node({} if isinstance(nobody, str) else {"it": nobody})
    url = nobody if isinstance(nobody, str) else "destination:it"
    result = await node.sent(endpoint("webhook" if isinstance(nobody, str) else "it", side.options, url))
    await node.stop()
    assert (result.ok, result.status) == (False, 0)
    assert result.error
    assert "Traceback" not in result.error


async def test_a_cancelled_try_says_nothing(side: Side, node: Node) -> None:
    results: list[Result] = []
    node.destinations.sender(there(side)).send(ID, BODY, results.append).cancel()
    assert (await node.sent(there(side))).ok
    assert results == []


async def test_a_stop_leaves_nothing_under_way(side: Side) -> None:
    decl = side.decl()
    node = Node({} if decl is None else {"it": decl})
    results: list[Result] = []
    node.destinations.sender(there(side)).send(ID, BODY, results.append)
    await node.stop()
    await asyncio.sleep(0)
    names = {"gatepost-try", "gatepost-connect"}
    assert [task for task in asyncio.all_tasks() if task.get_name() in names] == []
    assert results == []


class TestNats:
    @pytest.fixture
    async def side(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NatsSide]:
        side = NatsSide()
        await side.start(request, tmp_path)
        yield side
        await side.stop()

    async def test_a_repeated_message_is_stored_once(self, side: NatsSide, node: Node) -> None:
        assert (await node.sent(there(side))).ok
        assert (await node.sent(there(side))).ok
        assert len(await side.taken()) == 1

    async def test_a_subject_without_a_stream_is_not_taken(self, side: NatsSide, node: Node) -> None:
        result = await node.sent(endpoint("it", {"subject": "nobody.listens"}))
        assert not result.ok
        assert result.error == "no stream has this subject"

    async def test_a_subject_with_wildcards_is_none(self, side: NatsSide, node: Node) -> None:
        assert "option `subject`" in (await node.sent(endpoint("it", {"subject": "orders.>"}))).error


class TestCommand:
    async def run(self, *command: str, body: bytes = BODY, **settings: Any) -> Result:
        node = Node({"it": DestinationDecl(command=Command(run=command, **settings))})
        result = await node.sent(endpoint("it", {}), body)
        await node.stop()
        return result

    async def test_what_it_writes_is_the_response(self) -> None:
        result = await self.run("/bin/echo", "a b", "$HOME; ls")
        assert (result.status, result.body) == (200, b"a b $HOME; ls\n")  # no shell has read it

    async def test_a_status_is_a_failure_with_its_output(self) -> None:
        result = await self.run("/bin/sh", "-c", "echo why >&2; exit 3")
        assert (result.ok, result.error, result.body) == (False, "the program ended with status 3", b"why\n")

    async def test_one_that_hangs_is_ended_with_all_that_it_started(self, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        result = await self.run("/bin/sh", "-c", f"sleep 600 & echo $! > {pid}; wait", timeout=2.0)
        assert result.error == "not done within 2 s"
        try:
            child = os.pidfd_open(int(pid.read_text()))
        except ProcessLookupError:
            return  # it is gone, and somebody has noticed
        ended, _, _ = select.select([child], [], [], PATIENCE)
        os.close(child)
        assert ended

    async def test_nothing_of_the_nodes_environment_is_handed_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATEPOST_SECRET_OF_THE_NODE", "x")
        result = await self.run("/usr/bin/env", environment={"LEVEL": "info"})
        names = {line.partition(b"=")[0] for line in result.body.splitlines()}
        assert names == {b"PATH", b"LEVEL", b"GATEPOST_MESSAGE_ID"}

    async def test_one_that_reads_nothing_and_one_that_writes_without_end(self) -> None:
        assert (await self.run("/bin/true", body=b"x" * 1_000_000)).ok
        result = await self.run("/bin/sh", "-c", "head -c 3000000 /dev/zero")
        assert (result.ok, len(result.body)) == (True, 16_384)


class TestSmtp:
    @pytest.fixture
    async def side(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SmtpSide]:
        side = SmtpSide()
        await side.start(request, tmp_path)
        yield side
        await side.stop()

    async def test_subject_and_text_are_the_transforms(self, side: SmtpSide, node: Node) -> None:
        body = json.dumps({"subject": "It\r\nBcc: x@y.z", "text": "first\nsecond"}).encode()
        assert (await node.sent(there(side), body)).ok
        [envelope] = side.mails.came
        content = (envelope.original_content or b"").decode()
        assert "Subject: It Bcc: x@y.z\r\n" in content  # no field of its own
        assert "first\r\nsecond" in content
        assert envelope.rcpt_tos == ["ops@example.com"]

    async def test_a_refusal_is_a_failed_attempt(self, side: SmtpSide, node: Node) -> None:
        side.mails.answer = "554 not here"
        result = await node.sent(there(side))
        assert (result.ok, result.error, result.body) == (False, "the mail server answered 554", b"not here")

    async def test_a_password_needs_tls(self) -> None:
        with pytest.raises(ValueError, match="not sent without TLS"):
            Smtp(host="x", security="none", username="u", password="p")

    def test_the_alert_says_what_happened(self) -> None:
        assert settings_of("email", destination="mail", to="ops@example.com").options == {"to": "ops@example.com"}


async def test_what_is_not_declared_is_refused_each_time() -> None:
    node = Node(
        {
            "open": DestinationDecl(valkey=Valkey(url="unix:///nowhere", stream="s"), api=True),
            "closed": DestinationDecl(valkey=Valkey(url="unix:///nowhere", stream="s")),
        }
    )
    assert "declares no destination 'gone'" in (await node.sent(endpoint("gone", {}))).error
    by_api = await node.sent(endpoint("closed", {}, declared=False))
    assert by_api.error == "the destination 'closed' is for endpoints that the configuration declares"
    assert "Valkey" in (await node.sent(endpoint("open", {}, declared=False))).error
    await node.stop()


def test_a_declaration_is_of_one_kind_and_programs_are_not_for_the_api() -> None:
    with pytest.raises(ValueError, match="name one of"):
        DestinationDecl()
    with pytest.raises(ValueError, match="cannot open a `command`"):
        DestinationDecl(command=Command(run=("/bin/true",)), api=True)
    with pytest.raises(ValueError, match="whole path"):
        Command(run=("true",))


def test_a_missing_package_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(SystemClock(), asyncio.new_event_loop(), 1)
    monkeypatch.setitem(sys.modules, "nats", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    for kind, settings in (("nats", Nats(servers=("x",))), ("valkey", Valkey(url="redis://x"))):
        with pytest.raises(GatepostError, match=rf"pip install gatepost\[{kind}\]"):
            KINDS[kind](settings, context)
    context.loop.close()
