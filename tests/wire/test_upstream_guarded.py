"""Services that guard themselves: tries again, the breaker, ejection, health checks; routes that split and mirror."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import OK, Backend, Exchange, Script
from tests.support.node import Node, free_port, running
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.strict_http import Message
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
LATER = {"backoff": "1ms"}


class Ground:
    """Three backends, each of which answers with its number, and a node with a service for each test."""

    def __init__(self, node: Node, backends: list[Backend], dead: str) -> None:
        self.node = node
        self.backends = backends
        self.dead = dead

    async def ask(
        self, path: bytes, method: bytes = b"GET", fields: bytes = b"", body: bytes = b"", *, apart: bool = False
    ) -> Message:
        """`apart`: the body comes after the head."""
        async with await RawClient.connect(self.node.traffic) as client:
            length = b"Content-Length: %d\r\n" % len(body) if body else b""
            head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n" % (method, path, fields, length)
            if apart:
                client.send(head)
                await self.backends[0].request()
                client.send(body)
            else:
                client.send(head + body)
            return await client.response(method)

    @property
    def asked(self) -> list[int]:
        return [len(backend.requests) for backend in self.backends]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    backends = [Backend() for _ in range(3)]
    for backend in backends:
        await backend.start()
    one, two, three = (backend.url for backend in backends)
    dead = f"http://127.0.0.1:{free_port()}"
    services = {
        "weighted": {"targets": [{"url": one, "weight": 3}, two]},
        "least": {"targets": [one, two], "balance": "least_requests"},
        "hashed": {
            "targets": [one, two, three],
            "balance": {"method": "hash", "by": "request.headers['x-user']"},
        },
        "again": {"targets": [one, two], "retries": LATER},
        "alone": {"targets": [one], "retries": {**LATER, "on": ["reset", "timeout", "500"], "try_timeout": "700ms"}},
        "absent": {"targets": [dead], "retries": {**LATER, "attempts": 1}},
        "half": {"targets": [dead, one], "rest": "1ms", "retries": LATER},
        "thrifty": {"targets": [one], "retries": {**LATER, "attempts": 5, "budget": 0.0, "least_budget": 0}},
        "slowly": {"targets": [one], "retries": {"backoff": "1h", "longest_backoff": "1h"}},
        "broken": {"targets": [one], "breaker": {"minimum": 4, "open": "1s", "probes": 1}},
        "ejecting": {"targets": [one, two], "ejection": {"failures": 2, "time": "1h"}},
        "stable": {"targets": [one]},
        "canary": {"targets": [two]},
        "shadow": {"targets": [three]},
    }
    names = [name for name in services if name not in ("stable", "canary", "shadow")]
    routes: dict[str, object] = {name: {"match": {"path": f"/{name}"}, "service": name} for name in names}
    routes["split"] = {
        "match": {"path": "/split"},
        "service": "stable",
        "split": [
            {"service": "shadow", "when": "request.headers['x-preview'] == 'yes'"},
            {"service": "canary", "percent": 30},
        ],
        "split_by": "request.query['user']",
    }
    routes["mirrored"] = {
        "match": {"path": "/mirrored"},
        "service": "stable",
        "mirror": {"service": "shadow", "body_bytes": "100", "concurrency": 2},
        "upgrade": True,
    }
    routes["patient"] = {"match": {"path": "/patient"}, "service": "stable", "timeouts": {"first_byte": "250ms"}}
    routes["emitting"] = {
        "match": {"path": "/emitting"},
        "service": "again",
        "emit": [{"app": "none", "event_type": "a.b"}],
        "emit_timeout": "100ms",
    }
    async with running(tmp_path_factory.mktemp("guarded"), {"services": services, "routes": routes}) as node:
        yield Ground(node, backends, dead)
    for backend in backends:
        await backend.stop()


@pytest.fixture
def ground(module_ground: Ground) -> Ground:
    for number, backend in enumerate(module_ground.backends):
        backend.reset()
        backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    return module_ground


def answers(*each: bytes | Script) -> Script:
    """One after the other, the last one again and again."""
    turns = list(each)

    async def script(x: Exchange) -> None:
        turn = turns.pop(0) if len(turns) > 1 else turns[0]
        if isinstance(turn, bytes):
            await x.body()
            x.write(turn)
        else:
            await turn(x)

    return script


async def cut(x: Exchange) -> None:
    x.abort()


async def hang(x: Exchange) -> None:
    await x.gone()


def problem_of(answer: Message) -> tuple[int, str]:
    return answer.status, str(check_problem(answer)["type"]).rpartition(":")[2]


# Whose turn.


async def test_weights_are_kept_smoothly(ground: Ground) -> None:
    got = [bytes((await ground.ask(b"/weighted")).body) for _ in range(8)]
    assert Counter(got) == {b"0": 6, b"1": 2}
    assert b"000000" not in b"".join(got)


async def test_least_requests_avoids_the_target_that_is_busy(ground: Ground) -> None:
    go = asyncio.Event()

    async def wait(x: Exchange) -> None:
        await go.wait()
        x.write(OK)

    for backend in ground.backends[:2]:
        backend.script = wait
    held = asyncio.create_task(ground.ask(b"/least"))
    while not sum(ground.asked[:2]):
        await asyncio.sleep(0)
    busy = ground.asked.index(1)
    free = ground.backends[1 - busy]
    free.answer(OK)
    for _ in range(6):
        await ground.ask(b"/least")
    assert ground.asked[busy] == 1
    go.set()
    await held


async def test_equal_keys_go_to_the_same_target_and_different_ones_to_all(ground: Ground) -> None:
    where: dict[int, bytes] = {}
    for user in range(40):
        where[user] = bytes((await ground.ask(b"/hashed", fields=b"X-User: u%d\r\n" % user)).body)
    for user in range(0, 40, 7):
        assert (await ground.ask(b"/hashed", fields=b"X-User: u%d\r\n" % user)).body == where[user]
    assert set(where.values()) == {b"0", b"1", b"2"}


# Tries again.


async def test_a_gateway_error_is_tried_again_elsewhere(ground: Ground) -> None:
    for backend in ground.backends[:2]:
        backend.script = answers(UNAVAILABLE, OK)
    assert (await ground.ask(b"/again")).status == 200
    assert sorted(ground.asked[:2]) in ([1, 1], [1, 2]), "the other target is asked first"


async def test_the_last_answer_is_the_clients_as_it_came(ground: Ground) -> None:
    for backend in ground.backends[:2]:
        backend.answer(UNAVAILABLE)
    answer = await ground.ask(b"/again")
    assert (answer.status, bytes(answer.body)) == (503, b"busy")
    assert sum(ground.asked) == 3, "the first and two more"


async def test_a_streamed_answer_with_the_wrong_status_is_thrown_away_whole(ground: Ground) -> None:
    chunked = b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n"
    for backend in ground.backends[:2]:
        backend.script = answers(chunked, OK)
    answer = await ground.ask(b"/again")
    assert (answer.status, bytes(answer.body)) == (200, b"ok")


async def test_a_head_that_is_tried_again_has_one_answer(ground: Ground) -> None:
    for backend in ground.backends[:2]:
        backend.script = answers(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        )
    answer = await ground.ask(b"/again", b"HEAD")
    assert (answer.status, answer.get(b"content-length")) == (200, b"7")


async def test_a_post_is_not_sent_twice(ground: Ground) -> None:
    for backend in ground.backends[:2]:
        backend.answer(UNAVAILABLE)
    assert (await ground.ask(b"/again", b"POST", body=b"x")).status == 503
    assert sum(ground.asked) == 1
    ground.backends[0].script = cut
    assert problem_of(await ground.ask(b"/alone", b"POST", body=b"x")) == (502, "upstream-closed")


async def test_a_connection_that_fails_is_tried_again_with_any_method(ground: Ground) -> None:
    for _ in range(4):
        assert (await ground.ask(b"/half", b"POST", body=b"x")).status == 200
    assert problem_of(await ground.ask(b"/absent", b"POST", body=b"x")) == (502, "upstream-unreachable")


async def test_a_body_that_streams_is_sent_once(ground: Ground) -> None:
    ground.backends[0].answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    assert (await ground.ask(b"/alone", b"PUT", body=b"x" * 10, apart=True)).status == 500
    assert ground.asked[0] == 1
    ground.backends[0].script = answers(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", OK)
    assert (await ground.ask(b"/alone", b"PUT", body=b"x" * 10)).status == 200, "in memory with its head"
    assert [bytes(x.message.body) for x in ground.backends[0].requests] == [b"x" * 10] * 3


async def test_resets_and_tries_that_take_too_long_are_repeated(ground: Ground) -> None:
    ground.backends[0].script = answers(cut, hang, OK)
    assert (await ground.ask(b"/alone")).status == 200
    assert ground.asked[0] == 3


async def test_nothing_is_tried_again_once_the_client_has_a_byte(ground: Ground) -> None:
    async def breaks(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        x.abort()

    ground.backends[0].script = breaks
    with pytest.raises(ClosedEarly):
        await ground.ask(b"/alone")
    assert ground.asked[0] == 1


async def test_the_budget_bounds_what_is_tried_again(ground: Ground) -> None:
    ground.backends[0].answer(UNAVAILABLE)
    assert (await ground.ask(b"/thrifty")).status == 503
    assert ground.asked[0] == 1


async def test_a_client_that_leaves_while_the_next_try_is_waited_for_ends_it(ground: Ground) -> None:
    ground.backends[0].answer(UNAVAILABLE)
    async with await RawClient.connect(ground.node.traffic) as client:
        client.send(b"GET /slowly HTTP/1.1\r\nHost: a\r\n\r\n")
        await ground.backends[0].request()
    async with await RawClient.connect(ground.node.traffic) as client:
        client.send(b"GET /slowly?2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await ground.backends[0].request(1)
    while "client-gone" not in (text := (ground.node.directory / "access.log").read_text()):
        await asyncio.sleep(0.01)
    assert "/slowly" in text


async def test_tries_again_stand_behind_emit(ground: Ground) -> None:
    for backend in ground.backends[:2]:
        backend.script = answers(UNAVAILABLE, OK)
    assert (await ground.ask(b"/emitting")).status == 200


# The breaker.


async def test_the_breaker_opens_lets_a_probe_through_and_closes(ground: Ground) -> None:
    backend = ground.backends[0]
    backend.answer(UNAVAILABLE)
    after = len(ground.node.errors)
    for _ in range(4):
        assert (await ground.ask(b"/broken")).body == b"busy"
    answer = await ground.ask(b"/broken")
    assert problem_of(answer) == (503, "breaker-open")
    assert answer.get(b"retry-after") == b"1"
    assert ground.asked[0] == 4, "nothing is sent while it is open"
    assert (await ground.node.event("breaker_opened", after=after))["failures"] == 4
    backend.answer(OK)
    while (await ground.ask(b"/broken")).status != 200:
        await asyncio.sleep(0.02)
    await ground.node.event("breaker_closed", after=after)
    assert ground.asked[0] == 5


# How targets are.


async def test_a_target_with_bad_answers_is_left_alone_but_never_more_than_half_of_them(ground: Ground) -> None:
    ground.backends[0].answer(UNAVAILABLE)
    after = len(ground.node.errors)
    seen = [(await ground.ask(b"/ejecting")).status for _ in range(12)]
    assert seen.count(503) == 2
    assert seen[-6:] == [200] * 6
    assert (await ground.node.event("target_down", after=after))["target"] == ground.backends[0].url
    ground.backends[1].answer(UNAVAILABLE)
    assert [(await ground.ask(b"/ejecting")).body for _ in range(4)] == [b"busy"] * 4, "the last one stays"


# Spreading.


async def test_a_split_goes_by_condition_then_by_share_and_sticks_to_its_key(ground: Ground) -> None:
    assert (await ground.ask(b"/split?user=1", fields=b"X-Preview: yes\r\n")).body == b"2"
    got = {user: bytes((await ground.ask(b"/split?user=%d" % user)).body) for user in range(60)}
    shares = Counter(got.values())
    assert set(shares) == {b"0", b"1"}
    assert 8 <= shares[b"1"] <= 30
    for user in (3, 30, 59):
        assert (await ground.ask(b"/split?user=%d" % user)).body == got[user]
    assert len({bytes((await ground.ask(b"/split")).body) for _ in range(6)}) == 1, "no key is one key"


async def test_a_copy_goes_to_the_mirror_and_its_answer_to_nobody(ground: Ground) -> None:
    ground.backends[2].answer(UNAVAILABLE)
    assert (await ground.ask(b"/mirrored?a=1", b"POST", b"X-A: b\r\n", b"hello")).body == b"0"
    copy = await ground.backends[2].request()
    assert (copy.method, copy.target, await copy.body()) == (b"POST", b"/mirrored?a=1", b"hello")
    assert copy.get(b"x-a") == b"b"
    assert copy.get(b"x-gatepost-mirror") == b"1"
    assert ground.backends[0].requests[0].get(b"x-gatepost-mirror") is None


async def test_a_body_that_streams_is_copied_once_it_is_whole_and_not_if_it_is_large(ground: Ground) -> None:
    assert (await ground.ask(b"/mirrored", b"POST", body=b"x" * 100, apart=True)).body == b"0"
    assert await (await ground.backends[2].request()).body() == b"x" * 100
    assert (await ground.ask(b"/mirrored", b"POST", body=b"x" * 101, apart=True)).body == b"0"
    assert (await ground.ask(b"/mirrored", b"POST", body=b"x" * 101)).body == b"0"
    async with await RawClient.connect(ground.node.traffic) as client:
        client.send(b"POST /mirrored HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx\r\n0\r\n\r\n")
        assert (await client.response(b"POST")).body == b"0", "nobody knew its length before it was too much"
    assert (await ground.ask(b"/mirrored", b"POST", body=b"y")).body == b"0"
    assert await (await ground.backends[2].request(1)).body() == b"y"


async def test_a_mirror_that_hangs_holds_nobody_and_copies_are_bounded(ground: Ground) -> None:
    ground.backends[2].script = hang
    after = len(ground.node.errors)
    for _ in range(5):
        assert (await ground.ask(b"/mirrored")).body == b"0"
    await ground.node.event("mirror_full", after=after)
    assert ground.asked[2] <= 2
    for x in ground.backends[2].requests:
        x.abort()


async def test_a_route_may_have_time_outs_of_its_own(ground: Ground) -> None:
    ground.backends[0].script = hang
    answer = await ground.ask(b"/patient")
    assert problem_of(answer) == (504, "upstream-timeout")
    assert "0.25 s" in json.loads(answer.body)["detail"]
