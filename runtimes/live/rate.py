"""Events a second over the last few seconds."""

from __future__ import annotations

from collections import deque


class Rate:
    """Mean of what was counted in the last `over` seconds of the stream's time."""

    def __init__(self, over: float = 10.0) -> None:
        self._over = over
        self._events: deque[tuple[float, int]] = deque()
        self._first: float | None = None

    def add(self, time: float, count: int) -> float:
        """Note `count` events since the last call, at `time`; returns the events a second."""
        if self._first is None:
            self._first = time
        self._events.append((time, count))
        while self._events[0][0] <= time - self._over:
            self._events.popleft()
        return sum(count for _, count in self._events) / min(self._over, max(1.0, time - self._first))
