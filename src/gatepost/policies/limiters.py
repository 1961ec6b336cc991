"""Rate limiters, as pure code over the time they are given: who may pass, and when the next one may.

Four algorithms behind one shape (`Limiter`), each kept by key in a bounded table:

- `SlidingLog`, exact: admitted is who has fewer than `limit` admissions in the window behind it. It keeps 8 bytes for
  each admission that still counts, so what it costs is bounded by the traffic itself.
- `SlidingBuckets`, for limits above EXACT_UP_TO: counts in 128 buckets of the window and always counts one bucket more
  than the window holds. So it never admits more than `limit` in any window either, and at most a 128th of the
  window later than the log would. 1 KiB a key.
- `Gcra`: an even flow with `burst` at once (the leaky bucket of ATM Forum TM 4.0). One number a key.
- `FixedWindow`: a key's first request begins a window; where two windows meet, up to twice `limit` may pass in the time
  of one. Two numbers a key.

A table does not keep keys but their 64-bit hashes (salted by the process): it holds nobody's address, and two of a
million keys share a count with a probability of 3 in 100 million. Keys whose count has run out are forgotten in small
steps while others come. Where more than `MAX_KEYS` count at once, the newcomers share 1,024 counts: who is already
known is counted exactly, nobody gets more than the limit, and memory stays as it is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from copy import copy
from math import ceil, inf
from typing import Any, Final, Generic, TypeAlias, TypeVar

EXACT_UP_TO: Final = 1_024
MAX_KEYS: Final = 1 << 20  # 120 MiB where each was seen once
_SHARDS: Final = 64  # a dictionary of 16,384 grows in 0.4 ms, one of a million in 32
_SHARED: Final = 1_024
_BUCKETS: Final = 128
_NO_SHARDS: Final[Sequence[dict[int, Any]]] = ({},) * _SHARDS  # read only
_TINY: Final = 1e-9  # a wait that rounding made nothing

_State = TypeVar("_State")


# What is left after an admission: a number of requests, and seconds until there may be more.
Usage: TypeAlias = tuple[int, float]


class Limiter(Generic[_State]):
    """Admissions by key. `now` is in monotonic seconds; one that lies before the latest counts as the latest.

    A subclass says what a key's state is; this class owns the states and forgets them.
    """

    __slots__ = ("__weakref__", "_latest", "_max_keys", "_queue", "_shards", "_takes", "limit", "window")

    def __init__(self, limit: int, window: float, max_keys: int = MAX_KEYS) -> None:
        self.limit = limit
        self.window = window
        self._latest = -inf
        self._max_keys = max_keys // _SHARDS
        self._shards: Sequence[dict[int, _State]] = _NO_SHARDS  # until the first key: 5 KiB for each of 10,000 routes
        self._queue: deque[int]  # every name once: the order in which they are looked at
        self._takes = 0

    @property
    def keys(self) -> int:
        """How many are in memory."""
        return sum(map(len, self._shards))

    def check(self, key: str, now: float) -> float:
        """0.0 if a request may pass at `now`, else the seconds to wait. Consumes nothing."""
        if now < self._latest:
            now = self._latest  # a request that waited for its body comes after later ones
        else:
            self._latest = now
        name = hash(key)
        shard = self._shards[name & _SHARDS - 1]
        state = shard.get(name)
        if state is None:
            state = shard.get(name & _SHARED - 1)
            if state is None:
                return 0.0
        return self._wait(state, now)

    def take(self, key: str, now: float) -> Usage:
        """Count a request that `check` let pass."""
        if now < self._latest:
            now = self._latest
        else:
            self._latest = now
        name = hash(key)
        shard = self._shards[name & _SHARDS - 1]
        state = shard.get(name)
        if state is None:
            return self._first(name, now)
        shard[name] = state = self._count(state, now)
        self._takes += 1
        if not self._takes & 15:
            self._forget(2)
        return self._usage(state, now)

    def check_and_take(self, key: str, now: float) -> Usage:
        """`check`, and `take` if it lets the request pass, with one look at the state. A refusal is (-1, seconds to
        wait)."""
        if now < self._latest:
            now = self._latest
        else:
            self._latest = now
        name = hash(key)
        shard = self._shards[name & _SHARDS - 1]
        state = shard.get(name)
        if state is None:
            shared = shard.get(name & _SHARED - 1)
            wait = 0.0 if shared is None else self._wait(shared, now)
            return (-1, wait) if wait else self._first(name, now)
        usage = self._admit(shard, name, state, now)
        if usage[0] >= 0:
            self._takes += 1
            if not self._takes & 15:
                self._forget(2)
        return usage

    def _first(self, name: int, now: float) -> Usage:
        """A key that is not in the table. Where it shared a count while the table was full, it starts from a copy:
        otherwise it could pass twice in one window."""
        if self._shards is _NO_SHARDS:
            self._shards = [{} for _ in range(_SHARDS)]
            self._queue = deque()
        shard = self._shards[name & _SHARDS - 1]
        shared = name & _SHARED - 1
        state = shard.get(shared)
        if len(shard) >= self._max_keys:
            name = shared
        elif state is not None:
            state = copy(state)
        if name not in shard:
            self._queue.append(name)
        shard[name] = state = self._start(now) if state is None else self._count(state, now)
        self._forget(2)  # two looks for each newcomer: of those that have run out, at most as many stay as still count
        return self._usage(state, now)

    def _forget(self, looks: int) -> None:
        queue = self._queue
        for _ in range(looks):
            name = queue.popleft()
            shard = self._shards[name & _SHARDS - 1]
            if self._over(shard[name], self._latest):
                del shard[name]
                if not queue:
                    return
            else:
                queue.append(name)

    def _start(self, now: float) -> _State:
        """The state after a first admission."""
        raise NotImplementedError

    def _wait(self, state: _State, now: float) -> float:
        """As `check`."""
        raise NotImplementedError

    def _count(self, state: _State, now: float) -> _State:
        """The state after one more admission; it may be the same object."""
        raise NotImplementedError

    def _usage(self, state: _State, now: float) -> Usage:
        raise NotImplementedError

    def _admit(self, shard: dict[int, _State], name: int, state: _State, now: float) -> Usage:
        """`_wait`, and if it is over `_count` and `_usage`."""
        wait = self._wait(state, now)
        if wait:
            return (-1, wait)
        shard[name] = state = self._count(state, now)
        return self._usage(state, now)

    def _over(self, state: _State, now: float) -> bool:
        """Whether the state says no more than none at all."""
        raise NotImplementedError


class SlidingLog(Limiter["float | array[float]"]):
    """The state: the times of the admissions that count, in order; a single one as a plain number."""

    __slots__ = ()

    def _start(self, now: float) -> float:
        return now

    def _wait(self, state: float | array[float], now: float) -> float:
        if isinstance(state, float):
            if self.limit > 1:
                return 0.0
            oldest = state
        elif len(state) < self.limit:
            return 0.0
        else:
            oldest = state[-self.limit]
        if now - oldest >= self.window:
            return 0.0
        return max(oldest + self.window - now, _TINY)

    def _count(self, state: float | array[float], now: float) -> float | array[float]:
        window = self.window
        if isinstance(state, float):
            return now if now - state >= window else array("d", (state, now))
        if now - state[0] >= window:
            gone = bisect_right(state, now - window)
            while gone and now - state[gone - 1] < window:  # rounded the other way
                gone -= 1
            del state[:gone]
        state.append(now)
        return state

    def _usage(self, state: float | array[float], now: float) -> Usage:
        if isinstance(state, float):
            return (self.limit - 1, state + self.window - now)
        return (self.limit - len(state), state[0] + self.window - now)

    def _over(self, state: float | array[float], now: float) -> bool:
        return now - (state if isinstance(state, float) else state[-1]) >= self.window


class SlidingBuckets(Limiter["array[int]"]):
    """The state: the total, then (bucket, count) for every bucket that is not empty, in order.

    A window touches at most `_BUCKETS` + 1 buckets, so the total of as many is never less than what any window holds.
    """

    __slots__ = ("_width",)

    def __init__(self, limit: int, window: float, max_keys: int = MAX_KEYS) -> None:
        super().__init__(limit, window, max_keys)
        self._width = window / _BUCKETS * (1 + 1e-6)  # a rounded division must not make a window touch one more

    def _start(self, now: float) -> array[int]:
        return array("q", (1, int(now / self._width), 1))

    def _wait(self, state: array[int], now: float) -> float:
        if state[0] < self.limit:
            return 0.0
        self._drop(state, int(now / self._width))
        if state[0] < self.limit:
            return 0.0
        return max(self._leaves(state[1]) - now, _TINY)

    def _count(self, state: array[int], now: float) -> array[int]:
        bucket = int(now / self._width)
        if len(state) > 1 and state[1] < bucket - _BUCKETS:
            self._drop(state, bucket)
        state[0] += 1
        if len(state) > 1 and state[-2] == bucket:
            state[-1] += 1
        else:
            state.extend((bucket, 1))
        return state

    def _usage(self, state: array[int], now: float) -> Usage:
        return (self.limit - state[0], (state[1] + _BUCKETS + 1) * self._width - now)  # as `_leaves` says

    def _admit(self, shard: dict[int, array[int]], name: int, state: array[int], now: float) -> Usage:
        # The commonest case without three calls: far from the limit, in the same bucket as the last one.
        width = self._width
        used = state[0]
        if used < self.limit and len(state) > 1:
            bucket = int(now / width)
            if state[-2] == bucket and state[1] >= bucket - _BUCKETS:
                state[0] = used = used + 1
                state[-1] += 1
                return (self.limit - used, (state[1] + _BUCKETS + 1) * width - now)
        return super()._admit(shard, name, state, now)

    def _over(self, state: array[int], now: float) -> bool:
        return self._leaves(state[-2]) <= now

    def _drop(self, state: array[int], bucket: int) -> None:
        first = bucket - _BUCKETS
        while len(state) > 1 and state[1] < first:
            state[0] -= state[2]
            del state[1:3]

    def _leaves(self, bucket: int) -> float:
        """When a bucket counts no more."""
        return (bucket + _BUCKETS + 1) * self._width


class Gcra(Limiter[float]):
    """The state: the theoretical arrival time, until which the flow so far is spread evenly."""

    __slots__ = ("_burst", "_interval", "_slack")

    def __init__(self, limit: int, window: float, burst: int, max_keys: int = MAX_KEYS) -> None:
        super().__init__(limit, window, max_keys)
        self._burst = burst
        self._interval = window / limit
        self._slack = (burst - 1 + 1e-6) * self._interval  # rounding must not cost the burst its last request

    def _start(self, now: float) -> float:
        return now + self._interval

    def _wait(self, state: float, now: float) -> float:
        return max(0.0, state - now - self._slack)

    def _count(self, state: float, now: float) -> float:
        return max(state, now) + self._interval

    def _usage(self, state: float, now: float) -> Usage:
        ahead = state - now
        used = ceil(ahead / self._interval - 1e-6)
        return (self._burst - used, ahead - (used - 1) * self._interval)

    def _over(self, state: float, now: float) -> bool:
        return state <= now


class FixedWindow(Limiter[tuple[float, int]]):
    """The state: when the window began, and how many it has admitted."""

    __slots__ = ()

    def _start(self, now: float) -> tuple[float, int]:
        return now, 1

    def _wait(self, state: tuple[float, int], now: float) -> float:
        began, used = state
        if used < self.limit or now - began >= self.window:
            return 0.0
        return max(began + self.window - now, _TINY)

    def _count(self, state: tuple[float, int], now: float) -> tuple[float, int]:
        began, used = state
        return (now, 1) if now - began >= self.window else (began, used + 1)

    def _usage(self, state: tuple[float, int], now: float) -> Usage:
        began, used = state
        return self.limit - used, began + self.window - now

    def _over(self, state: tuple[float, int], now: float) -> bool:
        return now - state[0] >= self.window
