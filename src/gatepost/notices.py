"""Notices: what a node has to say about itself, to whoever asked for it.

A notice becomes a message of the app `gatepost` (`events/notices.py`), so webhooks, live pages and alerts need nothing
special. Everyone who has something to tell gets a `Notices`; `SILENT` is for those who have nobody to tell it to.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

Facts: TypeAlias = dict[str, "str | int | float | bool | None"]

# The app whose messages notices are, by its uid.
OWN_APP: Final = "gatepost"


class Notices(Protocol):
    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        """Say that something happened; returns at once, never raises.

        `event_type` is a dotted name (`breaker.opened`), `subject` what it happened to (`service:orders`): of a flood
        about the same subject the first is told at once, then a count a window. `facts` hold no key, token or body.
        """
        ...


class Reporter(Protocol):
    def report(self, event_type: str, data: dict[str, Any]) -> None:
        """Say what happened to one message or endpoint, as a message `{"type", "data"}` of its own: not folded with
        others, unless there are more than can be kept. Returns at once, never raises."""
        ...


class Silent:
    def report(self, event_type: str, data: dict[str, Any]) -> None:
        pass

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        pass

    def tell_once(self, event_type: str, subject: str, facts: Facts, key: str) -> None:
        pass

    def close(self) -> None:
        pass


SILENT: Final = Silent()
