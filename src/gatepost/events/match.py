"""Which endpoints of an app get a message. Pure: endpoints in, keys out.

- A disabled endpoint gets nothing.
- An endpoint with event types gets only messages of one of them.
- An endpoint with channels gets only messages that carry one of them; one without gets messages of any and of none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from gatepost.model import Endpoint
from gatepost.stores.directory import Directory

# Up to this many endpoints a scan (0.2 µs each) costs no more than the index's look-up.
SCAN: Final = 8
# Indexes of the apps that published last; one is rebuilt for 0.4 ms a thousand endpoints.
CACHED_APPS: Final = 1_024


def wants(endpoint: Endpoint, event_type: str, channels: Collection[str]) -> bool:
    """Whether this one endpoint gets a message."""
    return (
        not endpoint.disabled
        and (endpoint.event_types is None or event_type in endpoint.event_types)
        and (endpoint.channels is None or not endpoint.channels.isdisjoint(channels))
    )


class Matcher:
    """Matches against a directory, through an index where an app has many endpoints.

    The directory makes a new tuple of an app's endpoints with every change; an index holds as long as its tuple is
    that same object.
    """

    __slots__ = ("_directory", "_indexes")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._indexes: dict[int, _Index] = {}

    def match(self, app: int, event_type: str, channels: Collection[str] = ()) -> Sequence[int]:
        """Keys of the endpoints of the app with this key, in the order they were made."""
        endpoints = self._directory.endpoints_of(app)
        if len(endpoints) <= SCAN:
            return [e.key for e in endpoints if wants(e, event_type, channels)]
        index = self._indexes.get(app)
        if index is None or index.endpoints is not endpoints:
            self._indexes.pop(app, None)
            if len(self._indexes) >= CACHED_APPS:
                del self._indexes[next(iter(self._indexes))]
            index = self._indexes[app] = _Index(endpoints)
        return index.match(event_type, channels)


class _Index:
    """One app's endpoints by event type, then by channel. A type is looked into when it first comes; types that no
    endpoint names share one slice, so that the index is bounded by the configuration and not by what is sent."""

    __slots__ = ("_named", "_slices", "endpoints")

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = endpoints
        self._named = frozenset(t for e in endpoints if e.event_types is not None for t in e.event_types)
        self._slices: dict[str | None, _Slice] = {}

    def match(self, event_type: str, channels: Collection[str]) -> Sequence[int]:
        name = event_type if event_type in self._named else None
        part = self._slices.get(name)
        if part is None:
            part = self._slices[name] = _Slice(
                e for e in self.endpoints if not e.disabled and (e.event_types is None or name in e.event_types)
            )
        if not channels or not part.by_channel:
            return part.open
        found = [part.by_channel[c] for c in channels if c in part.by_channel]
        if not found:
            return part.open
        places = set(part.open_places).union(*found)
        keys = part.keys
        return [keys[place] for place in sorted(places)]


class _Slice:
    """The endpoints that want one event type: those open to every channel, and those of each channel by place."""

    __slots__ = ("by_channel", "keys", "open", "open_places")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.keys: list[int] = []
        self.open_places: list[int] = []
        self.by_channel: dict[str, list[int]] = {}
        for place, endpoint in enumerate(endpoints):
            self.keys.append(endpoint.key)
            if endpoint.channels is None:
                self.open_places.append(place)
            else:
                for channel in endpoint.channels:
                    self.by_channel.setdefault(channel, []).append(place)
        self.open: tuple[int, ...] = tuple(self.keys[place] for place in self.open_places)
