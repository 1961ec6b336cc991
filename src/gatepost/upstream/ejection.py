"""Passive health: a target whose answers are bad is left alone for a while, and longer each time. Pure."""

from __future__ import annotations

from gatepost.config.services import Ejection
from gatepost.upstream.window import Window


class Conduct:
    """What is remembered of one target's answers."""

    __slots__ = ("answers", "in_a_row", "times", "until")

    def __init__(self, window: float) -> None:
        self.answers = Window(window)
        self.in_a_row = 0  # bad ones
        self.times = 0  # that it was ejected lately
        self.until = 0.0  # of the last time


def judge(settings: Ejection, conduct: Conduct, now: float, *, bad: bool) -> float:
    """Count an answer. The seconds for which its target is to rest; 0.0: it goes on. `now` in monotonic seconds."""
    conduct.answers.add(now, 1, bad)
    if not bad:
        conduct.in_a_row = 0
        return 0.0
    conduct.in_a_row += 1
    total, failed = conduct.answers.total, conduct.answers.marked
    in_a_row = 0 < settings.failures <= conduct.in_a_row
    share = settings.share > 0 and total >= settings.minimum and failed >= settings.share * total
    return _rest(settings, conduct, now) if in_a_row or share else 0.0


def ejected(conduct: Conduct, now: float, seconds: float) -> None:
    conduct.times += 1
    conduct.until = now + seconds
    conduct.in_a_row = 0
    conduct.answers.clear()


def _rest(settings: Ejection, conduct: Conduct, now: float) -> float:
    if now > conduct.until + settings.longest:
        conduct.times = 0  # it was good for long enough
    return min(settings.longest, settings.time * 2.0 ** min(conduct.times, 32))
