"""What time does to what is kept: bodies of messages and attempts are forgotten once they are old enough.

In small steps, oldest first, with a pause behind each: no message ever waits for more than one step. A rule is one time
after which something goes; a message may have come with a time of its own. How far a rule has come is marked in the
store with each step, so that a node that was killed goes on where it was; a rule that was changed begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from gatepost import ids
from gatepost.clock import Clock
from gatepost.config.retention import Retention as Settings
from gatepost.errors import StoreUnavailable
from gatepost.stores.base import Store
from gatepost.stores.keeping import Body, What

ROWS: Final = 250  # looked at in a step; nulling bodies of 1 KiB holds the writer for 1 ms, fsync included
BYTES: Final = 1_048_576  # of bodies in a step: each page of a large one is let go of by itself
PAUSE: Final = 0.025  # seconds behind a step: 10,000 rows a second at most
REMEMBERED: Final = 100_000  # pairs of app and event type
LOOK: Final = 60.0  # seconds between two looks where nothing is left to do
WHATS: Final[tuple[What, ...]] = ("payloads", "responses")


class _Override(NamedTuple):
    app: int | None  # the app's key
    names: frozenset[str]
    prefixes: tuple[str, ...]  # with their dot
    seconds: dict[What, float | None]

    def fits(self, app: int, event_type: str) -> bool:
        if self.app is not None and self.app != app:
            return False
        if not self.names and not self.prefixes:
            return True
        return event_type in self.names or event_type.startswith(self.prefixes)


class Rules:
    """Who is kept for how long. Immutable, but for a memory of what was asked."""

    def __init__(self, settings: Settings, apps: dict[str, int]) -> None:
        """`apps` gives the keys of the apps that overrides name, as far as there are any."""
        self._default: dict[What, float] = {"payloads": settings.payloads, "responses": settings.responses}
        self._overrides = [
            _Override(
                None if each.app is None else apps[each.app],
                frozenset(name for name in each.event_types if not name.endswith(".*")),
                tuple(name[:-1] for name in each.event_types if name.endswith(".*")),
                {"payloads": each.payloads, "responses": each.responses},
            )
            for each in settings.overrides
            if each.app is None or each.app in apps
        ]
        self._known: dict[tuple[What, int, str], float] = {}
        text = msgspec.json.encode([settings, sorted(apps.items())])
        self.digest = blake2b(text, digest_size=8).hexdigest()

    def seconds(self, what: What, app: int, event_type: str) -> float:
        place = (what, app, event_type)
        found = self._known.get(place)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[place] = self._find(what, app, event_type)
        return found

    def times(self, what: What) -> list[float]:
        """Every time that may come out, the shortest first."""
        own = {each.seconds[what] for each in self._overrides} - {None}
        return sorted({self._default[what], *(seconds for seconds in own if seconds is not None)})

    def _find(self, what: What, app: int, event_type: str) -> float:
        for each in self._overrides:
            if each.fits(app, event_type):
                seconds = each.seconds[what]
                return self._default[what] if seconds is None else seconds
        return self._default[what]


class Retention:
    """`start` it once the store is open, `stop` it before the store is closed. `forgotten` counts bodies."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._rules: Rules | None = None
        self._marks: dict[str, int] = {}
        self.forgotten = 0

    def use(self, settings: Settings) -> None:
        """Go by other settings from the next step on."""
        self._settings = settings

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="gatepost-retention")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def step(self) -> bool:
        """One step of each rule. False where nothing is left to do now. Raises StoreUnavailable."""
        if not self._store.lanes.owns(0):
            return False  # one node of a cluster does it
        rules = await self._look_up()
        more = await self._step_overdue()
        for what in WHATS:
            for seconds in rules.times(what):
                more |= await self._step_rule(rules, what, seconds)
        more |= await self._step_audit()
        return more

    async def _run(self) -> None:
        while True:
            try:
                more = await self.step()
            except StoreUnavailable:
                more = False  # it has said so by itself
            await asyncio.sleep(PAUSE if more else LOOK)

    async def _look_up(self) -> Rules:
        directory = self._store.directory
        named = {each.app for each in self._settings.overrides if each.app is not None}
        apps = {name: app.key for name in named if (app := directory.app(name)) is not None}
        rules = Rules(self._settings, apps)
        if self._rules is None or self._rules.digest != rules.digest:
            self._marks = await self._store.retention_marks()
            marks = [_mark(rules, what, seconds) for what in WHATS for seconds in rules.times(what)]
            await self._store.keep_marks(marks)
            self._rules = rules
        return self._rules

    async def _step_rule(self, rules: Rules, what: What, seconds: float) -> bool:
        mark = _mark(rules, what, seconds)
        reached = self._marks.get(mark, 0)
        before = ids.first_at(max(0.0, self._clock.now() - seconds))
        found = await self._store.bodies(what, reached, before, ROWS)
        if not found:
            return False
        step = list(_cut(found))
        gone = [
            body for body in step
            if body.size and body.until is None and rules.seconds(what, body.app, body.event_type) == seconds
        ]  # fmt: skip
        reached = step[-1].id
        await self._store.forget(what, gone, mark, reached)
        self._marks[mark] = reached
        self.forgotten += len(gone)
        return True

    async def _step_overdue(self) -> bool:
        found = list(_cut(await self._store.overdue_payloads(self._clock.now(), ROWS)))
        if found:
            await self._store.forget_overdue(found)
            self.forgotten += len(found)
        return bool(found)

    async def _step_audit(self) -> bool:
        before = ids.first_at(max(0.0, self._clock.now() - self._settings.audit))
        return await self._store.drop_audit(before, ROWS) == ROWS


def _mark(rules: Rules, what: What, seconds: float) -> str:
    return f"{what} {seconds:g}s {rules.digest}"


def _cut(bodies: Sequence[Body]) -> Iterator[Body]:
    """As many as are a step by their bytes; one at least."""
    size = 0
    for body in bodies:
        yield body
        size += body.size
        if size >= BYTES:
            return
