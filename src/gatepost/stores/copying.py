"""From SQLite to PostgreSQL: every row, in steps that can be broken off and gone on with.

A step reads some rows of one table after a place, and writes them together with that place in one transaction, so that
nothing is copied twice or left out, however often it is begun again. The source is locked meanwhile: a copy of a
store that goes on growing would be no copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw

from gatepost.errors import StoreUnavailable
from gatepost.stores.postgres_batch import Connection
from gatepost.stores.postgres_files import Address, check_server, migrate
from gatepost.stores.postgres_writer import close
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_files import Lock, open_writer

STEP: Final = 5_000  # rows

Row = Sequence[Any]
Progress = Callable[[str, int, int], None]  # table, rows copied, rows in all

_SQL: Final = queries("postgresql")


def _as_it_is(row: Row) -> Iterator[Row]:
    yield row


def _flags(*places: int) -> Callable[[Row], Iterator[Row]]:
    """SQLite keeps truth as 0 and 1."""

    def convert(row: Row) -> Iterator[Row]:
        yield [bool(value) if place in places else value for place, value in enumerate(row)]

    return convert


def _truths(*places: int) -> Callable[[Row], Iterator[Row]]:
    """The same, where NULL stays."""

    def convert(row: Row) -> Iterator[Row]:
        yield [None if value is None else bool(value) if place in places else value for place, value in enumerate(row)]

    return convert


def _channels(row: Row) -> Iterator[Row]:
    """SQLite keeps only a hash of each; the names stand on the message."""
    app, message, channels = row
    for channel in json.loads(channels):
        yield app, channel, message


class Table(NamedTuple):
    """`query` gives rows in the order of their first `places` columns; they are compared with where it left off."""

    name: str
    source: str
    columns: tuple[str, ...]  # of the target
    query: str
    places: tuple[str, ...]
    convert: Callable[[Row], Iterator[Row]] = _as_it_is


def _table(
    name: str,
    columns: str,
    convert: Callable[[Row], Iterator[Row]] = _as_it_is,
    *,
    source: str = "",
    select: str = "",
    order: str = "",
    target: str = "",
) -> Table:
    names = tuple(columns.split())
    places = tuple((order or names[0]).split())
    return Table(name, source or name, tuple((target or columns).split()), select or ", ".join(names), places, convert)


_APP_OF: Final = "(SELECT app FROM endpoint WHERE key = t.endpoint)"

# What is copied, in this order. The rest (probe, the marks of copying) is nobody's.
TABLES: Final = (
    _table("app", "key id uid name metadata throttle_rate declared created updated life", _flags(6)),
    _table(
        "endpoint",
        "key id app uid url description event_types channels headers secrets disabled version rate_limit metadata "
        "declared created updated life settings",
        _flags(10, 14),
    ),
    _table("event_type", "key name"),
    _table("url", "key text"),
    _table("message", "id app type event_id channels tags payload"),
    _table(
        "message_channel", "app channel message", _channels, source="message", select="app, id, channels", order="id"
    ),
    _table("event_id", "app event_id message", order="app event_id"),
    _table("idempotency", "message app key digest"),
    _table(
        "delivery",
        "app message endpoint state tries due manual since ordering batch",
        _truths(6),
        select=f"{_APP_OF}, message, endpoint, state, tries, due, manual, since, ordering, batch",
        order="message endpoint",
    ),
    _table(
        "attempt",
        "app id message endpoint type ok status url trigger started duration error response",
        _flags(5),
        select=f"{_APP_OF}, id, message, endpoint, type, ok, status, url, trigger, started, duration, error, response",
        order="id",
    ),
    _table("shaped", "endpoint message body", order="endpoint message"),
    _table("consumer", "key id name tags metadata plans routes disabled declared created updated", _flags(7, 8)),
    _table(
        "access_key",
        "id consumer digest prefix name tags metadata expires told disabled created updated",
        _flags(8, 9),
    ),
    _table("plan", "name document"),
    _table("lane", "endpoint failing_since paused_until disabled_at reason"),
    _table("task", "id app endpoint running document", _flags(3)),
    _table("event_type_info", "name document"),
    _table("portal_token", "digest app expires"),
    _table("answer", "place digest status body expires"),
    _table("quota_count", "scope key state ends", order="scope key"),
    _table("sealing_key", "id wrapped created"),
    _table("message_keep", "message until"),
    _table("audit", "id who method path object fields request client"),
    _table("capture", "id time route status document"),
)
_IDENTITIES: Final = ("app", "endpoint", "event_type", "url", "consumer")


async def copy(path: str, url: str, progress: Progress, *, step: int = STEP) -> None:
    """Copy the SQLite store at `path` into the PostgreSQL database at `url`. Begun again, it goes on where it was.

    Raises StoreUnavailable where the source is in use, or the target holds something else.
    """
    lock = Lock(path)
    try:
        source = open_writer(path)  # which brings an old one to today's schema first
        try:
            target = await Address(url).connect()
            try:
                await check_server(target)
                await migrate(target)
                await _begin(target, path)
                for table in TABLES:
                    await _copy_table(source, target, table, progress, step)
                await _finish(source, target)
            finally:
                await close(target)
        finally:
            source.close()
    finally:
        lock.release()


async def _begin(target: Connection, path: str) -> None:
    await target.execute(_SQL["make_copy_marks"])
    sources = {row[0] for row in await target.fetch(_SQL["copy_sources"])}
    if not sources and await target.fetchval(_SQL["anything"]):
        raise StoreUnavailable("the target holds apps or messages already: copy into an empty database")
    if sources - {path}:
        raise StoreUnavailable(f"a copy of {', '.join(sorted(sources))} was begun there: go on with that one")
    await target.execute(_SQL["mark_copy"], path, "", "")


async def _copy_table(source: apsw.Connection, target: Connection, table: Table, progress: Progress, step: int) -> None:
    total = source.execute(f"SELECT count(*) FROM {table.source}").get  # noqa: S608 - a name of ours
    mark = await target.fetchval(_SQL["copy_mark"], table.name)
    done, place = json.loads(mark) if mark else (0, None)
    order = ", ".join(table.places)
    marks = ", ".join("?" * len(table.places))
    while done < total:
        where = f"WHERE ({order}) > ({marks})" if place is not None else ""
        rows = source.execute(
            f"SELECT {order}, {table.query} FROM {table.source} AS t {where} ORDER BY {order} LIMIT ?",  # noqa: S608
            (*(place or ()), step),
        ).fetchall()
        if not rows:
            break
        keys = len(table.places)
        place = list(rows[-1][:keys])
        done += len(rows)
        out = [out for row in rows if _wanted(table, row) for out in table.convert(row[keys:])]
        async with target.transaction():
            if out:
                await target.copy_records_to_table(table.name, records=out, columns=list(table.columns))
            await target.execute(_SQL["mark_copy"], "", table.name, json.dumps([done, place]))
        progress(table.name, done, total)


def _wanted(table: Table, row: Row) -> bool:
    return table.convert is not _channels or row[-1] is not None


async def _finish(source: apsw.Connection, target: Connection) -> None:
    """Keys go on above those that were given, also to what is deleted."""
    for name in _IDENTITIES:
        greatest = source.execute(f"SELECT max(key) FROM {name}").get  # noqa: S608 - a name of ours
        if greatest is not None:
            await target.execute(_SQL["go_on_after"], name, greatest)
    await target.execute(_SQL["drop_copy_marks"])
