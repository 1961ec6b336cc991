"""A program under measurement: started, waited for, its CPU time and memory read, stopped again.

CPU time is user + system of the whole tree of processes (`/proc/PID/stat`, counted in ticks of 10 ms: measure for a
second or longer).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class NotStarted(Exception):
    """The program ended, or opened no port in time; the text holds the end of what it said."""


def allow_many_files() -> None:
    """As many descriptors as may be: a thousand connections are two thousand of a proxy's."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Process:
    """One program and its children."""

    def __init__(self, name: str, command: Sequence[str], *, directory: Path, env: Mapping[str, str] | None = None):
        self.name = name
        self._log = directory / f"{name.replace(' ', '-').replace('/', '-')}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_for_port(self, port: int, within: float = 30.0) -> float:
        """Seconds until something accepts on `port`. Raises NotStarted."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return time.monotonic() - began
            if self._popen.poll() is not None or time.monotonic() - began > within:
                raise NotStarted(f"{self.name} did not start:\n{self.said()}")
            time.sleep(0.01)

    def said(self) -> str:
        """The end of its output."""
        return self._log.read_bytes()[-2000:].decode(errors="replace")

    def cpu(self) -> float:
        """Seconds of CPU so far, of it and everything that it started."""
        return sum(_cpu_of(pid) for pid in self._tree())

    def rss(self) -> int:
        """Resident bytes of the tree."""
        return sum(_rss_of(pid) for pid in self._tree())

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def settle(self, *, within: float, idle: float = 0.02, pause: float = 0.4) -> float:
        """Wait until it does nothing: `pause` seconds with less than `idle` seconds of CPU. Seconds waited."""
        began = time.monotonic()
        before = self.cpu()
        while time.monotonic() - began < within:
            time.sleep(pause)
            now = self.cpu()
            if now - before <= idle:
                break
            before = now
        return time.monotonic() - began

    def stop(self) -> None:
        if self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            tree = self._tree()
            self._popen.kill()
            for pid in tree[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()

    def _tree(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            for children in _children_of(pid):
                found.append(children)  # noqa: PERF402 - the list grows while it is walked
        return found


@contextlib.contextmanager
def stopping(processes: list[Process]) -> Iterator[list[Process]]:
    """Stop them all at the end, whatever happened."""
    try:
        yield processes
    finally:
        for process in reversed(processes):
            process.stop()


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text().split())
    return found


def _cpu_of(pid: int) -> float:
    try:
        # The name may hold spaces and brackets: the fields are counted from its end.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / _TICKS


def _rss_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
