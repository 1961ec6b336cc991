"""What is handed to a store's writer, and what comes back: the same for every engine.

Everything handed in while one transaction was on its way to disk is the next one, cut at about `ROWS` rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from gatepost.stores.base import Completion, NewMessage

ROWS: Final = 2_000  # a transaction; a message counts with its deliveries and pages; one alone may be larger
PAGE: Final = 4_096  # bytes


class Task:
    """A cold write: `act` runs inside the transaction. Its `done` takes two arguments, the result and the error."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[Any], Any]) -> None:
        self.act = act


Done: TypeAlias = Callable[..., None]
# What is to be written, who hears of it on the loop, and the id of a completion's attempt.
Job: TypeAlias = tuple[NewMessage | Completion | Task, Done, int]
Outcomes: TypeAlias = list[tuple[Done, tuple[Any, ...]]]


class Settled(NamedTuple):
    """One transaction's end: the messages it accepted, and every job's outcome in the order they were handed in."""

    accepted: Sequence[NewMessage]
    outcomes: Outcomes


def take(todo: deque[Job]) -> list[Job]:
    """The next transaction's jobs."""
    jobs: list[Job] = []
    rows = 0
    together = False  # with the job before it
    while todo:
        thing = todo[0][0]
        if isinstance(thing, NewMessage):
            rows += 1 + len(thing.endpoints) + len(thing.payload) // PAGE
        else:
            rows += 2
        if rows > ROWS and jobs and not together:
            break
        together = isinstance(thing, NewMessage) and thing.more
        jobs.append(todo.popleft())
    return jobs
