"""The SSRF guard from end to end: a URL as an attacker writes it, a name server that does what he wants, and a socket
on loopback that must never hear a byte. The table itself: tests/unit/net/test_guard_table.py."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from tests.support.dns import NameServer, name_server

from gatepost.clock import ManualClock
from gatepost.errors import AddressRefused, UpstreamError
from gatepost.net.cares import CaresLookup
from gatepost.net.dial import dial
from gatepost.net.guard import Guard
from gatepost.net.resolve import LONGEST, Resolver
from gatepost.net.url import parse_url


class Trap(asyncio.Protocol):
    """The internal service that is meant to be protected."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections += 1
        transport.close()


class Attack:
    """What webhooks do with a URL, with the attacker's name server."""

    def __init__(self, trap: Trap, names: NameServer, lookup: CaresLookup) -> None:
        self.trap = trap
        self.names = names
        self.clock = ManualClock()
        self.resolver = Resolver(lookup, self.clock)
        self.guard = Guard()

    async def deliver(self, url: str, guard: Guard | None = None) -> str:
        """The address that was connected to. Raises what refused it."""
        parsed = parse_url(url.replace(":PORT", f":{self.trap.port}"))
        transport, _ = await dial(
            asyncio.Protocol, parsed.host, parsed.port, resolver=self.resolver, guard=guard or self.guard, timeout=2
        )
        peer: tuple[str, int] = transport.get_extra_info("peername")
        transport.abort()
        return peer[0]

    async def refused(self, url: str) -> str:
        with pytest.raises((ValueError, AddressRefused)) as caught:
            await self.deliver(url)
        return str(caught.value)


@asynccontextmanager
async def attack() -> AsyncIterator[Attack]:
    trap = Trap()
    server = await asyncio.get_running_loop().create_server(lambda: trap, "127.0.0.1", 0)
    trap.port = server.sockets[0].getsockname()[1]
    async with name_server() as names:
        lookup = CaresLookup([names.address], timeout=0.5, tries=1)
        try:
            yield Attack(trap, names, lookup)
        finally:
            lookup.close()
            server.close()
            await server.wait_closed()


Scenario = Callable[[Attack], Awaitable[None]]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario on the loop that production uses and on Python's own, and looks at the trap afterwards."""

    def run(scenario: Scenario, *, trapped: int = 0) -> None:
        async def main() -> None:
            async with attack() as a:
                await scenario(a)
                await asyncio.sleep(0)
                assert a.trap.connections == trapped

        request.param(asyncio.wait_for(main(), 10))

    return run


URLS = [
    # loopback and its spellings
    *("http://127.0.0.1:PORT/", "http://127.0.0.1.:PORT/", "http://127.8.8.8:PORT/", "http://0.0.0.0:PORT/"),
    *("http://2130706433:PORT/", "http://0x7f000001:PORT/", "http://0x7F.1:PORT/", "http://017700000001:PORT/"),
    *("http://0177.0.0.1:PORT/", "http://0177.0.0.01:PORT/", "http://127.1:PORT/", "http://127.0.1:PORT/"),
    *("http://0:PORT/", "http://0x0:PORT/", "http://127.00.0.1:PORT/"),
    *("http://localhost:PORT/", "http://LOCALHOST.:PORT/", "http://a.localhost:PORT/"),
    *("http://[::1]:PORT/", "http://[::]:PORT/", "http://[0:0:0:0:0:0:0:1]:PORT/", "http://[::127.0.0.1]:PORT/"),
    *("http://[::ffff:127.0.0.1]:PORT/", "http://[::ffff:7f00:1]:PORT/", "http://[::ffff:0:127.0.0.1]:PORT/"),
    *("http://[64:ff9b::127.0.0.1]:PORT/", "http://[64:ff9b:1::7f00:1]:PORT/", "http://[2002:7f00:1::]:PORT/"),
    *("http://[2001:0:7f00:1::]:PORT/", "http://[2a00::5efe:7f00:1]:PORT/", "http://[::1%25lo]:PORT/"),
    # other networks
    *("http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/", "http://169.254.1.1/"),
    *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/"),
    *("http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/", "http://169.254.43518/"),
    *("http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/", "http://192.0.0.192/", "http://255.255.255.255/"),
    *("http://224.0.0.1/", "http://[ff02::1]/", "http://[fe80::1]/", "http://[fec0::1]/", "http://198.18.0.1/"),
    # parsers that disagree
    *("http://public.example@127.0.0.1:PORT/", "http://127.0.0.1:PORT\\@public.example/", "http://127.0.0.1:PORT#@x/"),
    *("http://127.0.0.1%2f:PORT/", "http://127.0.0.1%00.public.example/", "http://127.0.0.1:PORT:80/"),
    *("http://127。0。0。1:PORT/", "http://①②⑦.0.0.1:PORT/", "http://127.0.0.1\t:PORT/", "http:/127.0.0.1:PORT/"),
    *("http:127.0.0.1:PORT/", "//127.0.0.1:PORT/", "http://[::1]127.0.0.1:PORT/", "http://%31%32%37.0.0.1:PORT/"),
]


def test_every_spelling_of_an_inner_address_is_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(a: Attack) -> None:
        for url in URLS:
            try:
                await a.refused(url)
            except UpstreamError as error:  # a name that nobody has: not connected to either
                assert (error.problem.slug, "a.localhost" in url) == ("upstream-unresolved", True)  # noqa: PT017

    play(scenario)


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1", "fd00::1", "64:ff9b::7f00:1"],
)
def test_a_name_that_resolves_to_an_inner_address_is_refused(play: Callable[[Scenario], None], ip: str) -> None:
    async def scenario(a: Attack) -> None:
        a.names.say("inner.example", [ip])
        assert "inner.example" in await a.refused("http://inner.example:PORT/")
        assert "is not a public address" in await a.refused("http://INNER.example.:PORT/")

    play(scenario)


def test_an_alias_of_an_inner_name_is_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(a: Attack) -> None:
        a.names.say("inner.example", ["127.0.0.1"])
        a.names.alias("public.example", "inner.example")
        assert "loopback" in await a.refused("http://public.example:PORT/")

    play(scenario)


def test_of_mixed_answers_only_what_may_be_connected_to_is(play: Callable[[Scenario], None]) -> None:
    async def scenario(a: Attack) -> None:
        a.names.say("mixed.example", ["127.0.0.1", "127.0.0.2", "10.0.0.1"])  # the trap is at the first of them
        with pytest.raises(UpstreamError, match="connection refused"):
            await a.deliver("http://mixed.example:PORT/", Guard(["127.0.0.2/32"]))

    play(scenario)


def test_a_name_that_changes_its_answer_never_leads_inside(play: Callable[[Scenario], None]) -> None:
    """DNS rebinding: the first answer is public, every later one is loopback, with a TTL of 0. A gateway that checks
    one answer and connects to the next one would reach the trap."""

    async def scenario(a: Attack) -> None:
        a.names.say("rebind.example", ["192.0.2.1"], ["127.0.0.1"])
        assert "192.0.2.1 is not" in await a.refused("http://rebind.example:PORT/")  # TEST-NET: checked, not connected
        a.clock.advance(LONGEST)
        assert "127.0.0.1 is not" in await a.refused("http://rebind.example:PORT/")
        assert a.names.asked["rebind.example"] == 2

    play(scenario)


def test_the_address_that_was_checked_is_the_one_connected_to(play: Callable[..., None]) -> None:
    async def scenario(a: Attack) -> None:
        checked: list[str] = []

        class Watching(Guard):
            __slots__ = ()

            def check(self, ip: str) -> None:
                checked.append(ip)
                super().check(ip)

        a.names.say("rebind.example", ["127.0.0.1"], ["127.0.0.2"])
        guard = Watching(["127.0.0.0/8"])
        assert await a.deliver("http://rebind.example:PORT/", guard) == "127.0.0.1"
        assert checked == ["127.0.0.1"]
        assert a.names.asked["rebind.example"] == 1  # one look-up: there is no second answer to fall for

    play(scenario, trapped=1)


def test_without_the_guard_the_trap_can_be_reached(play: Callable[..., None]) -> None:
    """So the tests above mean something."""

    async def scenario(a: Attack) -> None:
        a.names.say("inner.example", ["127.0.0.1"])
        everything = Guard(["0.0.0.0/0", "::/0"])
        for url in ("http://127.0.0.1:PORT/", "http://inner.example:PORT/", "http://[::ffff:127.0.0.1]:PORT/"):
            assert await a.deliver(url, everything) in ("127.0.0.1", "::ffff:127.0.0.1")

    play(scenario, trapped=3)


def test_a_family_that_the_machine_lacks_is_no_way_round(play: Callable[[Scenario], None]) -> None:
    async def scenario(a: Attack) -> None:
        a.names.say("both.example", ["::1", "127.0.0.1"])
        assert "is not a public address" in await a.refused("http://both.example:PORT/")

    if socket.has_ipv6:
        play(scenario)
