"""What the delivery engine has to say: operational events, with the fields that Svix's have.

Endpoints of the app `gatepost` make none about themselves: a failing alert would alert about its own failure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gatepost import ids
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint
from gatepost.notices import OWN_APP, SILENT, Reporter
from gatepost.stores.base import Completion
from gatepost.stores.directory import Directory

FAILING: Final = 4  # failures after which `message.attempt.failing` is told


class Reports:
    """Owned by the engine; `reporter` is set once there is one."""

    __slots__ = ("_directory", "reporter")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.reporter: Reporter = SILENT

    def attempt(self, endpoint: Endpoint, completion: Completion, *, counted: bool) -> None:
        """An attempt is on disk. Call it where it failed, or came after `FAILING` others."""
        tries = completion.tries
        if completion.attempt.ok:
            kind = "message.attempt.recovered" if tries > FAILING else ""
        elif completion.state is State.EXHAUSTED:
            kind = "message.attempt.exhausted"
        else:
            failing = tries == FAILING and counted and completion.state is State.PENDING
            kind = "message.attempt.failing" if failing else ""
        app = self._app(endpoint)
        if not kind or app is None:
            return
        attempt = completion.attempt
        data = _names(app, endpoint) | {
            "msgId": ids.encode("msg", attempt.message),
            "lastAttempt": {
                "id": ids.encode("atmpt", completion.id),
                "responseStatusCode": attempt.status,
                "timestamp": _moment(attempt.started),
            },
        }
        self.reporter.report(kind, data)

    def disabled(self, endpoint: Endpoint, now: float, fail_since: float | None, reason: str) -> None:
        app = self._app(endpoint)
        if app is not None:
            since = now if fail_since is None else fail_since
            data = _names(app, endpoint) | {"failSince": _moment(since), "reason": reason}
            self.reporter.report("endpoint.disabled", data)

    def enabled(self, endpoint: Endpoint) -> None:
        app = self._app(endpoint)
        if app is not None:
            self.reporter.report("endpoint.enabled", _names(app, endpoint))

    def backlog(self, endpoint: Endpoint, held: int) -> None:
        """More waits than memory has room for."""
        app = self._app(endpoint)
        if app is not None:
            self.reporter.report("backlog.growing", _names(app, endpoint) | {"waiting": held})

    def _app(self, endpoint: Endpoint) -> App | None:
        app = self._directory.apps.get(endpoint.app)
        return None if app is None or app.uid == OWN_APP else app


def _names(app: App, endpoint: Endpoint) -> dict[str, Any]:
    names = {"appId": ids.encode("app", app.id), "endpointId": ids.encode("ep", endpoint.id)}
    if app.uid is not None:
        names["appUid"] = app.uid
    if endpoint.uid is not None:
        names["endpointUid"] = endpoint.uid
    return names


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
