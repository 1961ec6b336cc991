"""Targets that misbehave in every way we know, at random: each client gets a whole answer or a clean close within its
bound, and the node is as small afterwards as before."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.node import Node, free_port, running
from tests.support.rawclient import ClosedEarly, RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")

SEED = 20_261_122
ROUNDS = 3
CLIENTS = 40  # at a time
EACH = 3  # exchanges of a client in a round
PATIENCE = 20.0  # seconds for one exchange: its tries take 0.7 on a quiet machine, some more beside others

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Misdeed = Callable[[Reader, Writer, random.Random], Awaitable[None]]


async def hang(reader: Reader, writer: Writer, chance: random.Random) -> None:
    await reader.read(-1)  # until the gateway gives up


async def reset_at_once(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.transport.abort()


async def close_without_a_word(reader: Reader, writer: Writer, chance: random.Random) -> None:
    pass


async def reset_in_the_body(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * chance.randrange(60_000))
    await writer.drain()
    writer.transport.abort()


async def garbage(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(chance.randbytes(chance.randrange(1, 5000)))
    await writer.drain()


async def garbage_behind_a_status_line(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + chance.randbytes(200) + b"\r\n\r\n")
    await writer.drain()


async def garbage_for_chunks(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + chance.randbytes(300))
    await writer.drain()


async def endless_header(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X-%d: %b\r\n" % (chance.randrange(10**6), b"y" * 8000))
        await writer.drain()


async def endless_interim_responses(reader: Reader, writer: Writer, chance: random.Random) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: <%d>\r\n\r\n" % chance.randrange(10**6) * 50)
        await writer.drain()


async def endless_body(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"z" * 65_536)
        await writer.drain()


async def dripping_head(reader: Reader, writer: Writer, chance: random.Random) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Slow: " + b"s" * 500:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


async def dripping_body(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(500):
        if writer.is_closing():
            return
        writer.write(b"d")
        await asyncio.sleep(0.01)


async def too_short(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
    await writer.drain()


async def too_long(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    await writer.drain()
    await reader.read(-1)


async def two_lengths(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")
    await writer.drain()


async def busy(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
    await writer.drain()


async def early_answer(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    await reader.read(-1)


async def early_answer_and_deaf(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    for _ in range(40):  # what is still sent is not read
        if writer.is_closing():
            return
        await asyncio.sleep(0.05)


async def unasked_upgrade(reader: Reader, writer: Writer, chance: random.Random) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: irc\r\n\r\nhello")
    await writer.drain()


async def well(reader: Reader, writer: Writer, chance: random.Random) -> None:
    """Keeps its connection, and may close it just when it is used again."""
    while True:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        if chance.random() < 0.3 or not await reader.read(65_536):
            return


MISDEEDS: list[Misdeed] = [
    hang,
    reset_at_once,
    close_without_a_word,
    reset_in_the_body,
    garbage,
    garbage_behind_a_status_line,
    garbage_for_chunks,
    endless_header,
    endless_interim_responses,
    endless_body,
    dripping_head,
    dripping_body,
    too_short,
    too_long,
    two_lengths,
    busy,
    early_answer,
    unasked_upgrade,
    early_answer_and_deaf,
    well,
    well,
    well,
]


class Target:
    """A server that reads the beginning of a request and then does its worst, a different one each time."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.done: Counter[str] = Counter()
        self.serving: dict[Writer, asyncio.Task[None] | None] = {}

    async def start(self) -> str:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.serving[writer] = asyncio.current_task()
        misdeed = self.chance.choice(MISDEEDS)
        self.done[misdeed.__name__] += 1
        try:
            if await reader.read(65_536):
                await misdeed(reader, writer, self.chance)
        except OSError:
            pass  # the gateway had enough of it
        finally:
            del self.serving[writer]
            writer.close()

    async def stop(self) -> None:
        self.server.close()
        while self.serving:  # one that was accepted in the meantime, too
            for writer in self.serving:
                writer.transport.abort()
            await asyncio.gather(*filter(None, self.serving.values()))


@asynccontextmanager
async def chaos(folder: Path, chance: random.Random) -> AsyncIterator[tuple[Node, list[Target]]]:
    targets = [Target(chance) for _ in range(3)]
    urls = [await target.start() for target in targets]
    hasty = {"connect": "200ms", "first_byte": "200ms", "idle": "200ms", "total": "600ms"}
    bounded = {"timeouts": hasty, "response_bytes": "1MiB", "rest": "1ms"}
    services = {
        "plain": {"targets": [urls[0]], **bounded},
        "several": {"targets": [*urls, f"http://127.0.0.1:{free_port()}"], "balance": "least_requests", **bounded},
        "guarded": {
            "targets": urls,
            "retries": {"attempts": 3, "backoff": "5ms", "budget": 1.0, "methods": ["GET", "POST"]},
            "ejection": {"failures": 3, "time": "50ms"},
            "breaker": {"share": 0.9, "minimum": 30, "open": "100ms"},
            **bounded,
        },
        "checked": {"targets": urls, "health": {"interval": "100ms", "timeout": "200ms"}, **bounded},
    }
    routes: dict[str, object] = {name: {"match": {"path": f"/{name}"}, "service": name} for name in services}
    routes["mirrored"] = {
        "match": {"path": "/mirrored"},
        "service": "several",
        "mirror": {"service": "guarded", "concurrency": 20},
    }
    async with running(folder, {"services": services, "routes": routes}) as node:
        try:
            yield node, targets
        finally:
            for target in targets:
                await target.stop()


async def client(node: Node, chance: random.Random, ends: Counter[str]) -> None:
    paths = [b"/plain", b"/several", b"/guarded", b"/checked", b"/mirrored"]
    for _ in range(EACH):
        path = chance.choice(paths)
        body = chance.randbytes(chance.choice([0, 0, 10, 200_000]))
        method = b"POST" if body else chance.choice([b"GET", b"HEAD"])
        async with await RawClient.connect(node.traffic) as connection:
            head = b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, path, len(body))
            connection.send(head + body if chance.random() < 0.5 else head, *([body] if body else []))
            try:
                # Strictly read: anything but one whole response is NotHttp, one that never ends is Hang.
                answer = await connection.response(method, within=PATIENCE)
                ends[str(answer.status)] += 1
            except ClosedEarly:
                ends["cut"] += 1


def size(node: Node) -> int:
    """Resident bytes."""
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(node: Node) -> int:
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_whatever_targets_do_clients_get_an_answer_or_a_close_and_the_node_stays_small(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    ends: Counter[str] = Counter()
    async with chaos(tmp_path, chance) as (node, targets):
        before = descriptors(node)
        sizes = []
        for _ in range(ROUNDS):
            await asyncio.gather(*(client(node, chance, ends) for _ in range(CLIENTS)))
            sizes.append(size(node))
        assert sum(ends.values()) == ROUNDS * CLIENTS * EACH
        assert ends["200"] > 30, f"it is no use if nothing works: {ends}"
        assert ends["cut"] > 10
        assert ends["502"] > 30
        done = sum((target.done for target in targets), Counter())
        assert set(done) == {misdeed.__name__ for misdeed in MISDEEDS}
        assert sizes[-1] - sizes[0] < 8 * 1024 * 1024, f"it grows: {[n >> 20 for n in sizes]} MiB"
        for target in targets:
            await target.stop()
        await soon(until(lambda: descriptors(node) <= before + 3), "its connections to be closed", 5)
        answer = await node.ready()
        assert answer.status == 200


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
async def test_a_target_that_answers_an_upload_early_and_then_reads_nothing_keeps_no_connection(tmp_path: Path) -> None:
    full, stop = asyncio.Event(), asyncio.Event()

    async def deaf(reader: Reader, writer: Writer) -> None:
        await full.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=4096)
    settings = {
        "services": {"main": {"targets": [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"]}},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main", "body_bytes": "50MiB"}},
    }
    async with running(tmp_path, settings) as node:
        before = descriptors(node)
        async with await RawClient.connect(node.traffic) as connection:
            connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n", bytes(40_000_000))
            left, looks = 0, 0
            while looks < 10:  # until nothing moves any more: every buffer on the way is full
                await asyncio.sleep(0.03)
                now = connection.transport.get_write_buffer_size()
                left, looks = now, looks + 1 if now == left else 0
            assert left > 1_000_000
            full.set()
            assert (await connection.response(b"POST")).status == 200
        await soon(until(lambda: descriptors(node) <= before), "the connection to the target to be closed", 10)
        stop.set()
    server.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)
