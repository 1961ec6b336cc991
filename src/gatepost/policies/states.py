"""What policies remember over a reload: counts, caches, fetched keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

_T = TypeVar("_T")


class States:
    """What snapshots share: a policy whose definition a reload does not change goes on with what it knew.

    A state lives as long as a policy holds it, so one that no snapshot uses any more is forgotten by itself.
    """

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The state under `key`, made where there is none. The key holds whatever decides that it is the same: the
        route and the policy's settings, as a rule."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = make()
        return cast("_T", state)
