"""The part of the store contract about how deliveries go on: those in order, what is known of lanes, work in the
background.

`base.Store` has it; `tests/conformance/test_delivering_store.py` holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from gatepost.model import BackgroundTask, Delivery, LaneState

if TYPE_CHECKING:  # base.py has this part
    from gatepost.stores.base import Filter, Page

BEFORE_ALL: Final = -1  # an ordering key below every one


class DeliveringStore(Protocol):
    async def heads(self, endpoint: int, after: int, limit: int) -> list[Delivery]:
        """Of each ordering key greater than `after` the first pending delivery, due or not, in the order of keys. Costs
        by keys, not by what waits behind them. Fewer than `limit`: there are no more keys."""
        ...

    async def lanes_in_order(self) -> set[int]:
        """The endpoints that have something pending that goes in order."""
        ...

    async def skip(self, message: int, endpoint: int) -> bool:
        """Cancel a pending delivery. False: there is none."""
        ...

    async def lane_states(self) -> dict[int, LaneState]:
        """By the endpoint's key; those without trouble have none."""
        ...

    async def put_lane_state(self, state: LaneState) -> None:
        """Insert or replace; one that says nothing is dropped."""
        ...

    async def disable_endpoint(self, state: LaneState) -> bool:
        """Disable the endpoint and keep why. False where it was disabled already, or is gone."""
        ...

    async def new_task(self, task: BackgroundTask) -> BackgroundTask:
        """`id`, `created` and `updated` are assigned. Raises LookupError where the endpoint is gone."""
        ...

    async def step(
        self, before: BackgroundTask, after: BackgroundTask, messages: Sequence[int], states: Collection[int]
    ) -> BackgroundTask | None:
        """Make the deliveries of these messages pending again, those that are in one of `states` or missing, and the
        task what it is `after`, with `done` and `updated` counted here; all in one transaction. None where the task is
        not what it was `before`: somebody else went on with it."""
        ...

    async def task(self, identifier: int) -> BackgroundTask | None: ...

    async def running_tasks(self) -> list[BackgroundTask]: ...

    async def list_tasks(self, narrow: Filter) -> Page[BackgroundTask]:
        """Narrowed by `endpoint` at most."""
        ...
