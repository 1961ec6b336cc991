"""Apps and endpoints in memory: the nearest part of the store, read on every message.

Owned by the store, which changes it on the event loop after each commit. Everyone else only reads.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from gatepost import ids
from gatepost.model import App, Endpoint


class Directory:
    """Finds apps and endpoints by key, id and uid; `endpoints_of` an app in the order they were made."""

    __slots__ = ("_app_names", "_endpoint_names", "_listeners", "_of_app", "app_ids", "apps", "endpoints")

    def __init__(self) -> None:
        self.apps: dict[int, App] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self.app_ids: list[int] = []  # ascending: a list of apps is cut from here, whatever their number
        self._app_names: dict[str, App] = {}  # by `app_…` and by uid
        self._endpoint_names: dict[tuple[int, str], Endpoint] = {}
        self._of_app: dict[int, tuple[Endpoint, ...]] = {}
        self._listeners: list[Callable[[int, Endpoint | None], None]] = []

    def app(self, name: str) -> App | None:
        """By id (`app_…`) or uid."""
        return self._app_names.get(name)

    def app_name(self, key: int) -> str:
        """What expressions and links call the app with this key: its uid, or its id where it has none; "" for one that
        is gone."""
        app = self.apps.get(key)
        if app is None:
            return ""
        return ids.encode("app", app.id) if app.uid is None else app.uid

    def endpoint(self, app: int, name: str) -> Endpoint | None:
        """By id (`ep_…`) or uid, in the app with this key."""
        return self._endpoint_names.get((app, name))

    def endpoints_of(self, app: int) -> tuple[Endpoint, ...]:
        return self._of_app.get(app, ())

    def watch(self, listener: Callable[[int, Endpoint | None], None]) -> None:
        """`listener(key, endpoint)` hears of every endpoint that was put, and of a deleted one with None."""
        self._listeners.append(listener)

    # the owner's side

    def load(self, apps: Iterable[App], endpoints: Iterable[Endpoint]) -> None:
        for app in apps:
            self.put_app(app)
        for endpoint in endpoints:
            self.put_endpoint(endpoint)

    def put_app(self, app: App) -> None:
        old = self.apps.get(app.key)
        if old is None:
            insort(self.app_ids, app.id)
        elif old.uid is not None:
            self._app_names.pop(old.uid, None)
        self.apps[app.key] = app
        if old is not None and old.throttle_rate != app.throttle_rate:
            for endpoint in self._of_app.get(app.key, ()):
                for listener in self._listeners:
                    listener(endpoint.key, endpoint)
        self._app_names[ids.encode("app", app.id)] = app
        if app.uid is not None:
            self._app_names[app.uid] = app

    def drop_app(self, key: int) -> None:
        app = self.apps.pop(key, None)
        if app is None:
            return
        del self.app_ids[bisect_left(self.app_ids, app.id)]
        self._app_names.pop(ids.encode("app", app.id), None)
        if app.uid is not None:
            self._app_names.pop(app.uid, None)
        for endpoint in self._of_app.get(key, ()):
            self.drop_endpoint(endpoint.key)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        old = self.endpoints.get(endpoint.key)
        siblings = self._of_app.get(endpoint.app, ())
        if old is None:
            siblings = (*siblings, endpoint)
        else:
            siblings = tuple(endpoint if e.key == endpoint.key else e for e in siblings)
            if old.uid is not None:
                self._endpoint_names.pop((old.app, old.uid), None)
        self._of_app[endpoint.app] = siblings
        self.endpoints[endpoint.key] = endpoint
        self._endpoint_names[endpoint.app, ids.encode("ep", endpoint.id)] = endpoint
        if endpoint.uid is not None:
            self._endpoint_names[endpoint.app, endpoint.uid] = endpoint
        for listener in self._listeners:
            listener(endpoint.key, endpoint)

    def drop_endpoint(self, key: int) -> None:
        endpoint = self.endpoints.pop(key, None)
        if endpoint is None:
            return
        self._of_app[endpoint.app] = tuple(e for e in self._of_app[endpoint.app] if e.key != key)
        self._endpoint_names.pop((endpoint.app, ids.encode("ep", endpoint.id)), None)
        if endpoint.uid is not None:
            self._endpoint_names.pop((endpoint.app, endpoint.uid), None)
        for listener in self._listeners:
            listener(key, None)
