"""A policy of a user's own that does nothing: what calling it costs."""

from __future__ import annotations

from gatepost.exchange import Exchange, Phase, Policy


class Nothing(Policy):
    name = "nothing"
    phase = Phase.TRANSFORM

    def on_request(self, x: Exchange) -> None:
        return None
