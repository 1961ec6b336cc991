"""A route whose service depends on the version that its policy `version` found."""

from __future__ import annotations

from gatepost.exchange import Exchange, Handler
from gatepost.policies.version import NOTE


class ByVersion(Handler):
    """Versions that name no service, and requests without a version, go to `otherwise`."""

    __slots__ = ("_by_version", "_otherwise")

    def __init__(self, otherwise: Handler, by_version: dict[str, Handler]) -> None:
        self._otherwise = otherwise
        self._by_version = by_version

    def handle(self, x: Exchange) -> None:
        self._of(x).handle(x)

    def client_gone(self, x: Exchange) -> None:
        self._of(x).client_gone(x)

    def _of(self, x: Exchange) -> Handler:
        version = x.notes.get(NOTE) if x.notes is not None else None
        return self._by_version.get(version, self._otherwise) if type(version) is str else self._otherwise
