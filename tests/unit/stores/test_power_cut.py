"""A power cut at any moment: everything that was acknowledged is found again, and the database is whole."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import apsw
import pytest
from tests.support.power import FragileDisk
from tests.support.stores import a_message, an_app, an_attempt

from gatepost.clock import ManualClock
from gatepost.lifecycle import State
from gatepost.stores import sqlite_writer
from gatepost.stores.base import Accepted, Outcome
from gatepost.stores.sqlite import SqliteStore

CUTS = 15


class Ledger:
    """What the store has acknowledged so far."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()
        self.recorded: set[int] = set()


@pytest.mark.parametrize("seed", range(2))
async def test_what_was_acknowledged_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_PAGES", 12)  # so that cuts fall into checkpoints and fresh logs too
    chance = random.Random(seed)
    disk, ledger = FragileDisk(), Ledger()
    cuts: list[tuple[Path, set[int], set[int]]] = []
    clock = ManualClock(1_800_000_000.0)
    with disk.installed():
        store = SqliteStore(str(tmp_path / "store.db"), clock=clock)
        await store.open()
        app, [endpoint] = await an_app(store)
        enough = asyncio.Event()

        def cut() -> None:
            folder = tmp_path / f"cut-{len(cuts)}"
            folder.mkdir()
            accepted, recorded = set(ledger.accepted), set(ledger.recorded)  # before: the writer does not stand still
            disk.cut(folder, chance)
            cuts.append((folder, accepted, recorded))
            if len(cuts) == CUTS:
                enough.set()

        def accept() -> None:
            store.accept(a_message(app, [endpoint], payload=b"x" * chance.randrange(6000)), was_accepted)

        def was_accepted(outcome: Outcome) -> None:
            assert isinstance(outcome, Accepted)
            ledger.accepted.add(outcome.id)
            store.complete(an_attempt(outcome.id, endpoint), lambda ok: was_recorded(outcome.id, ok))

        def was_recorded(message: int, ok: bool) -> None:
            assert ok
            ledger.recorded.add(message)
            if chance.random() < 0.1 and len(cuts) < CUTS:
                cut()
            if not enough.is_set():
                accept()

        for _ in range(8):
            accept()
        await enough.wait()
        await store.close()

    for folder, accepted, recorded in cuts:
        found = SqliteStore(str(folder / "store.db"), clock=clock)
        await found.open()
        assert set(await found.messages(sorted(accepted))) == accepted
        due = {delivery.message for delivery in await found.due(endpoint.key, clock.now(), 10_000)}
        for message in accepted:
            [delivery] = await found.deliveries_of(message)
            assert (delivery.state is State.PENDING) == (message in due)
            assert delivery.state is State.DELIVERED or message not in recorded
        await found.close()
        connection = apsw.Connection(str(folder / "store.db"))
        assert connection.pragma("integrity_check") == "ok"
        connection.close()
