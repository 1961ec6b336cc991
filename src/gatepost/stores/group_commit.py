"""The loop's side of every store: what one turn of the loop hands in goes to the writer at once, and each transaction's
end comes back to listeners and callers in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.stores.access import StoredAccess
from gatepost.stores.audit import CHANGE, Change, settled
from gatepost.stores.base import Completion, Done, NewMessage, OnCommit, Refused
from gatepost.stores.control import EventTypes
from gatepost.stores.directory import Directory
from gatepost.stores.jobs import Job, Settled, Task
from gatepost.stores.lanes import Lanes

T = TypeVar("T")


class GroupCommit:
    """An engine opens, sets `_loop`, `_next_id` and `_open`, and says how jobs reach its writer (`_hand_in`)."""

    shared = False
    _loop: asyncio.AbstractEventLoop
    _next_id: Callable[[], int]

    def __init__(self, clock: Clock) -> None:
        self.directory = Directory()
        self.access = StoredAccess()
        self.event_types = EventTypes()
        self.lanes = Lanes()
        self.matcher: Callable[[NewMessage], Sequence[int]] | None = None
        self._clock = clock
        self._open = False
        self._listeners: list[OnCommit] = []
        self._writable_listeners: list[Callable[[bool], None]] = []
        self._handed: list[Job] = []  # since the loop's last turn

    async def refresh(self) -> None:
        pass  # nobody else writes

    def _hand_in(self, jobs: list[Job]) -> None:
        raise NotImplementedError

    def _audited(self, act: Callable[[Any], Any], change: Change, identifier: int) -> Callable[[Any], Any]:
        raise NotImplementedError

    def on_writable(self, listener: Callable[[bool], None]) -> None:
        self._writable_listeners.append(listener)

    def on_commit(self, listener: OnCommit) -> None:
        self._listeners.append(listener)

    def accept(self, message: NewMessage, done: Done) -> None:
        if not self._open:
            asyncio.get_running_loop().call_soon(done, Refused("the store is closed"))
            return
        message.id = self._next_id()
        if not self._handed:
            self._loop.call_soon(self._flush)
        self._handed.append((message, done, 0))

    def complete(self, completion: Completion, done: Callable[[bool], None]) -> None:
        if not self._open:
            asyncio.get_running_loop().call_soon(done, False)
            return
        if not self._handed:
            self._loop.call_soon(self._flush)
        identifier = completion.id = completion.id or completion.attempt.id or self._next_id()
        self._handed.append((completion, done, identifier))

    def _flush(self) -> None:
        """Hand over everything of this turn of the loop at once: one wake-up of the writer, one transaction."""
        if self._handed:
            handed, self._handed = self._handed, []
            self._hand_in(handed)

    def _settle(self, settled: Settled) -> None:
        """One transaction's end, on the loop. A callback that fails must not take the others' answers with it."""
        if settled.accepted:
            for listener in self._listeners:
                try:
                    listener(settled.accepted)
                except Exception as error:
                    self._report(error, listener)
        for done, arguments in settled.outcomes:
            try:
                done(*arguments)
            except Exception as error:
                self._report(error, done)

    def _hear(self, writable: bool) -> None:
        for listener in self._writable_listeners:
            try:
                listener(writable)
            except Exception as error:
                self._report(error, listener)

    def _report(self, error: Exception, callback: Callable[..., None]) -> None:
        self._loop.call_exception_handler({"message": f"{callback!r} failed on a store's commit", "exception": error})

    def _new_id(self) -> int:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        return self._next_id()

    async def _task(self, act: Callable[[Any], Any], committed: Callable[[T], None] | None) -> Any:
        """Run `act` in the next transaction; `committed` on the loop, in commit order, even if the caller has left."""
        if not self._open:
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T, error: BaseException | None) -> None:
            if error is None and committed is not None:
                committed(result)
            if future.done():  # cancelled: the caller has left
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        heard: Callable[..., None] = done
        change = CHANGE.get()
        if change is not None and not change.taken:  # on behalf of somebody whose changes are recorded
            act, heard = self._audited(act, change, self._next_id()), settled(change, done)
        self._flush()
        self._hand_in([(Task(act), heard, 0)])
        return await future
