"""A trace of system calls: the log of the store is on disk before a client reads that its message was accepted.

`kill -9` cannot show this, since the page cache outlives the process (the order of
write, fsync and answer is what counts).
"""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.backend import Backend, Exchange
from tests.support.node import Node
from tests.support.rawclient import RawClient, soon
from tests.support.receiver import Receiver

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

CALLS = "fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg,read,recvfrom,recvmsg"
LINE = re.compile(r"(?P<pid>\d+) +(?:(?P<name>\w+)\((?P<rest>.*)|<\.\.\. (?P<resumed>\w+) resumed>(?P<end>.*))")


class Call(NamedTuple):
    """One system call: the lines at which it began and ended, its name, what it was about."""

    began: int
    ended: int
    name: str
    text: str


def parse(trace: str) -> list[Call]:
    """The calls of all threads. One that another thread's call interrupts stands on two lines."""
    calls: list[Call] = []
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        found = LINE.match(line)
        if found is None:
            continue
        if found["resumed"]:
            began, name, text = begun.pop(found["pid"], (number, found["resumed"], ""))
            calls.append(Call(began, number, name, text + found["end"]))
        elif found["rest"].endswith("<unfinished ...>"):
            begun[found["pid"]] = (number, found["name"], found["rest"])
        else:
            calls.append(Call(number, number, found["name"], found["rest"]))
    return sorted(calls)


async def test_fsync_comes_before_the_answer(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    backend.script = created
    async with Receiver() as receiver:
        node = Node(
            tmp_path,
            {
                "services": {"orders": {"targets": [backend.url]}},
                "routes": {
                    "create-order": {
                        "match": {"path": "/orders"},
                        "service": "orders",
                        "emit": [{"when": "response.status == 201", "app": "shop", "event_type": "order.created"}],
                    }
                },
                "apps": {"shop": {"endpoints": [{"uid": "partner", "url": receiver.url}]}},
                "deliveries": {"allow_networks": ["127.0.0.0/8"]},
                "access_log": {"output": "off"},
            },
        )
        trace = tmp_path / "trace"
        # -D: the traced process is ours, not strace; -y: descriptors with their paths.
        await node.start("strace", "-D", "-f", "-y", "-s", "200", "-e", f"trace={CALLS}", "-o", str(trace))
        async with await RawClient.connect(node.control) as client, await RawClient.connect(node.traffic) as shopper:
            for number in range(5):
                await post_message(client, node.token, number)
                await post_order(shopper)
        await receiver.until(lambda: len(receiver.received) == 10, "all ten deliveries", within=20)
        node.kill()
        await node.exit_code()
        await soon(written(trace), "the end of the trace")
    await backend.stop()
    calls = parse(trace.read_text(errors="replace"))
    check(calls, request="POST /api/v1/app/shop/msg", answer="HTTP/1.1 202", times=5)
    check(
        calls,
        request="HTTP/1.1 201 Created\\\\r\\\\nX-From: orders",
        answer=r"HTTP/1.1 201 Created\\r\\nx-from",
        times=5,
    )


def check(calls: list[Call], *, request: str, answer: str, times: int) -> None:
    """Between a request that was read and the answer that is written lie a write to the log and its fsync."""
    asked = [call for call in calls if call.name in ("read", "recvfrom", "recvmsg") and re.search(request, call.text)]
    answered = [
        call for call in calls if call.name in ("write", "writev", "sendto", "sendmsg") and re.search(answer, call.text)
    ]
    assert len(asked) == len(answered) == times, (len(asked), len(answered))
    for read, write in zip(asked, answered, strict=True):
        logged = [call for call in calls if read.ended < call.began < write.began and "-wal>" in call.text]
        writes = [call for call in logged if call.name.startswith("pwrite") or call.name == "write"]
        synced = [call for call in logged if call.name in ("fsync", "fdatasync")]
        assert writes, "nothing was written to the store's log before the answer"
        assert any(sync.began > writes[-1].ended and sync.ended < write.began for sync in synced), (
            "the answer went out before the log was on disk"
        )


async def post_message(client: RawClient, token: str, number: int) -> None:
    body = b'{"eventType":"trace.test","payload":{"number":%d}}' % number
    client.send(
        b"POST /api/v1/app/shop/msg HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (token.encode(), len(body), body)
    )
    assert (await client.response(b"POST")).status == 202


async def post_order(client: RawClient) -> None:
    client.send(b"POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{}")
    assert (await client.response(b"POST")).status == 201


async def created(x: Exchange) -> None:
    await x.body()
    x.write(b"HTTP/1.1 201 Created\r\nX-From: orders\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


async def written(trace: Path) -> None:
    """strace runs beside us and has no other way to say that it is done."""
    while "+++ killed by SIGKILL" not in trace.read_text(errors="replace")[-500:]:
        await asyncio.sleep(0.02)
