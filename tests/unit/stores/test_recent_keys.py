"""Automatic idempotency keys in memory: remembered for ten minutes, bounded."""

from __future__ import annotations

import pytest

from gatepost import ids
from gatepost.stores.recent_keys import RecentKeys

NOW = 1_800_000_000.0


def message_at(seconds: float) -> int:
    return ids.first_at(seconds)


def test_a_key_is_found_for_ten_minutes() -> None:
    keys = RecentKeys()
    keys.add(1, "auto_a", message_at(NOW), NOW)
    assert keys.find(1, "auto_a", NOW + 599) == message_at(NOW)
    assert keys.find(1, "auto_a", NOW + 600) is None
    assert keys.find(2, "auto_a", NOW) is None
    assert keys.find(1, "auto_b", NOW) is None


def test_a_key_outlives_a_change_of_generation() -> None:
    keys = RecentKeys()
    keys.add(1, "first", message_at(NOW), NOW)
    keys.add(1, "a", message_at(NOW + 590), NOW + 590)
    keys.add(1, "b", message_at(NOW + 601), NOW + 601)  # a new generation
    assert keys.find(1, "a", NOW + 1189) == message_at(NOW + 590)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecentKeys, "MOST", 100)
    keys = RecentKeys()
    for n in range(1000):
        keys.add(1, f"auto_{n}", message_at(NOW) + n, NOW)
    found = [n for n in range(1000) if keys.find(1, f"auto_{n}", NOW) is not None]
    assert found == list(range(800, 1000))


def test_a_clock_that_goes_back_does_not_keep_keys_for_ever() -> None:
    keys = RecentKeys()
    keys.add(1, "a", message_at(NOW), NOW)
    keys.add(1, "b", message_at(NOW - 3600), NOW - 3600)
    keys.add(1, "c", message_at(NOW - 2900), NOW - 2900)
    assert keys.find(1, "a", NOW - 2900) is None
