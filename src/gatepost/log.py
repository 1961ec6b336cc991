"""What an operator reads: one line an event on standard error, JSON where a machine reads it, plain on a terminal.

    log.event("emit_failed", level="error", route="create-order", outcome="app-unknown")

Never called for ordinary traffic (that is the access record's place). A thread of its own writes, so that a stalled
terminal or pipe cannot stop the loop; lines that find the queue full are dropped and counted. Fields that are named
like a credential are not written.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TextIO, TypeAlias

import msgspec

Level: TypeAlias = Literal["info", "warning", "error"]

CAPACITY: Final = 10_000  # lines unwritten
_SECRET: Final = frozenset({"secret", "secrets", "token", "tokens", "key", "keys", "password", "authorization"})
_HIDDEN: Final = "(not logged)"
_COLOUR: Final[dict[str, str]] = {"info": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}


def event(name: str, *, level: Level = "info", **fields: object) -> None:
    """Write one line. `name` is a stable snake_case word to search for; returns at once."""
    _default.event(name, level=level, **fields)


def fault(error: BaseException) -> dict[str, str]:
    """What to say of an exception that nobody expected: `log.event("policy_failed", …, **log.fault(error))`. Where it
    was raised is in it, since the code may be the user's own, and no traceback is written."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return {"reason": f"{type(error).__name__}: {error}", "where": where}


def flush(timeout: float = 1.0) -> None:
    """Wait until what was logged is written, at most `timeout` seconds."""
    _default.flush(timeout)


@contextmanager
def recorded() -> Iterator[list[dict[str, object]]]:
    """The events of the block, as a list instead of lines: for tests."""
    global _default
    before, _default = _default, _Recorder()
    try:
        yield _default.events
    finally:
        _default = before


class Log:
    """Lines to one stream. `stream` None means the standard error of the moment."""

    def __init__(self, stream: TextIO | None = None, *, capacity: int = CAPACITY) -> None:
        self._stream = stream
        self._capacity = capacity
        self._lines: deque[dict[str, object]] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def event(self, name: str, *, level: Level = "info", **fields: object) -> None:
        line: dict[str, object] = {"time": time.time(), "level": level, "event": name}
        for field, value in fields.items():
            if not _SECRET.isdisjoint(field.split("_")):
                value = _HIDDEN
            line[field] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        with self._changed:
            if len(self._lines) >= self._capacity:
                self._dropped += 1
                return
            self._lines.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="gatepost-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float = 1.0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._writing, timeout)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._lines))
                lines, self._lines = self._lines, deque()
                dropped, self._dropped = self._dropped, 0
                self._writing = True
            if dropped:
                lines.append({"time": time.time(), "level": "warning", "event": "log_dropped", "lines": dropped})
            stream = self._stream if self._stream is not None else sys.stderr
            try:
                write = _pretty if stream.isatty() else _json
                stream.write("".join([write(line) for line in lines]))
                stream.flush()
            except (OSError, ValueError):
                pass  # standard error is closed: there is no place left to say so


class _Recorder(Log):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, object]] = []

    def event(self, name: str, *, level: Level = "info", **fields: object) -> None:
        self.events.append({"event": name, "level": level, **fields})


def _json(line: dict[str, object]) -> str:
    return msgspec.json.encode({**line, "time": _stamp(line)}, enc_hook=_text).decode() + "\n"


def _pretty(line: dict[str, object]) -> str:
    words = [f"{name}={_text(value)}" for name, value in line.items() if name not in ("time", "level", "event")]
    return f"{_stamp(line)[11:19]} {_COLOUR[str(line['level'])]}{line['event']}\x1b[0m {' '.join(words)}\n"


def _stamp(line: dict[str, object]) -> str:
    seconds = line["time"]
    assert isinstance(seconds, float)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def _text(value: object) -> str:
    """Any value on one line: control characters (an injected newline, a terminal's escape) become visible."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


_default = Log()
atexit.register(flush)
