"""docs/life-of-a-message.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from gatepost.config.schema import Deliveries
from gatepost.deliveries.lane import FIRST_WINDOW
from gatepost.lifecycle import TRANSITIONS

PAGE = (Path(__file__).parents[3] / "docs" / "life-of-a-message.md").read_text()


def test_its_diagram_is_the_table_of_states() -> None:
    arrows = set(re.findall(r"^ {4}(\w+) --> (\w+): (\w+)$", PAGE, re.MULTILINE))
    assert arrows == {(old.name, new.name, event.name) for (old, event), new in TRANSITIONS.items()}


def test_its_schedule_is_the_default() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    (row,) = re.findall(r"^\| pause \|(.*)\| exhausted \|$", PAGE, re.MULTILINE)
    pauses = [float(number) * units[unit] for number, unit in re.findall(r"(\d+) (\w+)", row)]
    assert tuple(pauses) == Deliveries().schedule


def test_its_numbers_are_the_defaults() -> None:
    defaults = Deliveries()
    for said in (
        f"`deliveries.connections` ({defaults.connections})",
        f"`deliveries.concurrency` ({defaults.concurrency})",
        f"`deliveries.lane_keys` keys ({defaults.lane_keys:,})",
        f"`deliveries.timeout` ({defaults.timeout:g} s)",
        f"begins at {FIRST_WINDOW}",
        f"{defaults.response_bytes // 1024} KiB of the response",
        f"{defaults.jitter:.0%}".replace("%", " %"),
    ):
        assert said in PAGE
