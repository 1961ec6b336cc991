"""Patterns: what they match, and that nothing takes long to match."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policies.path_patterns import compile_pattern


def captured(pattern: str, path: str) -> dict[str, str] | None:
    match = compile_pattern(pattern).fullmatch(path)
    return None if match is None else match.groupdict()


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/orders/{id}", "/orders/42", {"id": "42"}),
        ("/orders/{id}", "/orders/42/items", None),
        ("/orders/{id}", "/orders/", None),
        ("/orders/{id}/items/{item}", "/orders/1/items/2", {"id": "1", "item": "2"}),
        ("/old/{rest...}", "/old/a/b/", {"rest": "a/b/"}),
        ("/old/{rest...}", "/old/", {"rest": ""}),
        ("/old/{rest...}", "/old", None),
        ("/{year:[0-9]}-{name}.pdf", "/2026-report.pdf", {"year": "2026", "name": "report"}),
        ("/{year:[0-9]}-{name}.pdf", "/x-report.pdf", None),
        ("/{name}.pdf", "/a.b.pdf", None),  # a capture ends where the next character comes first
        ("/{a:[a-z]}1", "/abc1", {"a": "abc"}),
        ("/{a:[0-9]}1", "/0001", {"a": "000"}),
        ("/{id:[a-f0-9-]}", "/0a-9f", {"id": "0a-9f"}),
        ("/v(1)+/{x}", "/v(1)+/y", {"x": "y"}),  # everything else stands for itself
        ("/{a}]{b}", "/x]y", {"a": "x", "b": "y"}),
        ("/{a}^{b}", "/x^y", {"a": "x", "b": "y"}),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, expected: dict[str, str] | None) -> None:
    assert captured(pattern, path) == expected


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("orders/{id}", "no path"),
        ("/{a}{b}", "two captures touch"),
        ("/{a}/{a}", "twice"),
        ("/{rest...}/x", "only at the end"),
        ("/x{rest...}", "only at the end"),
        ("/{a:.*}", "must write captures as"),
        ("/{a:[^/]}", "must write captures as"),
        ("/{a:[0-9]+}", "must write captures as"),
        ("/{1a}", "must write captures as"),
        ("/a/../b", "normalisation"),
        ("/a//b", "normalisation"),
        ("/a?b", "no path"),
        ("/%7Ea", "normalisation"),
        ("/é", "no path"),
    ],
)
def test_what_cannot_be_a_pattern(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("/{a}-{b}-{c}-{d}-{e}-x", "a-"),
        ("/{a:[a-z]}a{b:[a-z]}a{c:[a-z]}b", "a"),
        ("/{a}.{b}.{c}.{d}.{e}.{f}.pdf", "."),
        ("/{a}/{b}/{c}/{rest...}", "a/"),
        ("/{a:[0-9]}0{b:[0-9]}0{c:[0-9]}x", "01"),
    ],
)
def test_the_longest_paths_are_matched_in_no_time(pattern: str, unit: str) -> None:
    match = compile_pattern(pattern).fullmatch
    path = "/" + unit * (1_000_000 // len(unit))  # a hundred times what a request line may hold
    begun = time.process_time()
    match(path)
    assert time.process_time() - begun < 0.5, "quadratic it would take minutes"


@given(st.lists(st.text("abc019", min_size=1, max_size=6), min_size=3, max_size=3))
def test_what_was_put_together_comes_apart_again(values: list[str]) -> None:
    a, b, c = values
    assert captured("/x/{a}-{b}/{c}", f"/x/{a}-{b}/{c}") == {"a": a, "b": b, "c": c}
