"""From many rounds to one table: medians, ratios of what ran side by side, and the files that keep them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios of paired rounds: what disturbed one round disturbed both of its halves."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def spread(values: Sequence[float]) -> str:
    """The least and the greatest: how far a median is to be trusted."""
    return f"{min(values):.1f}–{max(values):.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is Markdown and reads well on a terminal. The first column is text, the others are figures."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        text = [cells[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
        ]
        return "| " + " | ".join(text) + " |"

    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([line(lines[0]), "| " + " | ".join(rule) + " |", *map(line, lines[1:])])


def headline(machine: Mapping[str, str]) -> str:
    """The machine in one line."""
    return " · ".join(f"{name} {value}" for name, value in machine.items())


def write(name: str, markdown: str, data: Mapping[str, Any]) -> Path:
    """`bench/results/NAME-DATE.md` and `.json`; also `NAME-latest.*`. Returns the Markdown file."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    text = json.dumps(data, indent=1)
    for stem in (f"{name}-{stamp}", f"{name}-latest"):
        (RESULTS / f"{stem}.md").write_text(markdown)
        (RESULTS / f"{stem}.json").write_text(text)
    return RESULTS / f"{name}-{stamp}.md"
