"""The journal: where an emitted message waits that the store could not take, until it can.

A message gets here when the upstream has acted and the response must pass, but the commit failed or was too slow.
Each has an idempotency key of its own, made before it was first handed to the store: whatever became of that first
try, a replay makes no second message (the store keeps such keys for ten minutes, counted from its last message).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from gatepost import ids, log
from gatepost.errors import StoreUnavailable
from gatepost.events.ingest import Ingest
from gatepost.events.journal_file import JournalFile
from gatepost.events.rules import InvalidMessage
from gatepost.stores.base import Outcome, Refused

LIMIT: Final = 67_108_864  # bytes on disk, and about as many in memory
RETRY: Final = 1.0  # seconds between looks whether the store can write again
BATCH: Final = 64  # messages in the store's hands at once


class Entry(msgspec.Struct, tag="message", frozen=True):
    """A message that waits. `app` is its id as text: the store's own key might be another's after a restore."""

    key: str  # its idempotency key
    app: str
    event_type: str
    payload: str
    channels: tuple[str, ...] = ()
    event_id: str | None = None


class _Settled(msgspec.Struct, tag="settled", frozen=True):
    """These keys need no replay: their messages are in the store."""

    keys: list[str]


_decoder = msgspec.json.Decoder(Entry | _Settled)
_encode = msgspec.json.Encoder().encode


class Journal:
    """Owned by the loop that `open` ran on."""

    def __init__(self, path: Path, ingest: Ingest, *, limit: int = LIMIT, retry: float = RETRY) -> None:
        self._path = path
        self._ingest = ingest
        self._file = JournalFile(path, limit=limit)
        self._retry = retry
        self._waiting: dict[str, Entry] = {}  # on disk, in order
        self._writing = 0  # entries on their way to the disk
        self._under_way = 0  # messages of the present batch without an outcome
        self._settled: list[str] = []
        self._replayed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._open = False

    @property
    def waiting(self) -> int:
        """How many messages wait for the store."""
        return len(self._waiting)

    async def open(self) -> None:
        """Read what an earlier run left and begin to replay it. The store must be open. Raises StoreUnavailable."""
        try:
            lines = await self._file.open()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreUnavailable(
                f"the journal {self._path} cannot be used ({reason}): mend that, or move it"
            ) from error
        for text in lines.whole:
            try:
                line = _decoder.decode(text)
            except msgspec.DecodeError as error:
                log.event("journal_line_unknown", level="error", path=self._path, reason=error)
                continue
            if isinstance(line, Entry):
                self._waiting[line.key] = line
            else:
                for key in line.keys:
                    self._waiting.pop(key, None)
        if lines.damaged:
            log.event(
                "journal_damaged", level="error", path=self._path, lines=lines.damaged, copy=f"{self._path}.damaged"
            )
        self._open = True
        self.replay()

    async def close(self) -> None:
        """Write what was handed in. What still waits is replayed at the next start."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._file.close()

    def append(self, entry: Entry, done: Callable[[str], None]) -> None:
        """Keep a message. `done("")` once it is on disk; `done(reason)` where it is not kept."""
        self._writing += 1
        self._file.append(_encode(entry), partial(self._appended, entry, done))

    def settle(self, key: str) -> None:
        """The store has this message after all."""
        if self._waiting.pop(key, None) is not None:
            self._forget([key])

    def replay(self) -> None:
        """Hand what waits to the store, in order. What it refuses waits on, and is tried again in a moment."""
        if not self._open or self._under_way or not self._waiting:
            return
        batch = list(islice(self._waiting.values(), BATCH))
        self._under_way = len(batch)
        for entry in batch:
            self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        app = self._ingest.store.directory.app(entry.app)
        if app is None:
            self._drop(entry, "its app was deleted")
            return
        try:
            self._ingest.publish(
                app,
                entry.event_type,
                entry.payload.encode(),
                channels=entry.channels,
                event_id=entry.event_id,
                idempotency_key=entry.key,
                held=False,
                done=partial(self._published, entry.key),
            )
        except InvalidMessage as error:
            self._drop(entry, str(error))

    def _drop(self, entry: Entry, reason: str) -> None:
        log.event(
            "journal_dropped",
            level="error",
            app=entry.app,
            event_type=entry.event_type,
            event_id=entry.event_id,
            reason=reason,
        )
        self._resolved(entry.key)

    def _published(self, key: str, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            self._resolved(None)
        else:
            self._replayed += 1
            self._resolved(key)

    def _resolved(self, key: str | None) -> None:
        """One message of the batch has its outcome; None: it waits on."""
        if key is not None and self._waiting.pop(key, None) is not None:
            self._settled.append(key)
        self._under_way -= 1
        if self._under_way:
            return
        settled, self._settled = self._settled, []
        if settled:
            self._forget(settled)
        if not self._waiting:
            log.event("journal_replayed", messages=self._replayed)
            self._replayed = 0
        elif settled:
            self.replay()
        else:
            self._later()

    def _forget(self, keys: list[str]) -> None:
        """These are in the store. The note needs no answer: without it they are replayed, and known by their keys."""
        if self._open:
            self._file.append(_encode(_Settled(keys)), _nothing)
            self._tidy()

    def _appended(self, entry: Entry, done: Callable[[str], None], reason: str) -> None:
        self._writing -= 1
        if reason:
            self._tidy()
        else:
            self._waiting[entry.key] = entry
            self._later()
        done(reason)

    def _tidy(self) -> None:
        if not self._waiting and not self._writing and self._open:
            self._file.truncate()

    def _later(self) -> None:
        if self._timer is None and self._open:
            self._timer = asyncio.get_running_loop().call_later(self._retry, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.replay()


def _nothing(reason: str) -> None: ...


def entry_of(
    key: str, app: int, event_type: str, payload: bytes, channels: tuple[str, ...], event_id: str | None
) -> Entry:
    """The entry of a message for the app with this id. `payload` is JSON text, so UTF-8."""
    return Entry(key, ids.encode("app", app), event_type, payload.decode(), channels, event_id)
