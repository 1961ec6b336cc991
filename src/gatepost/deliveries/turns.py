"""Whose turn it is: lanes share the connections in turn, one delivery a turn. Pure."""

from __future__ import annotations

from collections import deque

from gatepost.deliveries.lane import Lane


class Turns:
    """The lanes that have something to send, and how many requests are under way in all.

    Sick lanes have a queue of their own and at most half of the connections: hundreds of endpoints that hang until
    their time-out leave the other half to those that answer.
    """

    __slots__ = ("_connections", "_healthy", "_next_sick", "_sick", "_sick_share", "in_flight", "probing")

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._sick_share = max(1, connections // 2)
        self._healthy: deque[Lane] = deque()
        self._sick: deque[Lane] = deque()
        self._next_sick = False
        self.in_flight = 0
        self.probing = 0  # how many of those to sick lanes

    def __len__(self) -> int:
        return len(self._healthy) + len(self._sick)

    def join(self, lane: Lane) -> None:
        """Stand in line, if the lane may send and does not stand there yet."""
        if not lane.queued and lane.sendable:
            lane.queued = True
            (self._sick if lane.sick else self._healthy).append(lane)

    def next(self) -> tuple[Lane, bool] | None:
        """The lane whose turn it is, and whether it is a probe of a sick one. None: nobody may send now.

        Each turn counts as a request under way, until `left`.
        """
        while self.in_flight < self._connections:
            probe = bool(self._sick) and self.probing < self._sick_share and (self._next_sick or not self._healthy)
            queue = self._sick if probe else self._healthy
            if not queue:
                return None
            lane = queue.popleft()
            lane.queued = False
            self._next_sick = not probe
            if not lane.sendable:
                continue  # it was paused, or became sick, while it stood in line
            self.in_flight += 1
            if probe:
                self.probing += 1
            return lane, probe
        return None

    def left(self, probe: bool) -> None:
        """A request is over."""
        self.in_flight -= 1
        if probe:
            self.probing -= 1
