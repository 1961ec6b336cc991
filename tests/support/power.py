"""A disk that keeps only what was synced, and of the rest whatever it likes: what a power cut leaves behind.

`kill -9` tests no fsync, because the page cache survives it. Here every write waits in a list until its file is synced;
`cut` gives the files with a random part of the waiting writes, in any order, as a disk's own cache would have them.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

_names = itertools.count()


class _Kept:
    """One file: what is on the platter, and what is only in the cache. `data` None truncates."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.waiting: list[tuple[int, bytes | None]] = []


class FragileDisk:
    def __init__(self) -> None:
        self._files: dict[str, _Kept] = {}
        self._unlinked: set[str] = set()  # may be found again until their folder is synced
        self._lock = threading.Lock()

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write to `folder` what could be found after a power cut now."""
        with self._lock:
            for name, kept in self._files.items():
                content = bytearray(kept.content)
                survives = chance.choice((0.0, 0.5, 1.0))
                for write in kept.waiting:
                    if chance.random() < survives:
                        _apply(content, *write)
                (folder / name).write_bytes(content)

    @contextmanager
    def installed(self) -> Iterator[None]:
        disk = self

        class File(apsw.VFSFile):
            def __init__(self, name: Any, flags: list[int]) -> None:
                path = name.filename() if isinstance(name, apsw.URIFilename) else name
                self._kept = disk._files.setdefault(Path(path).name, _Kept())
                self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
                super().__init__("unix", name, flags)

            def xWrite(self, data: bytes, offset: int) -> None:
                with disk._lock:
                    self._kept.waiting.append((offset, bytes(data)))
                    super().xWrite(data, offset)

            def xTruncate(self, size: int) -> None:
                with disk._lock:
                    self._kept.waiting.append((size, None))
                    super().xTruncate(size)

            def xSync(self, flags: int) -> None:
                with disk._lock:
                    super().xSync(flags)
                    for write in self._kept.waiting:
                        _apply(self._kept.content, *write)
                    self._kept.waiting.clear()
                    if self._is_log:  # whose first sync syncs the folder too (seen by strace)
                        for name in disk._unlinked:
                            disk._files.pop(name, None)
                        disk._unlinked.clear()

        class Disk(apsw.VFS):
            def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
                return File(name, flags)

            def xDelete(self, name: str, sync: bool) -> None:
                super().xDelete(name, sync)
                with disk._lock:
                    disk._unlinked.add(Path(name).name)

        vfs = Disk(f"fragile-{next(_names)}", "unix", makedefault=True)
        try:
            yield
        finally:
            vfs.unregister()


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data
