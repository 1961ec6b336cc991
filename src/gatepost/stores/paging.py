"""Where a page of a list begins and ends, the same for every engine. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gatepost import ids
from gatepost.stores.base import Filter

_GREATEST: Final = (1 << 63) - 1


def bounds(narrow: Filter) -> tuple[int, int]:
    """The smallest and the greatest id that may stand on the page."""
    low, high = 0, _GREATEST
    if narrow.after is not None:
        low = max(low, ids.first_at(_milliseconds(narrow.after, math.floor) / 1000 + 0.001))
    if narrow.before is not None:
        high = min(high, ids.first_at(_milliseconds(narrow.before, math.ceil) / 1000) - 1)
    if narrow.iterator is not None:
        if narrow.ascending:
            low = max(low, narrow.iterator + 1)
        else:
            high = min(high, narrow.iterator - 1)
    return low, high


def _milliseconds(seconds: float, whole: Callable[[float], int]) -> int:
    """A float of Unix seconds is exact to a fraction of a microsecond only: round there first."""
    return whole(round(seconds * 1e6) / 1000)


def fill(sql: str, parts: dict[str, str]) -> str:
    """A query with its `{name}`s replaced by texts of ours."""
    for name, text in parts.items():
        sql = sql.replace("{" + name + "}", text)
    return sql
