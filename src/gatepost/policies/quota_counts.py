"""What quotas have counted: in memory, written to the store every second, read at start.

    quota ──► QuotaCounts (one a scope) ──► QuotaBook.flush ──► store

A scope says which quota it is; it does not hold the limit, so that one that is raised goes on where it was. After a
`kill -9` the last second is forgotten, in the caller's favour; a stop in order forgets nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from gatepost.policies.periods import Period, Rolling, period_named
from gatepost.stores.base import AccessStore, QuotaCount

MAX_KEYS: Final = 1 << 20  # keys of one scope; newcomers beyond share counts
_SHARED: Final = 1_024
_MOST_TOLD: Final = 10_000
ROWS_A_FLUSH: Final = 1_000  # of one transaction: a few milliseconds


class QuotaCounts:
    """The counts of one scope, by key. Owned by its book."""

    __slots__ = ("_changed", "_counts", "_max_keys", "_next_look", "_told", "period")

    def __init__(self, period: Period, kept: dict[str, array[int]], max_keys: int = MAX_KEYS) -> None:
        self.period = period
        self._counts = kept
        self._max_keys = max_keys
        self._changed: set[str] = set()
        self._next_look = 0.0
        self._told: dict[tuple[str, int], float] = {}  # until when, Unix seconds

    def used(self, key: str, now: float) -> int:
        """Consumes nothing."""
        count = self._counts.get(key) or self._counts.get(self._place(key))
        return 0 if count is None else self.period.used(count, now)

    def take(self, key: str, limit: int, now: float) -> int:
        """Count one more, unless `limit` are used: how many are used then, or -1."""
        counts = self._counts
        count = counts.get(key)
        if count is None:
            key = self._place(key)
            count = counts.get(key)
        if count is None:
            counts[key] = self.period.start(now)
            used = 1
        else:
            used = self.period.spend(count, limit, now)
            if used < 0:
                return used
        self._changed.add(key)
        return used

    def renews(self, key: str, now: float) -> float:
        """Seconds until there is more."""
        count = self._counts.get(key) or self._counts.get(self._place(key))
        return 0.0 if count is None else self.period.renews(count, now)

    def first(self, key: str, mark: int, now: float) -> bool:
        """Whether a count reaches this mark for the first time in its period. One of a calendar's period does so once
        by itself; a rolling one sinks, and may rise to it again."""
        if not isinstance(self.period, Rolling):
            return True
        told = self._told
        if told.get((key, mark), 0.0) > now:
            return False
        if len(told) >= _MOST_TOLD:
            del told[next(iter(told))]
        told[key, mark] = now + self.period.window
        return True

    def changes(self, most: int) -> list[tuple[str, array[int]]]:
        """At most `most` counts that changed since they were last asked for."""
        changed = self._changed
        return [(key, self._counts[key]) for key in (changed.pop() for _ in range(min(most, len(changed))))]

    def again(self, keys: Iterable[str]) -> None:
        """These could not be written."""
        self._changed.update(keys)

    def forget(self, now: float) -> None:
        """Let go of what counts no more, where the table is filling up: a look a minute, for it takes 0.1 s then."""
        if len(self._counts) * 2 >= self._max_keys and now >= self._next_look:
            self._next_look = now + 60.0
            over = [key for key, count in self._counts.items() if self.period.ends(count) <= now]
            for key in over:
                del self._counts[key]
            self._changed.difference_update(over)

    def _place(self, key: str) -> str:
        if key not in self._counts and len(self._counts) >= self._max_keys:
            # A flood of invented keys costs neither memory nor those who are known.
            return f"\0{crc32(key.encode()) % _SHARED}"
        return key


class QuotaBook:
    """All counts of a node. `flush` it every second, and once more before the store is closed."""

    def __init__(self, kept: Iterable[QuotaCount] = ()) -> None:
        self._scopes: dict[str, QuotaCounts] = {}
        self._kept: dict[str, dict[str, array[int]]] = {}  # of scopes that nobody asked for yet
        for scope, key, state, _ in kept:
            count = array("q")
            count.frombytes(state)
            self._kept.setdefault(scope, {})[key] = count

    def counts(self, scope: str, period: str | float) -> QuotaCounts:
        """The counts of one scope. The period is part of what makes it this one."""
        name = f"{scope} {period}"
        counts = self._scopes.get(name)
        if counts is None:
            counts = self._scopes[name] = QuotaCounts(period_named(period), self._kept.pop(name, {}))
        return counts

    async def flush(self, store: AccessStore, now: float) -> None:
        """Write what changed since the last time. Raises StoreUnavailable; then all of it will be written again."""
        for scope, counts in self._scopes.items():
            while changed := counts.changes(ROWS_A_FLUSH):
                rows = [QuotaCount(scope, key, count.tobytes(), counts.period.ends(count)) for key, count in changed]
                try:
                    await store.put_quota_counts(rows)
                except BaseException:
                    counts.again(key for key, _ in changed)
                    raise
            counts.forget(now)
