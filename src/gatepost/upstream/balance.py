"""Which of a service's targets is next: pure choices over those that can be used now.

- `RoundRobin`: in turn; by weight, smoothly (a, a, b, a and not a, a, a, b).
- `LeastRequests`: the fewest under way for their weight; in turn where several have as few.
- `HashRing`: equal keys go to the same target. Each target stands at POINTS places of a ring, by weight; a key goes to
  the next place behind it whose target can be used. A target that leaves takes only its own keys with it, spread over
  the others; one that is down for a while gets them back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gatepost.exchange import Exchange
    from gatepost.upstream.targets import Target

POINTS: Final = 160  # places of a target of mean weight: shares within about a tenth of what weights say


class Balance(Protocol):
    def members(self, targets: Sequence[Target]) -> None:
        """The targets of the service, from now on."""
        ...

    def choose(self, usable: Sequence[Target], x: Exchange | None) -> Target:
        """One of `usable`, which is not empty. `x` None where no exchange asks (a dead connection is replaced)."""
        ...


class RoundRobin:
    __slots__ = ("_credit", "_next", "_weighted")

    def __init__(self) -> None:
        self._next = -1
        self._weighted = False
        self._credit: dict[Target, int] = {}

    def members(self, targets: Sequence[Target]) -> None:
        self._weighted = len({target.weight for target in targets}) > 1
        self._credit = {target: self._credit.get(target, 0) for target in targets}

    def choose(self, usable: Sequence[Target], x: Exchange | None) -> Target:
        if not self._weighted:
            self._next = (self._next + 1) % len(usable)
            return usable[self._next]
        credit = self._credit
        total = 0
        best = usable[0]
        for target in usable:
            weight = target.weight
            credit[target] += weight
            total += weight
            if credit[target] > credit[best]:
                best = target
        credit[best] -= total
        return best


class LeastRequests:
    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = -1

    def members(self, targets: Sequence[Target]) -> None:
        pass

    def choose(self, usable: Sequence[Target], x: Exchange | None) -> Target:
        count = len(usable)
        self._next = first = (self._next + 1) % count
        best = usable[first]
        least = (best.busy + 1) / best.weight
        for place in range(first + 1, first + count):
            target = usable[place % count]
            load = (target.busy + 1) / target.weight
            if load < least:
                best, least = target, load
        return best


class HashRing:
    __slots__ = ("_bound", "_key", "_owners", "_places", "_weights")

    def __init__(self, key: Callable[[Exchange], str], bound: float = 0.0) -> None:
        """`bound`: a target with more than this many times its share of what is under way is passed over; 0: none."""
        self._key = key
        self._bound = bound
        self._places: list[int] = []
        self._owners: list[Target] = []
        self._weights = 0

    def members(self, targets: Sequence[Target]) -> None:
        self._weights = sum(target.weight for target in targets)
        ring = sorted(
            (_place(f"{target.name} {number}"), target.name, target)
            for target in targets
            for number in range(max(1, round(POINTS * target.weight * len(targets) / self._weights)))
        )
        self._places = [place for place, _, _ in ring]
        self._owners = [target for _, _, target in ring]

    def choose(self, usable: Sequence[Target], x: Exchange | None) -> Target:
        owners = self._owners
        count = len(owners)
        at = bisect_right(self._places, _place(self._key(x) if x is not None else ""))
        most = self._most(usable)
        for step in range(count):
            target = owners[(at + step) % count]
            if target in usable and (most is None or target.busy < ceil(most * target.weight)):
                return target
        return usable[0]

    def _most(self, usable: Sequence[Target]) -> float | None:
        """Under way for a weight of 1, this one counted ("consistent hashing with bounded loads", Mirrokni et al.)."""
        if not self._bound:
            return None
        busy = sum(target.busy for target in usable) + 1
        return self._bound * busy / sum(target.weight for target in usable)


def _place(text: str) -> int:
    # The same in every process, unlike hash(): all nodes send a key to the same target. 0.6 µs.
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
