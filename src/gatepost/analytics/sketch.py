"""Quantiles of durations in bounded memory, mergeable without loss: DDSketch (Masson, Rim, Lee; VLDB 2019).

A value falls into the bucket ceil(log_γ(value)); every value of a bucket is within `ERROR` of the bucket's middle. So a
quantile is off by at most that, and the sketch of a union is the sum of the sketches.
"""

from __future__ import annotations

from math import ceil, log
from typing import Final

import msgspec

ERROR: Final = 0.01  # relative
SMALLEST: Final = 1e-6  # seconds; what is shorter counts as 0
TOGETHER: Final = 32  # values
_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_PER_BUCKET: Final = 1 / log(_GAMMA)
_decode: Final = msgspec.msgpack.Decoder(dict[int, int]).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_ZERO: Final = -(1 << 31)  # the bucket of what counts as 0: below all others

# From 1 µs to a day there are 1,260 buckets; a minute of one route fills a few dozen.


class Sketch:
    """Durations in seconds, from 0 up. Mutable."""

    __slots__ = ("_buckets", "_new")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._new: list[float] = []  # values without a bucket yet: many at once cost a third

    @property
    def buckets(self) -> dict[int, int]:
        """How many values each bucket holds."""
        if self._new:
            self._sort_in()
        return self._buckets

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def add(self, value: float) -> None:
        self._new.append(value)
        if len(self._new) >= TOGETHER:
            self._sort_in()

    def merge(self, other: Sketch) -> None:
        buckets = self.buckets
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count

    def quantile(self, q: float) -> float:
        """The value below or at which the share `q` (0 to 1) of all values lies. Raises ValueError where there are
        none."""
        count = self.count
        if not count:
            raise ValueError("there are no values")
        rank = q * (count - 1)
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                return 0.0 if bucket == _ZERO else 2 * _GAMMA**bucket / (_GAMMA + 1)
        raise AssertionError("buckets hold as many values as were counted")

    def encode(self) -> bytes:
        return _encode(self.buckets)

    @classmethod
    def decode(cls, data: bytes) -> Sketch:
        """Raises ValueError for what is no sketch."""
        sketch = cls()
        try:
            sketch._buckets = _decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a sketch: {error}") from None
        return sketch

    def _sort_in(self) -> None:
        values, self._new = self._new, []
        found = [ceil(log(value) * _PER_BUCKET) if value > SMALLEST else _ZERO for value in values]
        buckets = self._buckets
        for bucket in found:
            buckets[bucket] = buckets.get(bucket, 0) + 1
