"""What happens in the demo: told line by line on the terminal, and kept, so that a step can wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

COLOURS = {
    "web shop": "cyan",
    "back office": "cyan",
    "Gatepost": "bold magenta",
    "order service": "blue",
    "partner": "yellow",
    "customer's page": "green",
}
WIDTH = max(map(len, COLOURS))

Happening = dict[str, Any]


class Timeline:
    """Safe to use from several threads: each child's output is read by its own."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._happened: list[tuple[str, Happening]] = []
        self._changed = threading.Condition()

    def tell(self, who: str, whom: str, what: str, *, bad: bool = False) -> None:
        """One line: who did what to whom, and when."""
        line = Text()
        line.append(f"  {time.monotonic() - self._began:7.3f} s  ", style="dim")
        line.append(f"{who:>{WIDTH}}", style=COLOURS[who])
        line.append("  →  ", style="dim")
        line.append(f"{whom:<{WIDTH}}  ", style=COLOURS[whom])
        line.append(what, style="red" if bad else "default")
        self.console.print(line)

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    def passed(self, text: str) -> None:
        self.console.print(Text.assemble(("  ✓ ", "bold green"), text))

    def failed(self, text: str) -> None:
        self.console.print(Text.assemble(("  ✗ ", "bold red"), text))

    def note(self, text: str) -> None:
        self.console.print(Text(f"    {text}", style="dim"))

    def happened(self, where: str, what: Happening) -> None:
        """Keep it for `wait_for`."""
        with self._changed:
            self._happened.append((where, what))
            self._changed.notify_all()

    @property
    def length(self) -> int:
        return len(self._happened)

    def wait_for(
        self, where: str, fits: Callable[[Happening], bool], seconds: float, *, after: int = 0
    ) -> Happening | None:
        """The first happening that fits, from number `after` on, now or within so many seconds; None: there is none."""

        def found() -> Happening | None:
            return next((what for place, what in self._happened[after:] if place == where and fits(what)), None)

        with self._changed:
            return self._changed.wait_for(found, seconds)

    def all(self, where: str) -> list[Happening]:
        with self._changed:
            return [what for place, what in self._happened if place == where]
