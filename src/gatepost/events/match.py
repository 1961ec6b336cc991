"""Which endpoints of an app get a message. Pure: endpoints in, keys out.

- A disabled endpoint gets nothing.
- An endpoint with event types gets only messages of one of them. `order.*` is every type that begins with `order.`.
- An endpoint with channels gets only messages that carry one of them; one without gets messages of any and of none.
- An endpoint with a filter gets only messages for which it is true. Where it fails on a message, the endpoint gets
  the message: its delivery's attempt says why it failed (`deliveries/shape.py`). Nothing is lost to a mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final

from gatepost.errors import ExpressionError
from gatepost.expressions.message import MessageEnvironment, compile_filter
from gatepost.expressions.program import Program
from gatepost.model import Endpoint
from gatepost.stores.directory import Directory

# Up to this many endpoints a scan (0.2 µs each) costs no more than the index's look-up.
SCAN: Final = 8
# Indexes of the apps that published last; one is rebuilt for 0.4 ms a thousand endpoints.
CACHED_APPS: Final = 1_024
# Compiled filters, by their text; compiling one again takes 150 µs.
CACHED_FILTERS: Final = 16_384


def wants(endpoint: Endpoint, event_type: str, channels: Collection[str]) -> bool:
    """Whether this one endpoint gets a message, as far as its filter has no say."""
    types = endpoint.event_types
    return (
        not endpoint.disabled
        and (types is None or event_type in types or not types.isdisjoint(prefixes(event_type)))
        and (endpoint.channels is None or not endpoint.channels.isdisjoint(channels))
    )


@lru_cache(maxsize=16_384)
def prefixes(event_type: str) -> tuple[str, ...]:
    """What names a type beside its own name: `order.line.added` → `order.*`, `order.line.*`."""
    return tuple(event_type[: at + 1] + "*" for at, character in enumerate(event_type) if character == ".")


class Matcher:
    """Matches against a directory, through an index where an app has many endpoints.

    The directory makes a new tuple of an app's endpoints with every change; an index holds as long as its tuple is
    that same object.
    """

    __slots__ = ("_directory", "_indexes", "_programs")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._indexes: dict[int, _Index] = {}
        self._programs: dict[str, Program] = {}

    def match(self, app: int, event_type: str, channels: Collection[str] = (), payload: bytes = b"{}") -> Sequence[int]:
        """Keys of the endpoints of the app with this key, in the order they were made."""
        endpoints = self._directory.endpoints_of(app)
        if len(endpoints) <= SCAN:
            found = [e for e in endpoints if wants(e, event_type, channels)]
            filters = {e.key: e.settings.filter for e in found if e.settings.filter}
            keys: Sequence[int] = [e.key for e in found]
        else:
            index = self._indexes.get(app)
            if index is None or index.endpoints is not endpoints:
                self._indexes.pop(app, None)
                if len(self._indexes) >= CACHED_APPS:
                    del self._indexes[next(iter(self._indexes))]
                index = self._indexes[app] = _Index(endpoints)
            keys, filters = index.match(event_type, channels)
        return self._filtered(keys, filters, app, event_type, channels, payload) if filters else keys

    def _filtered(
        self,
        keys: Sequence[int],
        filters: dict[int, str],
        app: int,
        event_type: str,
        channels: Collection[str],
        payload: bytes,
    ) -> list[int]:
        env = MessageEnvironment(payload, event_type, tuple(channels), self._directory.app_name(app))
        answers: dict[str, bool] = {}  # many endpoints often have the same filter
        kept = []
        for key in keys:
            text = filters.get(key, "")
            if text and text not in answers:
                answers[text] = self._passes(text, env)
            if not text or answers[text]:
                kept.append(key)
        return kept

    def _passes(self, text: str, env: MessageEnvironment) -> bool:
        program = self._programs.get(text)
        try:
            if program is None:
                program = compile_filter(text)
                if len(self._programs) >= CACHED_FILTERS:
                    self._programs.clear()
                self._programs[text] = program
            return bool(program.evaluate(env))
        except ExpressionError:
            return True  # its delivery is made, and its attempt fails with the reason


class _Index:
    """One app's endpoints by event type, then by channel. A type is looked into when it first comes; types that no
    endpoint names share one slice, so that the index is bounded by the configuration and not by what is sent."""

    __slots__ = ("_named", "_prefixed", "_slices", "endpoints")

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = endpoints
        self._named = frozenset(t for e in endpoints if e.event_types is not None for t in e.event_types)
        self._prefixed = any(name.endswith(".*") for name in self._named)
        self._slices: dict[tuple[str, ...], _Slice] = {}

    def match(self, event_type: str, channels: Collection[str]) -> tuple[Sequence[int], dict[int, str]]:
        """The keys, and the filters of those that have one."""
        names: tuple[str, ...] = (event_type,) if event_type in self._named else ()
        if self._prefixed:
            names += tuple(prefix for prefix in prefixes(event_type) if prefix in self._named)
        part = self._slices.get(names)
        if part is None:
            part = self._slices[names] = _Slice(
                e
                for e in self.endpoints
                if not e.disabled and (e.event_types is None or not e.event_types.isdisjoint(names))
            )
        if not channels or not part.by_channel:
            return part.open, part.filters
        found = [part.by_channel[c] for c in channels if c in part.by_channel]
        if not found:
            return part.open, part.filters
        places = set(part.open_places).union(*found)
        keys = part.keys
        return [keys[place] for place in sorted(places)], part.filters


class _Slice:
    """The endpoints that want one event type: those open to every channel, and those of each channel by place."""

    __slots__ = ("by_channel", "filters", "keys", "open", "open_places")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.keys: list[int] = []
        self.open_places: list[int] = []
        self.by_channel: dict[str, list[int]] = {}
        self.filters: dict[int, str] = {}
        for place, endpoint in enumerate(endpoints):
            self.keys.append(endpoint.key)
            if endpoint.settings.filter:
                self.filters[endpoint.key] = endpoint.settings.filter
            if endpoint.channels is None:
                self.open_places.append(place)
            else:
                for channel in endpoint.channels:
                    self.by_channel.setdefault(channel, []).append(place)
        self.open: tuple[int, ...] = tuple(self.keys[place] for place in self.open_places)
