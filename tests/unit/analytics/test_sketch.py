"""Quantiles within one per cent, and a sketch of a union that is the sum of the sketches."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analytics.sketch import ERROR, SMALLEST, Sketch

durations = st.lists(st.floats(min_value=0.0, max_value=86_400.0), max_size=200)
shares = st.floats(min_value=0.0, max_value=1.0)


def sketch_of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(durations.filter(bool), shares)
def test_a_quantile_is_within_one_per_cent_of_the_true_one(values: list[float], q: float) -> None:
    found = sketch_of(values).quantile(q)
    ranked = sorted(values)
    rank = q * (len(values) - 1)
    true = ranked[int(rank)] if int(rank) == rank else ranked[ceil(rank) - 1]
    near = {true, ranked[min(int(rank) + 1, len(ranked) - 1)]}
    assert any(abs(found - each) <= each * ERROR * 1.000001 + SMALLEST for each in near)


@given(durations, durations)
def test_merging_is_sketching_the_union(a: list[float], b: list[float]) -> None:
    merged = sketch_of(a)
    merged.merge(sketch_of(b))
    union = sketch_of(a + b)
    assert (merged.buckets, merged.count) == (union.buckets, union.count)


@given(durations)
def test_what_is_written_is_read_again(values: list[float]) -> None:
    sketch = sketch_of(values)
    read = Sketch.decode(sketch.encode())
    assert (read.buckets, read.count) == (sketch.buckets, sketch.count)


def test_quantiles_are_ordered_and_bounded() -> None:
    sketch = sketch_of([n / 1000 for n in range(1, 1001)])
    found = [sketch.quantile(q / 100) for q in range(101)]
    assert found == sorted(found)
    assert sketch.quantile(0.5) == pytest.approx(0.5, rel=0.012)
    assert sketch.quantile(0.99) == pytest.approx(0.99, rel=0.012)
    assert len(sketch.encode()) < 4_000


def test_memory_is_bounded_whatever_comes() -> None:
    sketch = sketch_of([10.0 ** (n / 100) for n in range(-900, 494)])  # from a nanosecond to a day
    assert len(sketch.buckets) < 1_400


def test_an_empty_sketch_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        Sketch().quantile(0.5)


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x93\x01", b"hello"])
def test_what_is_no_sketch_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a sketch"):
        Sketch.decode(data)
