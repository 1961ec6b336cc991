"""When a delivery that failed is tried again. Pure: the moment and the dice are handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def next_due(
    schedule: Sequence[float], jitter: float, tries: int, now: float, random: Callable[[], float]
) -> float | None:
    """Unix seconds of the next try after `tries` failed ones (at least 1), or None: the schedule is exhausted.

    `schedule` is the pauses between tries in seconds, so nine of them make ten tries. Each is stretched or shortened
    by up to `jitter` (0.2: ±20 %), so that what failed together does not come back together. `random` gives [0, 1).
    """
    if tries > len(schedule):
        return None
    return now + schedule[tries - 1] * (1.0 + jitter * (2.0 * random() - 1.0))
