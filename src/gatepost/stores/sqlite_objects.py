"""Cold writes of the SQLite store: apps, endpoints, resending. Each runs inside a transaction of the writer."""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from gatepost.lifecycle import State
from gatepost.model import App, Delivery, Endpoint
from gatepost.stores.queries import queries
from gatepost.stores.sealing import Columns, Sealer, sealed
from gatepost.stores.sqlite_batch import Batch
from gatepost.stores.sqlite_rows import names_or_null, to_json

_SQL: Final = queries("sqlite")


def put_app(batch: Batch, app: App, identifier: int, now: float) -> App:
    """Raises ValueError where the uid is taken, LookupError where the app is gone."""
    execute = batch.connection.execute
    metadata = to_json(app.metadata)
    try:
        if app.key == 0:
            created = app.created or now
            key = execute(
                _SQL["insert_app"],
                (identifier, app.uid, app.name, metadata, app.throttle_rate, app.declared, created, now),
            ).get
            return msgspec.structs.replace(app, key=key, id=identifier, created=created, updated=now)
        row = execute(
            _SQL["update_app"], (app.uid, app.name, metadata, app.throttle_rate, app.declared, now, app.key)
        ).fetchone()
    except apsw.ConstraintError:
        raise ValueError(f"another app has the uid {app.uid!r}") from None
    if row is None:
        raise LookupError("the app is gone")
    return msgspec.structs.replace(app, id=row[0], created=row[1], updated=now)


def put_endpoint(batch: Batch, endpoint: Endpoint, identifier: int, now: float, sealer: Sealer) -> Endpoint:
    """Raises ValueError where the uid is taken in the app, LookupError where the app or the endpoint is gone."""
    execute = batch.connection.execute
    if execute(_SQL["app_is_alive"], (endpoint.app,)).get is None:
        raise LookupError("the app is gone")
    e = endpoint
    event_types, channels = names_or_null(e.event_types), names_or_null(e.channels)
    plain = Columns(to_json(e.headers), to_json(e.secrets), to_json(e.settings))
    bound_to = execute(_SQL["id_of_endpoint"], (e.key,)).get if e.key else identifier
    headers, secrets, settings = sealed(sealer, bound_to, plain)
    metadata = to_json(e.metadata)
    try:
        if e.key == 0:
            created = e.created or now
            key = execute(
                _SQL["insert_endpoint"],
                (
                    identifier, e.app, e.uid, e.url, e.description, event_types, channels, headers, secrets,
                    e.disabled, e.version, e.rate_limit, metadata, e.declared, created, now, settings,
                ),
            ).get  # fmt: skip
            return msgspec.structs.replace(e, key=key, id=identifier, created=created, updated=now)
        row = execute(
            _SQL["update_endpoint"],
            (
                e.uid, e.url, e.description, event_types, channels, headers, secrets,
                e.disabled, e.version, e.rate_limit, metadata, e.declared, now, settings, e.key, e.app,
            ),
        ).fetchone()  # fmt: skip
    except apsw.ConstraintError:
        raise ValueError(f"another endpoint of the app has the uid {e.uid!r}") from None
    if row is None:
        raise LookupError("the endpoint is gone")
    return msgspec.structs.replace(e, id=row[0], created=row[1], updated=now)


def delete_app(batch: Batch, app: int) -> None:
    execute = batch.connection.execute
    batch.gone += [key for (key,) in execute(_SQL["delete_endpoints_of_app"], (app,))]
    execute(_SQL["delete_app"], (app,))


def delete_endpoint(batch: Batch, endpoint: int) -> None:
    batch.gone += [key for (key,) in batch.connection.execute(_SQL["delete_endpoint"], (endpoint,))]


def resend(batch: Batch, message: int, endpoint: int, due: float) -> Delivery | None:
    execute = batch.connection.execute
    if execute(_SQL["can_resend"], (message, endpoint)).get is None:
        return None
    tries = execute(_SQL["resend"], (message, endpoint, due, due)).get
    return Delivery(message, endpoint, State.PENDING, tries, due, manual=True, since=due, batch=0)
