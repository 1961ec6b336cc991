"""One emitted message on its way to the disk: the store has the first try, the journal the second."""

from __future__ import annotations

from collections.abc import Callable

from gatepost import ids, log
from gatepost.events.emission import Draft, Outcome
from gatepost.events.journal import Journal, entry_of
from gatepost.stores import base as store


class Made:
    """Decided once: in the store, in the journal, or lost when both have refused it. It outlives its exchange."""

    __slots__ = ("_app", "_draft", "_journal", "_refused", "_unkept", "journaling", "key", "outcome", "waiter")

    def __init__(self, journal: Journal, app: int, draft: Draft, key: str) -> None:
        """`app` is the app's id; `key` the message's idempotency key, of its own."""
        self._journal = journal
        self._app = app
        self._draft = draft
        self._refused = False  # by the store
        self._unkept = ""  # why the journal could not keep it
        self.key = key
        self.journaling = False  # it was given to the journal
        self.outcome = ""  # once it is known
        self.waiter: Callable[[], None] | None = None  # is told then, once

    def done(self, outcome: store.Outcome) -> None:
        """The store's word."""
        if isinstance(outcome, store.Refused):
            self._refused = True
            self.to_journal()
            self._check_lost()
            return
        if self.journaling:
            self._journal.settle(self.key)
        self._decided(Outcome.DUPLICATE if isinstance(outcome, store.EventIdTaken) else Outcome.EMITTED)

    def to_journal(self) -> None:
        if self.journaling:
            return
        self.journaling = True
        draft = self._draft
        entry = entry_of(self.key, self._app, draft.event_type, draft.payload, draft.channels, draft.event_id)
        self._journal.append(entry, self._journaled)

    def _journaled(self, reason: str) -> None:
        if reason:
            self._unkept = reason
            self._check_lost()  # unless the store may take it yet
        else:
            self._decided(Outcome.JOURNALED)

    def _check_lost(self) -> None:
        if not self._refused or not self._unkept:
            return
        draft = self._draft
        log.event(
            "emit_lost",
            level="error",
            app=ids.encode("app", self._app),
            event_type=draft.event_type,
            event_id=draft.event_id,
            reason=f"neither the store nor the journal could keep it: {self._unkept}",
        )
        self._decided(Outcome.LOST)

    def _decided(self, outcome: str) -> None:
        if self.outcome:
            return
        self.outcome = outcome
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter()
