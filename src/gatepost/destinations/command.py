"""`command`: a program of this machine, started for each try, with the body on its standard input.

No shell reads its arguments, nothing of a message stands in them, and nothing of the node's environment is handed
down. What it writes is the response's body; status 0 is success.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from gatepost.config.destinations import Command
from gatepost.destinations.base import Context, Done, Sender, Sending
from gatepost.destinations.tries import NotTaken, Tries
from gatepost.model import Endpoint

_READ: Final = 65_536
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class CommandDestination:
    def __init__(self, settings: Command, context: Context) -> None:
        self._settings = settings
        self._limit = context.response_bytes
        self._tries = Tries(context.clock, context.loop, settings.timeout)

    def sender(self, endpoint: Endpoint) -> Sender:
        return self

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        return self._tries.start(self._run(id, body), done)

    async def stop(self) -> None:
        await self._tries.stop()

    async def _run(self, id: bytes, body: bytes) -> bytes:
        environment = {
            "PATH": os.environ.get("PATH", _PATH),
            **self._settings.environment,
            "GATEPOST_MESSAGE_ID": id.decode(),
        }
        process = await asyncio.create_subprocess_exec(
            *self._settings.run,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,  # what it started goes with it
        )
        try:
            _, output = await asyncio.gather(_feed(process, body), self._output(process))
            status = await process.wait()
        finally:
            await _end(process)
        if status != 0:
            raise NotTaken(_said(status), output)
        return output

    async def _output(self, process: asyncio.subprocess.Process) -> bytes:
        """As much as is kept; the rest is read, so that the program does not wait for a reader."""
        assert process.stdout is not None
        kept = bytearray()
        while data := await process.stdout.read(_READ):
            kept += data[: self._limit - len(kept)]
        return bytes(kept)


async def _feed(process: asyncio.subprocess.Process, body: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(body)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass  # a program need not read what it does not want


async def _end(process: asyncio.subprocess.Process) -> None:
    """It, and whatever it left running in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # its pipes, which nothing else closes before their end


def _said(status: int) -> str:
    if status < 0:
        return f"the program was ended by {signal.Signals(-status).name}"
    return f"the program ended with status {status}"
