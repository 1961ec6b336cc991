"""Access records: one JSON line an exchange, refused ones included, and never a reason for the loop to wait.

    record(x) ─► a list ─► encoded in batches on the loop ─► a queue ─► a thread that writes

On the loop a record is one tuple of what the exchange already holds (0.6 µs). A batch is made into text by one loop and
one call, which costs half of what it does one by one between other work. Only the write itself, which may block, has a
thread, woken once a batch: a thread that encoded would hold the interpreter's lock beside the loop, and a non-blocking
descriptor cannot be had for standard output, which is shared with whoever started us.

When what is unwritten exceeds `buffer_records` (a stalled pipe, a full disk), new records are dropped and counted; once
it flows again a line `{"time": …, "dropped": N}` stands where they are missing.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

import msgspec

from gatepost import log
from gatepost.clock import Clock, SystemClock
from gatepost.config import schema
from gatepost.errors import GatepostError
from gatepost.exchange import Consumer, Exchange, Route

BATCH: Final = 256  # records encoded in one call: about 0.1 ms
FLUSH_AFTER: Final = 0.05  # seconds a record waits for others
_TRACE_ID: Final = slice(16, 48)  # of `traceparent: 00-<trace id>-…`


class Record(msgspec.Struct, gc=False):
    """What is known of an exchange once it ended. The query is left out: people put secrets there."""

    time: str  # when its head was parsed, RFC 3339 in UTC
    id: str  # the request id
    client: str
    method: str
    host: str
    path: str  # normalised
    route: str  # "" where none was found
    service: str
    target: str  # the address it was forwarded to
    consumer: str
    status: int  # 0: no response was begun
    bytes_in: int  # of bodies
    bytes_out: int
    duration_ms: float
    upstream_ms: float  # from handing it to a target to the response's head
    gateway_ms: float  # `duration` − `upstream`: the gateway itself, and the bodies on their way
    outcome: str  # "" while all is well, else what ended it
    emit: str  # what became of its event, "" where none was asked for
    trace: str  # trace id


class Dropped(msgspec.Struct):
    time: str
    dropped: int


# An exchange as it ended, in the order of `AccessLog.record`: monotonic seconds, then what it was.
_Seen: TypeAlias = tuple[
    float,
    float,
    float,
    float,
    bytes,
    str,
    bytes,
    bytes,
    str,
    Route,
    str,
    Consumer | None,
    int,
    int,
    int,
    str,
    dict[str, object] | None,
    bytes,
]


class _Reopen:
    """Asks the writer to open its file again."""


# What the writer takes: lines with their number, "open the file again", or the end.
_Work: TypeAlias = tuple[bytes, int] | _Reopen | None

_STANDARD: Final = {"stdout": 1, "stderr": 2}


class AccessLog:
    """Records to standard output, standard error or a file. Owned by the app; called on the loop only."""

    def __init__(self, config: schema.AccessLog, clock: Clock | None = None, *, folder: Path | None = None) -> None:
        """Opens the file (created with mode 0640); a relative path counts from `folder`. Raises GatepostError where it
        cannot be written."""
        self._limit = config.buffer_records
        self._clock = clock or SystemClock()
        self._records: list[_Seen | Dropped] = []
        self._accepted = 0  # records ever taken, less those still in the list
        self._dropped = 0
        self._told = 0  # records dropped that a line has said so of
        self._moment = self._second = -1  # the millisecond and second that the texts below stand for
        self._stamp = self._prefix = ""
        self._offset = self._clock.now() - self._clock.monotonic()
        self._timer = False
        self._closed = False
        self._encode = msgspec.json.Encoder().encode_lines
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._writer = _Writer(config.output, folder or Path(), self._queue)
        self._writer.start()

    @property
    def dropped(self) -> int:
        """Records dropped since the last line that said so."""
        return self._dropped

    @property
    def lost(self) -> int:
        """Records dropped since the start."""
        return self._told + self._dropped

    def record(self, x: Exchange, finished: float) -> None:
        """Note an exchange that ended at `finished` (monotonic seconds). Its route may be missing: then no field of
        it is read."""
        records = self._records
        if len(records) + self._accepted - self._writer.done >= self._limit or self._closed:
            self._dropped += 1
            return
        if self._dropped:
            records.append(Dropped(self._time(finished), self._dropped))
            self._told += self._dropped
            self._dropped = 0
        head = x.head
        records.append(
            (
                x.started,
                x.sent_upstream,
                x.first_byte,
                finished,
                x.id,
                x.client,
                head.method,
                head.host,
                head.path,  # the client's: a policy may have rewritten `x.path`
                x.route,
                x.target,
                x.consumer,
                x.status,
                x.bytes_in,
                x.bytes_out,
                x.outcome,
                x.notes,
                x.trace,
            )
        )
        if len(records) >= BATCH:
            self.flush()
        elif not self._timer:
            self._timer = True
            x.loop.call_later(FLUSH_AFTER, self._on_timer)

    def flush(self) -> None:
        """Hand what was recorded to the writer. Does not wait for it."""
        records = self._records
        if records:
            self._queue.put((self._encode(self._written(records)), len(records)))
            self._accepted += len(records)
            self._records = []
        self._offset = self._clock.now() - self._clock.monotonic()  # the wall clock may have been set

    def _written(self, records: list[_Seen | Dropped]) -> list[Record | Dropped]:
        out: list[Record | Dropped] = []
        time_of = self._time
        for seen in records:
            if isinstance(seen, Dropped):
                out.append(seen)
                continue
            started, sent, first, finished, x_id, client, method, host, path = seen[:9]
            route, target, consumer, status, bytes_in, bytes_out, outcome, notes, trace = seen[9:]
            total = int((finished - started) * 1e6)  # µs: `round` to three digits costs twice as much
            upstream = int(((first or finished) - sent) * 1e6) if sent else 0
            out.append(
                Record(
                    time_of(started),
                    x_id.decode("latin-1"),
                    client,
                    method.decode("latin-1"),
                    host.decode("latin-1"),
                    path,
                    route.name,
                    route.service,
                    target,
                    consumer.id if consumer is not None else "",
                    status,
                    bytes_in,
                    bytes_out,
                    total / 1000,
                    upstream / 1000,
                    (total - upstream) / 1000,
                    outcome,
                    str(notes.get("emit", "")) if notes else "",
                    trace[_TRACE_ID].decode("latin-1"),
                )
            )
        return out

    def reopen(self) -> None:
        """Open the file again under its name, once what came before is written: for those who rotate it."""
        self.flush()
        self._queue.put(_Reopen())

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is left, waiting at most `timeout` seconds. False where it was not enough: a stalled reader
        must not keep the process from ending."""
        if self._closed:
            return not self._writer.is_alive()
        self._closed = True
        if self._dropped:
            self._records.append(Dropped(self._time(self._clock.monotonic()), self._dropped))
        self.flush()
        self._queue.put(None)
        self._writer.join(timeout)
        return not self._writer.is_alive()

    def _on_timer(self) -> None:
        self._timer = False
        self.flush()

    def _time(self, monotonic: float) -> str:
        moment = int((monotonic + self._offset) * 1000)
        if moment != self._moment:
            self._moment = moment
            second, thousandth = divmod(moment, 1000)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f"{self._prefix}.{thousandth:03d}Z"
        return self._stamp


class _Writer(threading.Thread):
    """Owns the descriptor. `done` counts the records that were written or lost; only this thread changes it."""

    def __init__(self, output: str, folder: Path, queue: SimpleQueue[_Work]) -> None:
        super().__init__(name="gatepost-access-log", daemon=True)  # a stalled pipe must not outlive the process
        self.done = 0
        self._queue = queue
        self._file = None if output in _STANDARD else str(folder / output)
        try:
            self._descriptor = _STANDARD[output] if self._file is None else _open(self._file)
        except OSError as error:
            reason = f"cannot write {self._file}: {error.strerror}"
            raise GatepostError(f"access_log.output: {reason}; name a file that can be made, or stdout") from None
        self._failing = False

    def run(self) -> None:
        while (work := self._queue.get()) is not None:
            if isinstance(work, _Reopen):
                self._reopen()
                continue
            lines, count = work
            try:
                _write_all(self._descriptor, lines)
                self._failing = False
            except OSError as error:
                if not self._failing:  # one line for a full disk, not one a batch
                    self._failing = True
                    log.event("access_log_failed", level="error", records=count, reason=str(error))
            self.done += count
        if self._file is not None:
            os.close(self._descriptor)

    def _reopen(self) -> None:
        if self._file is None:
            return
        try:
            descriptor = _open(self._file)
        except OSError as error:  # the old file is better than none
            log.event("access_log_failed", level="error", file=self._file, reason=str(error))
            return
        os.close(self._descriptor)
        self._descriptor = descriptor


def _open(file: str) -> int:
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
