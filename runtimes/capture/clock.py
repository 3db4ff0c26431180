"""Our clock, and the clocks of devices as seen from it.

A device counts by itself (a microphone its samples, a camera its timestamps), a little too fast or too slow. What it
gives arrives late by a varying time, but never early; so the truth runs along the lower edge of the arrivals.
"""

from __future__ import annotations

import time
from collections import deque
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Arrivals are looked at in spans of this many seconds, of which only the least delayed counts.
_SPAN = 0.5
# Spans that the drift is learnt from, and the latest of them, which say where the lower edge is now.
_MEMORY, _LATEST, _FEWEST = 80, 4, 3
# Real clocks differ by 0.01 %, and wrong crystals by 1 %; more is not drift.
_MOST_DRIFT = 0.02
# Seconds by which all of the last two spans must be late before that means a hole instead of bad luck.
GAP = 0.08


class SystemClock:
    """The system's monotonic clock, from 0."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again at 0; only before anything was dated by this clock."""
        self._zero = time.perf_counter()

    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._zero

    def wait_until(self, time_: float) -> None:
        """Sleep until `time_`."""
        if (left := time_ - self.now()) > 0:
            time.sleep(left)


class SimulatedClock:
    """A clock that stands still but for those who wait for a time: that time is then at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """The latest time that was waited for."""
        return self._now

    def wait_until(self, time_: float) -> None:
        """Make it `time_`."""
        self._now = max(self._now, time_)


class DeviceClock:
    """When things happened on our clock that a device has dated by its own."""

    def __init__(self) -> None:
        # (device's date, delay) of the least delayed arrival of each span; delay = arrival - date
        self._edge: deque[tuple[float, float]] = deque(maxlen=_MEMORY)
        self._least: tuple[float, float] | None = None
        self._until = 0.0
        self._slope = self._offset = 0.0

    @property
    def drift_ppm(self) -> float:
        """How much faster (+) than ours the device's clock runs, in parts per million."""
        return (1.0 / (1.0 + self._slope) - 1.0) * 1e6

    @property
    def rate(self) -> float:
        """Seconds of the device's clock in one of ours; nearer to 1 than estimated as long as little is known."""
        known = len(self._edge) / (len(self._edge) + _FEWEST) if len(self._edge) < _MEMORY else 1.0
        return 1.0 / (1.0 + self._slope * known)

    def time(self, date: float) -> float:
        """When on our clock the device's clock showed `date`."""
        return date + self._delay(date)

    def observe(self, date: float, arrival: float) -> float:
        """Learn that what the device dates `date` came at `arrival` on our clock; returns the seconds it came late."""
        delay = arrival - date
        if self._least is None and not self._edge:
            self._offset, self._until = delay, arrival + _SPAN
        elif arrival >= self._until:
            self._close_span()
            self._until = arrival + _SPAN
        if self._least is None or delay - self._delay(date) < self._least[1] - self._delay(self._least[0]):
            self._least = (date, delay)
        late = delay - self._delay(date)
        self._offset += min(late, 0.0)
        return max(late, 0.0)

    def found_gap(self) -> float:
        """Seconds that the device lost without saying so, else 0: found within 1.5 s, and allowed for from then on."""
        if len(self._edge) < 2:
            return 0.0
        behind = min(delay - self._delay(date) for date, delay in (self._edge[-1], self._edge[-2]))
        if behind <= GAP:
            return 0.0
        after = [self._edge.pop(), self._edge.pop()][::-1]
        self._shift_edge(behind)
        self._edge.extend(after)
        self._fit()
        return behind

    def resume(self, date: float, arrival: float) -> float:
        """Something was lost before what is dated `date`, which is now taken as in time. Returns the seconds lost."""
        lost = max(0.0, arrival - date - self._delay(date)) if self._edge or self._least else 0.0
        self._shift_edge(lost)
        if self._least is not None:
            self._least = (self._least[0], self._least[1] + lost)
        self._offset += lost
        return lost

    def _delay(self, date: float) -> float:
        return self._offset + self._slope * date

    def _shift_edge(self, seconds: float) -> None:
        """What follows comes so much later: what went before is made to fit, so that the known drift stays."""
        self._edge = deque(((date, delay + seconds) for date, delay in self._edge), maxlen=_MEMORY)

    def _close_span(self) -> None:
        assert self._least is not None
        self._edge.append(self._least)
        self._least = None
        self._fit()

    def _fit(self) -> None:
        edge = np.array(self._edge)
        if len(edge) >= _FEWEST:
            self._slope = float(np.clip(_middle_slope(edge), -_MOST_DRIFT, _MOST_DRIFT))
        latest = edge[-_LATEST:]
        self._offset = float((latest[:, 1] - self._slope * latest[:, 0]).min())


def _middle_slope(points: NDArray[np.float64]) -> float:
    """The median of the slopes between all pairs of `points` [n, 2] (Theil and Sen): a third may be wrong."""
    first, second = _pairs(len(points))
    run, rise = (points[second] - points[first]).T
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0


@lru_cache(maxsize=_MEMORY)
def _pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.triu_indices(count, 1)
    return first, second
