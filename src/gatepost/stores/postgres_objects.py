"""Cold writes of the PostgreSQL store: apps, endpoints, resending. Each runs inside a transaction of the writer, holds
the app's row, and ends with a look at the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec

from gatepost.lifecycle import State
from gatepost.model import App, Delivery, Endpoint
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries
from gatepost.stores.sealing import Columns, Sealer, sealed
from gatepost.stores.sqlite_rows import Row, app_of, names_or_null, to_json

_SQL: Final = queries("postgresql")


class Snapshot(NamedTuple):
    """Some apps as one transaction saw them, each with its revision."""

    apps: list[tuple[App, int]]
    gone: list[tuple[int, int]]
    endpoints: dict[int, list[Row]]  # by the app's key; sealed as they are


async def snapshot_of(connection: Connection, apps: Sequence[int]) -> Snapshot:
    return await read_snapshot(connection, await connection.fetch(_SQL["some_apps"], list(apps)))


async def read_snapshot(connection: Connection, rows: Sequence[asyncpg.Record]) -> Snapshot:
    """`rows` are of `some_apps` or `changed_apps`."""
    snapshot = Snapshot([], [], {})
    for row in rows:
        if row[10] == 0:
            snapshot.apps.append((app_of(row[:9]), row[9]))
        else:
            snapshot.gone.append((row[0], row[9]))
    if snapshot.apps:
        keys = [app.key for app, _ in snapshot.apps]
        for row in await connection.fetch(_SQL["endpoints_of_apps"], keys):
            snapshot.endpoints.setdefault(row[2], []).append(row)
    return snapshot


async def put_app(batch: Batch, app: App, identifier: int, now: float) -> tuple[App, Snapshot]:
    """Raises ValueError where the uid is taken, LookupError where the app is gone."""
    fetchrow = batch.connection.fetchrow
    metadata = to_json(app.metadata)
    try:
        if app.key == 0:
            created = app.created or now
            row = await fetchrow(
                _SQL["insert_app"],
                *(identifier, app.uid, app.name, metadata, app.throttle_rate, app.declared, created, now),
            )
            assert row is not None
            app = msgspec.structs.replace(app, key=row[0], id=identifier, created=created, updated=now)
            return app, await snapshot_of(batch.connection, [app.key])
        row = await fetchrow(
            _SQL["update_app"], app.uid, app.name, metadata, app.throttle_rate, app.declared, now, app.key
        )
    except asyncpg.UniqueViolationError:
        raise ValueError(f"another app has the uid {app.uid!r}") from None
    except asyncpg.DataError as error:
        raise ValueError(f"it cannot be stored: {error}") from None
    if row is None:
        raise LookupError("the app is gone")
    app = msgspec.structs.replace(app, id=row[0], created=row[1], updated=now)
    return app, await snapshot_of(batch.connection, [app.key])


async def put_endpoint(
    batch: Batch, endpoint: Endpoint, identifier: int, now: float, sealer: Sealer
) -> tuple[Endpoint, Snapshot]:
    """Raises ValueError where the uid is taken in the app, LookupError where the app or the endpoint is gone."""
    fetchrow = batch.connection.fetchrow
    if await fetchrow(_SQL["touch_app"], endpoint.app) is None:
        raise LookupError("the app is gone")
    e = endpoint
    event_types, channels = names_or_null(e.event_types), names_or_null(e.channels)
    plain = Columns(to_json(e.headers), to_json(e.secrets), to_json(e.settings))
    bound_to = await batch.connection.fetchval(_SQL["id_of_endpoint"], e.key) if e.key else identifier
    headers, secrets, settings = sealed(sealer, bound_to, plain)
    metadata = to_json(e.metadata)
    try:
        if e.key == 0:
            created = e.created or now
            row = await fetchrow(
                _SQL["insert_endpoint"],
                identifier, e.app, e.uid, e.url, e.description, event_types, channels, headers, secrets,
                e.disabled, e.version, e.rate_limit, metadata, e.declared, created, now, settings,
            )  # fmt: skip
            assert row is not None
            e = msgspec.structs.replace(e, key=row[0], id=identifier, created=created, updated=now)
            return e, await snapshot_of(batch.connection, [e.app])
        row = await fetchrow(
            _SQL["update_endpoint"],
            e.uid, e.url, e.description, event_types, channels, headers, secrets,
            e.disabled, e.version, e.rate_limit, metadata, e.declared, now, settings, e.key, e.app,
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise ValueError(f"another endpoint of the app has the uid {e.uid!r}") from None
    except asyncpg.DataError as error:
        raise ValueError(f"it cannot be stored: {error}") from None
    if row is None:
        raise LookupError("the endpoint is gone")
    e = msgspec.structs.replace(e, id=row[0], created=row[1], updated=now)
    return e, await snapshot_of(batch.connection, [e.app])


async def delete_app(batch: Batch, app: int) -> tuple[None, Snapshot]:
    await batch.connection.execute(_SQL["delete_endpoints_of_app"], app)
    await batch.connection.execute(_SQL["delete_app"], app)
    return None, await snapshot_of(batch.connection, [app])


async def delete_endpoint(batch: Batch, endpoint: int) -> tuple[None, Snapshot]:
    row = await batch.connection.fetchrow(_SQL["touch_app_of"], endpoint)
    await batch.connection.execute(_SQL["delete_endpoint"], endpoint)
    return None, await snapshot_of(batch.connection, [] if row is None else [row[0]])


async def resend(batch: Batch, message: int, endpoint: int, due: float) -> Delivery | None:
    app = await batch.connection.fetchval(_SQL["can_resend"], message, endpoint)
    if app is None:
        return None
    tries = await batch.connection.fetchval(_SQL["resend"], app, message, endpoint, due)
    return Delivery(message, endpoint, State.PENDING, tries, due, manual=True, since=due, batch=0)
