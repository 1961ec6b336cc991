"""A real node in a process of its own: `python -m gatepost serve -c FILE`, with free ports and a store of its own.

async with running(tmp_path, {"services": …, "routes": …}) as node:
    client = await RawClient.connect(node.traffic)
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.rawclient import PATIENCE, ClosedEarly, Hang, RawClient, soon
from tests.support.strict_http import Message

Settings = dict[str, Any]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def address(of: tuple[str, int]) -> str:
    return f"{of[0]}:{of[1]}"


class Node:
    """One node over its restarts: the ports, the file and the store stay."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.file = directory / "gatepost.yaml"
        self.traffic = ("127.0.0.1", free_port())
        self.control = ("127.0.0.1", free_port())
        self.settings = settings
        self.errors: list[dict[str, Any] | str] = []  # lines of standard error: log events, or text as it came
        self.process: asyncio.subprocess.Process
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self.write(settings)

    def write(self, settings: Settings) -> None:
        """Write the file: JSON is YAML. Replaced whole, as an editor does it."""
        whole = {
            "listen": {"traffic": address(self.traffic), "control": address(self.control)},
            "store": f"sqlite:///{self.directory}/gatepost.db",
            "access_log": {"output": str(self.directory / "access.log")},
            **settings,
        }
        self.write_text(json.dumps(whole, indent=1))

    def write_text(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    @property
    def token(self) -> str:
        """The admin token that the node made at its first start."""
        return self.token_file.read_text().strip()

    @property
    def token_file(self) -> Path:
        return self.directory / "admin.token"

    # life

    async def start(self, *wrapper: str) -> None:
        """Start and wait until it is ready. `wrapper`: a command to run it under, `strace …` say."""
        await self.launch(*wrapper)
        await soon(self._until_ready(), "readiness", 30)

    async def launch(self, *wrapper: str) -> None:
        """Start and do not wait."""
        self.process = await asyncio.create_subprocess_exec(
            *wrapper,
            *(sys.executable, "-m", "gatepost", "serve", "-c", str(self.file)),
            cwd=self.directory,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._readers.append(asyncio.create_task(self._read_errors(self.process)))

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode().rstrip()
            try:
                self.errors.append(json.loads(text))
            except ValueError:
                self.errors.append(text)
            self._news.set()

    async def _until_ready(self) -> None:
        # The port opens at a moment that nothing tells us of: the one place where a test asks again and again.
        while True:
            if self.process.returncode is not None:
                raise AssertionError(f"the node ended with {self.process.returncode}: {self.errors[-20:]}")
            try:
                if (await self.ready()).status == 200:
                    return
            except (OSError, ClosedEarly):
                pass
            await asyncio.sleep(0.01)

    async def ready(self) -> Message:
        return await self.request(b"GET", b"/ready")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: as a power cut, but for the page cache."""
        self.process.kill()

    async def exit_code(self, within: float = 30.0) -> int:
        code = await soon(self.process.wait(), "the end of the process", within)
        for reader in self._readers:
            await reader
        self._readers.clear()
        return code

    async def event(self, name: str, *, after: int = 0, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for a log event of this name, among the lines from number `after` on."""

        async def seen() -> dict[str, Any]:
            while True:
                for line in self.errors[after:]:
                    if isinstance(line, dict) and line.get("event") == name:
                        return line
                self._news.clear()
                await self._news.wait()

        try:
            return await soon(seen(), f"the log event {name}", within)
        except Hang as hang:
            raise Hang(f"{hang}; the log says {self.errors[after:][-20:]}") from None

    @property
    def tracebacks(self) -> list[str]:
        """Lines that no operator should ever see."""
        return [str(line) for line in self.errors if "Traceback" in str(line) or "exception was never" in str(line)]

    # the control API

    async def request(self, method: bytes, path: bytes, body: Any = None, *, token: bool = False) -> Message:
        """One request to the control listener, on a connection of its own."""
        async with await RawClient.connect(self.control) as client:
            data = b"" if body is None else json.dumps(body).encode()
            head = b"%b %b HTTP/1.1\r\nHost: control\r\nConnection: close\r\n" % (method, path)
            if token:
                head += b"Authorization: Bearer %b\r\n" % self.token.encode()
            if data:
                head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
            client.send(head + b"\r\n" + data)
            return await client.response(method, 30.0)  # its first call loads the API

    async def api(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """One call of the control API as the administrator: its JSON, decoded."""
        message = await self.request(method.encode(), path.encode(), body, token=True)
        assert message.status == expect, (message.status, bytes(message.body[:500]))
        return json.loads(message.body) if message.body else None


@asynccontextmanager
async def running(directory: Path, settings: Settings) -> AsyncIterator[Node]:
    """A node that is ready; killed at the end if the test has not stopped it. A traceback in its log is a failure."""
    node = Node(directory, settings)
    try:
        await node.start()
        yield node
    finally:
        if node.process.returncode is None:
            node.kill()
        await node.exit_code()
    assert not node.tracebacks, node.errors
