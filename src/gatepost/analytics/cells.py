"""What is counted of one route, consumer and status class in one span of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from gatepost.analytics.sketch import Sketch
from gatepost.stores.analytics import AnalyticsRow

OTHERS: Final = "*"  # the consumer of what came when a span had `MOST` cells: a count is never lost, who it was is
MOST: Final = 20_000  # cells of one span in memory, about 2 KB each


# Route ("" where none was found), consumer ("" for nobody), class of the status (0 where no response was begun).
Name: TypeAlias = tuple[str, str, int]


class Cell:
    """Mutable."""

    __slots__ = ("bytes_in", "bytes_out", "gateway", "requests", "upstream")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.gateway = Sketch()
        self.upstream = Sketch()  # of those that were handed to a target

    def take(self, row: AnalyticsRow) -> None:
        self.requests += row.requests
        self.bytes_in += row.bytes_in
        self.bytes_out += row.bytes_out
        self.gateway.merge(Sketch.decode(row.gateway))
        self.upstream.merge(Sketch.decode(row.upstream))


class Cells:
    """The cells of one span. Mutable."""

    __slots__ = ("_cells", "_most")

    def __init__(self, most: int = MOST) -> None:
        self._cells: dict[Name, Cell] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._cells)

    def of(self, route: str, consumer: str, status: int) -> Cell:
        name = (route, consumer, status)
        cell = self._cells.get(name)
        if cell is None:
            if len(self._cells) >= self._most and consumer != OTHERS:
                return self.of(route, OTHERS, status)
            cell = self._cells[name] = Cell()
        return cell

    def take(self, rows: Iterable[AnalyticsRow]) -> None:
        for row in rows:
            self.of(row.route, row.consumer, row.status).take(row)

    def rows(self, span: int, time: int, part: int) -> Iterable[AnalyticsRow]:
        for name, cell in self._cells.items():
            yield AnalyticsRow(
                span, time, part, *name, cell.requests, cell.bytes_in, cell.bytes_out,
                cell.gateway.encode(), cell.upstream.encode(),
            )  # fmt: skip
