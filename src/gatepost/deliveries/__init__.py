"""Deliveries: each message to each of its endpoints, at least once, without one endpoint slowing another.

    store ──on_commit──► Deliveries ──► Lane (one an endpoint) ──► Turns ──► Sender ──► the endpoint
      ▲                      │             ▲                                   │
      └──── Completion ◄── Attempts ◄──────┼───────────────────────────────────┘ Result
                             └── Agenda ───┘ due again later

- `engine.py`: `Deliveries`, the owner of all below and the only part that knows the store, the clock and the loop.
- `lane.py`: what memory holds of one endpoint's deliveries, and how many may be in flight.
- `order.py`: the part of a lane that goes one after another. `batches.py`: several messages in one request.
- `pace.py`, `backpressure.py`, `health.py`: how fast, what receivers say about that, and which of them are given up.
- `replays.py`: sending again in the background. `reports.py`: what the engine has to tell.
- `turns.py`: which lane may send next.
- `agenda.py`: when to look at the store for what is due again.
- `schedule.py`, `attempt.py`: what comes of a try.
- `payloads.py`: the cache of what is sent. `shape.py`: what becomes of it for endpoints that ask for something else.

docs/life-of-a-message.md tells the story.
"""

from __future__ import annotations

from gatepost.deliveries.engine import Deliveries

__all__ = ["Deliveries"]
