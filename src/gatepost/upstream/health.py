"""How a target is, as one table. The table in docs/upstreams.md is this one.

UP ──connect failed──► RESTING ──connected──► UP         it is asked again after `rest`
 │ ──bad answers─────► EJECTED ──good answer──► UP       it is asked again after a time that grows
 └ ──checks failed───► DOWN    ──checks passed─► UP      it is not asked until its checks pass

What is not in the table changes nothing: a target that its checks took out is not brought back by a connection.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Health(Enum):
    UP = "up"
    RESTING = "resting"
    EJECTED = "ejected"
    DOWN = "down"


class Event(Enum):
    CONNECT_FAILED = "a connection to it failed"
    CONNECTED = "a connection stands"
    BAD_ANSWERS = "its answers are bad (`ejection`)"
    GOOD_ANSWER = "it answered well"
    CHECKS_FAILED = "`unhealthy` checks failed in a row"
    CHECKS_PASSED = "`healthy` checks passed in a row"


TRANSITIONS: Final[dict[tuple[Health, Event], Health]] = {
    (Health.UP, Event.CONNECT_FAILED): Health.RESTING,
    (Health.UP, Event.BAD_ANSWERS): Health.EJECTED,
    (Health.UP, Event.CHECKS_FAILED): Health.DOWN,
    (Health.RESTING, Event.CONNECT_FAILED): Health.RESTING,
    (Health.RESTING, Event.CONNECTED): Health.UP,
    (Health.RESTING, Event.BAD_ANSWERS): Health.EJECTED,
    (Health.RESTING, Event.CHECKS_FAILED): Health.DOWN,
    (Health.RESTING, Event.CHECKS_PASSED): Health.UP,
    (Health.EJECTED, Event.GOOD_ANSWER): Health.UP,
    (Health.EJECTED, Event.BAD_ANSWERS): Health.EJECTED,
    (Health.EJECTED, Event.CHECKS_FAILED): Health.DOWN,
    (Health.DOWN, Event.CHECKS_PASSED): Health.UP,
}
