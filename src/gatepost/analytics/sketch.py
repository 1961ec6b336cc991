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
_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_PER_BUCKET: Final = 1 / log(_GAMMA)
_decode: Final = msgspec.msgpack.Decoder(dict[int, int]).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_ZERO: Final = -(1 << 31)  # the bucket of what counts as 0: below all others

# From 1 µs to a day there are 1,260 buckets; a minute of one route fills a few dozen.


class Sketch:
    """Durations in seconds, from 0 up. Mutable."""

    __slots__ = ("buckets", "count")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0

    def add(self, value: float) -> None:
        """0.3 µs."""
        bucket = ceil(log(value) * _PER_BUCKET) if value > SMALLEST else _ZERO
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: Sketch) -> None:
        buckets = self.buckets
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += other.count

    def quantile(self, q: float) -> float:
        """The value below or at which the share `q` (0 to 1) of all values lies. Raises ValueError where there are
        none."""
        if not self.count:
            raise ValueError("there are no values")
        rank = q * (self.count - 1)
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
            sketch.buckets = _decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a sketch: {error}") from None
        sketch.count = sum(sketch.buckets.values())
        return sketch
