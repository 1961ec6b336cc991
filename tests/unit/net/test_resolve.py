import asyncio
import socket

import pytest

from gatepost.clock import ManualClock
from gatepost.errors import UpstreamError
from gatepost.net import resolve
from gatepost.net.resolve import (
    LONGEST,
    NEGATIVE,
    RETRY,
    SHORTEST,
    STALE,
    Address,
    Answer,
    LookupFailed,
    NameUnknown,
    Resolver,
)


class Names:
    """Name servers by hand: each question waits until the test answers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._waiting: list[asyncio.Future[Answer]] = []

    def __call__(self, host: str) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.asked.append(host)
        self._waiting.append(future)
        return future

    def answer(self, *ips: str, ttl: float = 60.0) -> None:
        self._waiting.pop(0).set_result(Answer(ips, ttl))

    def fail(self, error: Exception) -> None:
        self._waiting.pop(0).set_exception(error)


class Case:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.names = Names()
        self.resolver = Resolver(self.names, self.clock)

    async def ask(self, *ips: str, ttl: float = 60.0, host: str = "a.example") -> list[Address]:
        task = asyncio.ensure_future(self.resolver.resolve(host, 80))
        await asyncio.sleep(0)
        self.names.answer(*ips, ttl=ttl)
        return await task

    async def fail(self, error: Exception) -> list[Address]:
        task = asyncio.ensure_future(self.resolver.resolve("a.example", 80))
        await asyncio.sleep(0)
        self.names.fail(error)
        return await task

    def known(self) -> list[str] | None:
        found = self.resolver.cached("a.example", 80)
        return None if found is None else [address.ip for address in found]


@pytest.fixture
def case() -> Case:
    return Case()


async def test_an_address_needs_no_look_up(case: Case) -> None:
    assert case.resolver.cached("192.0.2.7", 80) == [Address("192.0.2.7", 80, socket.AF_INET)]
    assert await case.resolver.resolve("2001:DB8::1", 443) == [Address("2001:db8::1", 443, socket.AF_INET6)]
    assert case.resolver.cached("2001:DB8::1", 1) == [Address("2001:db8::1", 1, socket.AF_INET6)]
    assert case.resolver.cached("::ffff:192.0.2.7", 80) == case.resolver.cached("192.0.2.7", 80)
    assert case.names.asked == []


async def test_a_name_is_looked_up_once_for_its_ttl(case: Case) -> None:
    assert case.known() is None
    assert await case.ask("192.0.2.7", "2001:db8::1", ttl=30) == [
        Address("192.0.2.7", 80, socket.AF_INET),
        Address("2001:db8::1", 80, socket.AF_INET6),
    ]
    case.clock.advance(29.9)
    assert case.resolver.cached("a.example", 443) == [
        Address("192.0.2.7", 443, socket.AF_INET),
        Address("2001:db8::1", 443, socket.AF_INET6),
    ]
    case.clock.advance(0.1)
    assert case.known() is None
    await case.ask("192.0.2.8")
    assert case.known() == ["192.0.2.8"]
    assert case.names.asked == ["a.example"] * 2


async def test_a_ttl_is_bounded_both_ways(case: Case) -> None:
    await case.ask("192.0.2.7", ttl=0)
    case.clock.advance(SHORTEST * 0.9)
    assert case.known()
    case.clock.advance(SHORTEST * 0.1)
    assert case.known() is None
    await case.ask("192.0.2.7", ttl=86_400)
    case.clock.advance(LONGEST)
    assert case.known() is None


async def test_one_query_serves_all_who_wait(case: Case) -> None:
    tasks = [asyncio.ensure_future(case.resolver.resolve("a.example", port)) for port in (1, 2, 3)]
    await asyncio.sleep(0)
    case.names.answer("192.0.2.7")
    assert [found[0].port for found in await asyncio.gather(*tasks)] == [1, 2, 3]
    assert case.names.asked == ["a.example"]


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(case: Case) -> None:
    impatient = asyncio.ensure_future(case.resolver.resolve("a.example", 80))
    patient = asyncio.ensure_future(case.resolver.resolve("a.example", 80))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    case.names.answer("192.0.2.7")
    assert (await patient)[0].ip == "192.0.2.7"
    assert impatient.cancelled()


async def test_an_answer_is_kept_though_everyone_has_left(case: Case) -> None:
    task = asyncio.ensure_future(case.resolver.resolve("a.example", 80))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    case.names.answer("192.0.2.7")
    await asyncio.sleep(0)
    assert case.known() == ["192.0.2.7"]


async def test_an_unknown_name_is_not_asked_for_again_for_a_while(case: Case) -> None:
    for _ in range(2):
        with pytest.raises(UpstreamError, match=r"a\.example: no such name") as caught:
            await (
                case.fail(NameUnknown("no such name"))
                if not case.names.asked
                else case.resolver.resolve("a.example", 80)
            )
        assert (caught.value.problem.status, caught.value.problem.slug) == (502, "upstream-unresolved")
        assert not caught.value.sent
    assert case.known() is None
    assert len(case.names.asked) == 1
    case.clock.advance(NEGATIVE)
    assert (await case.ask("192.0.2.7"))[0].ip == "192.0.2.7"


async def test_an_answer_that_ran_out_serves_while_the_name_servers_are_down_but_not_for_ever(case: Case) -> None:
    await case.ask("192.0.2.7", ttl=10)
    case.clock.advance(10)
    assert (await case.fail(LookupFailed("no answer")))[0].ip == "192.0.2.7"
    assert case.known() == ["192.0.2.7"]  # and is not asked for again at once
    case.clock.advance(RETRY)
    assert case.known() is None
    assert (await case.fail(LookupFailed("no answer")))[0].ip == "192.0.2.7"
    case.clock.advance(STALE - RETRY)
    with pytest.raises(UpstreamError, match="no answer"):
        await case.fail(LookupFailed("no answer"))
    case.clock.advance(RETRY)
    assert (await case.ask("192.0.2.8"))[0].ip == "192.0.2.8"


async def test_a_name_that_is_gone_is_gone_at_once(case: Case) -> None:
    await case.ask("192.0.2.7", ttl=10)
    case.clock.advance(10)
    with pytest.raises(UpstreamError, match="no such name"):
        await case.fail(NameUnknown("no such name"))


async def test_a_bug_of_the_lookup_reaches_those_who_wait(case: Case) -> None:
    with pytest.raises(ZeroDivisionError):
        await case.fail(ZeroDivisionError())
    assert (await case.ask("192.0.2.7"))[0].ip == "192.0.2.7"


async def test_the_names_that_are_kept_are_bounded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_KEPT", 3)
    for number in range(5):
        await case.ask("192.0.2.7", host=f"n{number}.example")
    assert [n for n in range(5) if case.resolver.cached(f"n{n}.example", 80)] == [2, 3, 4]
