"""One transaction of the SQLite store: decides duplicates, gathers rows, writes them in few statements.

`Memory` is what the writer remembers from one transaction to the next, changed only after a commit. `Batch` is one
transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import apsw

from gatepost import ids
from gatepost.lifecycle import State
from gatepost.stores.base import Accepted, Completion, EventIdTaken, NewMessage, Outcome, Repeated
from gatepost.stores.queries import queries
from gatepost.stores.recent_keys import RecentKeys
from gatepost.stores.sqlite_rows import channel_key, texts_or_null
from gatepost.stores.sqlite_shaped import keep_or_drop

IDEMPOTENCY_SECONDS: Final = 12 * 3600.0  # explicit keys
INTERNED: Final = 100_000  # names kept in memory; beyond, they are looked up again
AUTO: Final = "auto_"  # what Svix's SDKs put on every POST

_SQL: Final = queries("sqlite")


class Bulk:
    """`INSERT … VALUES (…)` of many rows in few steps: SQLite gives up the GIL at each step, and beside a busy loop it
    comes back only after the interpreter's switch interval."""

    __slots__ = ("_columns", "_statements")

    SIZES: Final = (64, 16, 4, 1)

    def __init__(self, sql: str) -> None:
        match = re.search(r"VALUES (\([?, ]+\))", sql)
        assert match is not None, sql
        group = match[1]
        self._columns = group.count("?")
        self._statements = tuple(
            (n * self._columns, sql[: match.start(1)] + ", ".join([group] * n) + sql[match.end(1) :])
            for n in self.SIZES
        )

    def run(self, execute: Callable[..., Any], values: list[Any]) -> None:
        """`values` are the rows' columns, one after another."""
        at, end = 0, len(values)
        for size, sql in self._statements:
            while end - at >= size:
                execute(sql, values[at : at + size])
                at += size


MESSAGES: Final = Bulk(_SQL["insert_message"])
DELIVERIES: Final = Bulk(_SQL["insert_delivery"])
ORDERED: Final = Bulk(_SQL["insert_ordered_delivery"])
MOVES: Final = Bulk(_SQL["put_delivery"])
ATTEMPTS: Final = Bulk(_SQL["insert_attempt"])
CHANNELS: Final = Bulk(_SQL["insert_channel"])


class Memory:
    """What the writer remembers between transactions."""

    __slots__ = ("_connection", "auto_keys", "gone", "types", "urls")

    def __init__(self, connection: apsw.Connection, now: float) -> None:
        self._connection = connection
        self.types: dict[str, int] = {}
        self.urls: dict[str, int] = {}
        self.gone: set[int] = set()  # endpoints deleted since the start: a message may have been matched before that
        self.auto_keys = RecentKeys()
        since = ids.first_at(now - RecentKeys.SECONDS)
        newest_first = connection.execute(_SQL["recent_auto_keys"], (since, RecentKeys.MOST)).fetchall()
        for app, key, message in reversed(newest_first):
            self.auto_keys.add(app, key, message, now)

    def keep(self, batch: Batch) -> None:
        """`batch` is on disk."""
        self.gone.update(batch.gone)
        for (app, key), message in batch.auto_keys.items():
            self.auto_keys.add(app, key, message.id, batch.now)

    def forget_names(self) -> None:
        """A transaction was undone, and with it the names it may have added."""
        self.types.clear()
        self.urls.clear()

    def type_key(self, name: str) -> int:
        key = self.types.get(name)
        return key if key is not None else self._intern(self.types, name, "event_type")

    def url_key(self, text: str) -> int:
        key = self.urls.get(text)
        return key if key is not None else self._intern(self.urls, text, "url")

    def _intern(self, known: dict[str, int], name: str, table: str) -> int:
        key = self._connection.execute(_SQL[f"find_{table}"], (name,)).get
        if key is None:
            key = self._connection.execute(_SQL[f"insert_{table}"], (name,)).get
        if len(known) >= INTERNED:
            known.clear()
        known[name] = key
        return int(key)


class Batch:
    """One transaction's rows."""

    __slots__ = (
        "_attempts",
        "_batched",
        "_channels",
        "_deliveries",
        "_execute",
        "_memory",
        "_messages",
        "_moves",
        "_ordered",
        "accepted",
        "auto_keys",
        "connection",
        "gone",
        "now",
    )  # fmt: skip

    def __init__(self, connection: apsw.Connection, memory: Memory, now: float) -> None:
        self.connection = connection
        self.now = now
        self.accepted: list[NewMessage] = []
        self.auto_keys: dict[tuple[int, str], NewMessage] = {}
        self.gone: list[int] = []  # endpoints deleted by this transaction
        self._memory = memory
        self._execute = connection.cursor().execute
        self._messages: list[Any] = []
        self._deliveries: list[Any] = []
        self._ordered: list[Any] = []
        self._batched: list[tuple[int, int, int]] = []
        self._moves: list[Any] = []
        self._attempts: list[Any] = []
        self._channels: list[Any] = []

    def accept(self, message: NewMessage) -> Outcome:
        key = message.idempotency_key
        auto_key: str | None = None
        if key is not None:
            repeated = self._repeated(message, key)
            if repeated is not None:
                return repeated
        app, identifier = message.app, message.id
        if message.event_id is not None:
            claim = (app, message.event_id, identifier)
            if self._execute(_SQL["claim_event_id"], claim).fetchone() is None:
                return EventIdTaken(self._execute(_SQL["owner_of_event_id"], claim[:2]).get)
        if key is not None:
            if key.startswith(AUTO):
                auto_key = key
                self.auto_keys[app, key] = message
            else:
                self._execute(_SQL["insert_idempotency"], (identifier, app, key, message.body_digest))
                self._execute(_SQL["expire_idempotency"], (ids.first_at(self.now - IDEMPOTENCY_SECONDS), 3))
        self._messages += (
            identifier,
            app,
            self._memory.type_key(message.event_type),
            message.event_id,
            texts_or_null(message.channels),
            texts_or_null(message.tags),
            auto_key,
            None if auto_key is None else message.body_digest,
            message.payload,
        )
        if message.keep is not None:
            self._execute(_SQL["keep_message"], (identifier, self.now + message.keep))
        gone = self._memory.gone
        if message.orders is None and not message.skipped:
            for endpoint in message.endpoints:
                if endpoint not in gone:
                    self._deliveries += (identifier, endpoint, 0, 0, self.now)
        else:
            self._deliver_otherwise(message)
        for channel in message.channels:
            self._channels += (channel_key(app, channel), identifier)
        self.accepted.append(message)
        return Accepted(identifier)

    def _deliver_otherwise(self, message: NewMessage) -> None:
        """In an order, or not at all for now."""
        orders, gone = message.orders or {}, self._memory.gone
        for state, due, endpoints in ((0, self.now, message.endpoints), (int(State.SKIPPED), None, message.skipped)):
            for endpoint in endpoints:
                if endpoint not in gone:
                    self._ordered += (message.id, endpoint, state, 0, due, orders.get(endpoint))

    def complete(self, completion: Completion, identifier: int) -> None:
        attempt = completion.attempt
        state, due = completion.state, completion.due
        if attempt.endpoint in self._memory.gone and state is State.PENDING:
            state, due = State.CANCELLED, None
        self._moves += (attempt.message, attempt.endpoint, int(state), completion.tries, due)
        if completion.batch is not None:
            self._batched.append((completion.batch, attempt.message, attempt.endpoint))
        if completion.shaped is not None:
            keep_or_drop(self._execute, attempt.endpoint, attempt.message, state, completion.shaped)
        error = attempt.error
        self._attempts += (
            identifier,
            attempt.message,
            attempt.endpoint,
            self._memory.type_key(attempt.event_type),
            attempt.ok,
            attempt.status,
            self._memory.url_key(attempt.url),
            attempt.trigger,
            attempt.started,
            attempt.duration,
            # Errors may quote what a peer sent; a lone surrogate cannot be written as UTF-8.
            error.encode("utf-8", "backslashreplace").decode() if error else None,
            attempt.response or None,
        )

    def flush(self) -> None:
        """Write what was gathered."""
        execute = self._execute
        for bulk, values in (
            (MESSAGES, self._messages),
            (DELIVERIES, self._deliveries),
            (ORDERED, self._ordered),
            (CHANNELS, self._channels),
            (MOVES, self._moves),
            (ATTEMPTS, self._attempts),
        ):
            if values:
                bulk.run(execute, values)
                values.clear()
        if self._batched:
            self.connection.executemany(_SQL["set_batch"], self._batched)
            self._batched.clear()

    def _repeated(self, message: NewMessage, key: str) -> Repeated | None:
        app, digest = message.app, message.body_digest
        if not key.startswith(AUTO):
            row = self._execute(_SQL["find_idempotency"], (app, key)).fetchone()
            if row is None:
                return None
            if ids.seconds_of(row[0]) > self.now - IDEMPOTENCY_SECONDS:
                return Repeated(row[0], row[1] == digest)
            self._execute(_SQL["forget_idempotency"], (row[0],))
            return None
        here = self.auto_keys.get((app, key))
        if here is not None:
            return Repeated(here.id, here.body_digest == digest)
        before = self._memory.auto_keys.find(app, key, self.now)
        if before is None:
            return None
        row = self._execute(_SQL["auto_key_of"], (before, app)).fetchone()
        if row is None or row[0] != key:  # expired, or another key with the same hash
            return None
        return Repeated(before, row[1] == digest)
