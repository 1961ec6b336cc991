"""What a message needs beside its list of endpoints: those that are disabled and would get it (their deliveries are
SKIPPED, so that nothing vanishes), and for endpoints that get their messages in order, in which one.

Most apps have neither: for them this costs a look-up and a comparison a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from gatepost.errors import ExpressionError
from gatepost.events.match import Matcher
from gatepost.expressions.message import MessageEnvironment, compile_transform
from gatepost.expressions.program import Program
from gatepost.model import Endpoint
from gatepost.stores.base import NewMessage
from gatepost.stores.directory import Directory

CACHED_APPS: Final = 16_384  # of which it is known what is special about them
ONE_LINE: Final = 0  # the ordering key of an endpoint whose messages all go one after another


class Aside:
    """Completes messages. A directory makes a new tuple of an app's endpoints with every change: what is known of an
    app holds as long as its tuple is that same object."""

    __slots__ = ("_apps", "_directory")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._apps: dict[int, _Special] = {}

    def complete(self, message: NewMessage) -> None:
        """Set `skipped` and `orders` of a message that was matched."""
        endpoints = self._directory.endpoints_of(message.app)
        special = self._apps.get(message.app)
        if special is None or special.endpoints is not endpoints:
            if len(self._apps) >= CACHED_APPS:
                self._apps.clear()
            special = self._apps[message.app] = _Special(self._directory, message.app, endpoints)
        if special.nothing:
            return
        message.skipped = () if message.directed else special.skipped(message)
        message.orders = special.orders(message)


class _Special:
    """One app's endpoints, as far as something is special about them."""

    __slots__ = ("_app", "_directory", "_disabled", "_matcher", "_ordered", "endpoints", "nothing")

    def __init__(self, directory: Directory, app: int, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = endpoints
        self._app = app
        self._directory = directory
        self._disabled = Directory()
        known = directory.apps.get(app)
        if known is not None:
            self._disabled.put_app(known)
        disabled = [e for e in endpoints if e.disabled]
        for endpoint in disabled:
            self._disabled.put_endpoint(msgspec.structs.replace(endpoint, disabled=False))
        self._matcher = Matcher(self._disabled) if disabled else None
        self._ordered = {e.key: _program(e.settings.ordering) for e in endpoints if e.settings.ordering}
        self.nothing = not disabled and not self._ordered

    def skipped(self, message: NewMessage) -> Sequence[int]:
        """The disabled endpoints that it would go to."""
        if self._matcher is None:
            return ()
        return self._matcher.match(self._app, message.event_type, message.channels, message.payload)

    def orders(self, message: NewMessage) -> dict[int, int] | None:
        keys = [key for key in (*message.endpoints, *message.skipped) if key in self._ordered]
        if not keys:
            return None
        name = self._directory.app_name(self._app)
        env = MessageEnvironment(message.payload, message.event_type, message.channels, name)
        return {key: _ordering_key(self._ordered[key], env) for key in keys}


def _program(ordering: str) -> Program | None:
    """None: one line for all. So too where a stored expression cannot be compiled; the API refuses such a one."""
    if ordering == "endpoint":
        return None
    try:
        return compile_transform(ordering)
    except ExpressionError:
        return None


def _ordering_key(program: Program | None, env: MessageEnvironment) -> int:
    """A 63-bit number for the value; where there is none, the message stands in the line of those without one."""
    if program is None:
        return ONE_LINE
    try:
        value = program.evaluate_json(env)
    except ExpressionError:
        return ONE_LINE
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big") >> 1
