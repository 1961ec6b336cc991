"""A file of lines that are either whole or not there: written and fsynced by a thread, so that no disk stops the loop.

    crc32 in 8 hex digits · space · JSON · newline

A crash, or a full disk, can tear the last line; its checksum tells. What waits in the queue shares one `fdatasync`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeAlias

Written: TypeAlias = Callable[[str], None]  # "" once the line is on disk, else why it is not

_READ: Final = 1 << 20


class _Line(NamedTuple):
    data: bytes
    done: Written


class _Truncate(NamedTuple):
    pass


class _Stop(NamedTuple):
    pass


_Job: TypeAlias = _Line | _Truncate | _Stop


class Lines(NamedTuple):
    """What a file held. `damaged` counts the lines in its midst that fail their checksum; a torn end is no damage."""

    whole: list[bytes]
    damaged: int
    torn: int  # bytes after the last whole line


def parse(content: bytes) -> Lines:
    """The lines of a file, in order."""
    *lines, rest = content.split(b"\n")
    torn = len(rest)
    while lines and _text_of(lines[-1]) is None:
        torn += len(lines.pop()) + 1  # a newline may reach the disk before what stands in front of it
    whole = [text for line in lines if (text := _text_of(line)) is not None]
    return Lines(whole, sum(1 for line in lines if line) - len(whole), torn)


def line_of(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _text_of(line: bytes) -> bytes | None:
    text = line[9:]
    return text if line[:9] == b"%08x " % zlib.crc32(text) else None


class JournalFile:
    """One file, one thread. `append` and `truncate` are called on the loop that `open` ran on, and keep their order."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit  # bytes
        self._size = 0
        self._torn = False
        self._fd = -1
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._work, name="gatepost-journal", daemon=True)

    async def open(self) -> Lines:
        """Make or read the file, cut a torn end off, and start the thread. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        lines = await asyncio.to_thread(self._open)
        self._thread.start()
        return lines

    def append(self, text: bytes, done: Written) -> None:
        if self._fd < 0:
            self._loop.call_soon(done, "the journal is closed")
        else:
            self._jobs.put(_Line(line_of(text), done))

    def truncate(self) -> None:
        """Empty the file: nothing in it, nor in the queue before this call, is needed any more."""
        self._jobs.put(_Truncate())

    async def close(self) -> None:
        """Write what is queued, then let go of the file."""
        if self._fd < 0:
            return
        self._jobs.put(_Stop())
        await asyncio.to_thread(self._thread.join)
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> Lines:
        # Payloads are nobody else's business: 0600, also where the file is older than this rule.
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            parts = []
            while part := os.read(fd, _READ):
                parts.append(part)
            content = b"".join(parts)
            lines = parse(content)
            if lines.damaged:
                _keep_copy(self._path.with_name(self._path.name + ".damaged"), content)
            self._size = len(content) - lines.torn
            if lines.torn:
                os.ftruncate(fd, self._size)
            os.fsync(fd)
            _sync_directory(self._path.parent)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return lines

    # the thread's side

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            lines: list[_Line] = []
            for job in jobs:
                if isinstance(job, _Line):
                    lines.append(job)
                    continue
                self._write(lines)
                lines = []
                if isinstance(job, _Stop):
                    return
                self._empty()
            self._write(lines)

    def _write(self, lines: list[_Line]) -> None:
        if not lines:
            return
        data = b"".join([line.data for line in lines])
        reason = ""
        if self._size + len(data) > self._limit:
            reason = f"the journal is full: {self._limit} bytes"
        else:
            try:
                self._append(data)
            except OSError as error:
                reason = error.strerror or str(error)
                self._cut_back()
        self._loop.call_soon_threadsafe(_tell, lines, reason)

    def _append(self, data: bytes) -> None:
        left = memoryview(b"~\n" + data if self._torn else data)  # "~": a line that only lacked its end stays torn
        size = len(left)
        while left:
            left = left[os.write(self._fd, left) :]
        os.fdatasync(self._fd)
        self._size += size
        self._torn = False

    def _cut_back(self) -> None:
        """Half a line may stand at the end. Without it, or else on a line of its own, the next one is readable."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._torn = True

    def _empty(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.fdatasync(self._fd)
        except OSError:
            return  # what stays is replayed again, and the store knows it by its keys
        self._size = 0
        self._torn = False


def _tell(lines: list[_Line], reason: str) -> None:
    for line in lines:
        line.done(reason)


def _keep_copy(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as copy:
        copy.write(content)


def _sync_directory(path: Path) -> None:
    """A new file is there after a crash only once its directory is on disk too."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
