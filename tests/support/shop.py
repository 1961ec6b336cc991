"""The programs of examples/shop, run for tests: their ports are free ones, their output is heard line by line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.node import Settings
from tests.support.rawclient import PATIENCE, soon

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "examples" / "shop"
CHROMIUM = "/usr/bin/chromium"

needs_express = pytest.mark.skipif(
    not shutil.which("node") or not (ROOT / "node_modules" / "express").is_dir(),
    reason="needs Node.js and `npm ci`: the Express receiver",
)
needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")

Line = dict[str, Any]


class Program:
    """One running program that says in lines of JSON what it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Line] = []
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def line(self, fits: Callable[[Line], object], within: float = PATIENCE) -> Line:
        """The first line that fits, now or soon."""

        async def seen() -> Line:
            while True:
                for line in self.lines:
                    if fits(line):
                        return line
                self._news.clear()
                await self._news.wait()

        return await soon(seen(), f"a line among {self.lines}", within)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))
            self._news.set()

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        code = await soon(self.process.wait(), "the end of the program")
        await self._reader
        return code


@asynccontextmanager
async def program(command: list[str], env: dict[str, str]) -> AsyncIterator[Program]:
    """Started and ready; at the end it is asked to stop, and must do so with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    running = Program(process)
    try:
        await running.line(lambda line: "ready" in line, 30)
        yield running
    finally:
        code = await running.stop()
    assert code == 0


def order_service(port: int, live_secret: str) -> AbstractAsyncContextManager[Program]:
    return program([sys.executable, str(SHOP / "order_service.py"), str(port)], {"LIVE_SECRET": live_secret})


def partner(kind: str, port: int, secret: str) -> AbstractAsyncContextManager[Program]:
    """`kind` is python or express."""
    commands = {
        "python": [sys.executable, str(SHOP / "partner.py"), str(port)],
        "express": ["node", str(SHOP / "partner.mjs")],
    }
    return program(commands[kind], {"PARTNER_SECRET": secret, "PORT": str(port)})


def settings(secrets: dict[str, str], ports: dict[int, int]) -> Settings:
    """The shop's own gatepost.yaml, with secrets and ports filled in; where to listen is the node's choice."""
    text = (SHOP / "gatepost.yaml").read_text()
    for name, value in secrets.items():
        text = text.replace(f"env:{name}", value)
    for usual, port in ports.items():
        text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
    document: Settings = yaml.safe_load(text)
    del document["listen"], document["store"]
    return document
