"""Apps and endpoints that the file declares: put into the store at start and at every reload.

What the file says wins, and the API cannot change it (409). What the file no longer names is disabled, never deleted:
its messages and attempts stay.
"""

from __future__ import annotations

import msgspec

from gatepost import log
from gatepost.clock import Clock
from gatepost.config.schema import AppDecl, Config, EndpointDecl
from gatepost.model import App, Endpoint, Secret
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.stores.base import Store


async def declare(config: Config, store: Store, clock: Clock) -> None:
    """Make the store's declared objects those of `config`. Writes only what differs."""
    for uid, decl in config.apps.items():
        app = await _put_app(uid, decl, store, clock)
        named = set()
        for endpoint in decl.endpoints:
            named.add(endpoint.uid)
            await _put_endpoint(app, endpoint, store, clock)
        for known in store.directory.endpoints_of(app.key):
            if known.declared and known.uid not in named:
                await _disable(known, store, clock)
    for app in list(store.directory.apps.values()):
        if app.declared and app.uid not in config.apps:
            for known in store.directory.endpoints_of(app.key):
                if known.declared:
                    await _disable(known, store, clock)


async def _put_app(uid: str, decl: AppDecl, store: Store, clock: Clock) -> App:
    now = clock.now()
    old = store.directory.app(uid)
    if old is None:
        return await store.put_app(
            App(key=0, id=0, name=decl.name or uid, uid=uid, declared=True, created=now, updated=now)
        )
    new = msgspec.structs.replace(old, name=decl.name or uid, declared=True)
    return old if new == old else await store.put_app(msgspec.structs.replace(new, updated=now))


async def _put_endpoint(app: App, decl: EndpointDecl, store: Store, clock: Clock) -> None:
    now = clock.now()
    old = store.directory.endpoint(app.key, decl.uid)
    if old is None:
        old = Endpoint(key=0, id=0, app=app.key, url=_url(decl), uid=decl.uid, created=now, updated=now)
    secrets = old.secrets
    if decl.secret is not None and (not secrets or secrets[0].value != str(decl.secret)):
        secrets = (Secret(str(decl.secret)),)
    elif not secrets:
        secrets = (Secret(STANDARD_WEBHOOKS.new_secret()),)
    new = msgspec.structs.replace(
        old,
        url=_url(decl),
        description=decl.description,
        event_types=None if decl.event_types is None else frozenset(decl.event_types),
        channels=None if decl.channels is None else frozenset(decl.channels),
        headers=dict(decl.headers),
        secrets=secrets,
        settings=msgspec.structs.replace(
            old.settings,
            filter=decl.filter or "",
            transform=decl.transform or "",
            payload=decl.payload,
            encoding="" if decl.encoding == "none" else decl.encoding,
            destination=decl.destination,
            options=dict(decl.options),
        ),
        disabled=False,
        declared=True,
    )
    if new != old or new.key == 0:
        await store.put_endpoint(msgspec.structs.replace(new, updated=now))


def _url(decl: EndpointDecl) -> str:
    """What attempts show as where it went, for what is no webhook too."""
    return f"destination:{decl.destination}" if decl.url is None else decl.url


async def _disable(endpoint: Endpoint, store: Store, clock: Clock) -> None:
    if not endpoint.disabled:
        await store.put_endpoint(msgspec.structs.replace(endpoint, disabled=True, updated=clock.now()))
        log.event("endpoint_disabled", endpoint=endpoint.uid, reason="it is no longer declared in the configuration")
