"""What came last: rings of a fixed size, for frames and for sound. The newest overwrites the oldest, and is counted."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from runtimes.capture.source import Frame


class FrameRing:
    """The last `size` frames. Frames that were overwritten before the reader's time had passed them are `dropped`."""

    def __init__(self, size: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=size)
        self._passed = math.inf  # nobody reads before the first read
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: Frame) -> None:
        """Take the newest frame."""
        if len(self._frames) == self._frames.maxlen and self._frames[0].time > self._passed:
            self.dropped += 1
        self._frames.append(frame)

    def at(self, time: float) -> Frame | None:
        """The newest frame at or before `time`, up to which the reader has now come."""
        self._passed = time
        return next((frame for frame in reversed(self._frames) if frame.time <= time), None)


class SoundRing:
    """The last `size` mono samples of a stream that counts them; holes are silence that is not there.

    Samples that were overwritten before the reader's position had passed them are `dropped`.
    """

    def __init__(self, size: int) -> None:
        self._samples, self._there = np.zeros(size, np.float32), np.zeros(size, np.bool_)
        self.first = self.end = 0
        """What is held: samples [first, end)."""
        self._passed: int | None = None  # nobody reads before the first read
        self.dropped = 0

    def write(self, start: int, samples: NDArray[np.float32]) -> None:
        """Put samples at [start, start + n). What lies before the end is not written again; a hole is left free."""
        size = len(self._samples)
        if not len(samples):
            return
        if self.first == self.end:
            self.first = self.end = start
        samples = samples[max(0, self.end - start) :]
        hole = max(0, start - self.end)
        self._put(min(hole, size), None)
        self.end += max(0, hole - size)  # of a hole longer than the ring only its end was put
        for begin in range(0, len(samples), size):
            self._put(len(samples[begin : begin + size]), samples[begin : begin + size])

    def _put(self, count: int, samples: NDArray[np.float32] | None) -> None:
        size = len(self._samples)
        places = (self.end + np.arange(count)) % size
        overwritten = self.end + count - size
        if self._passed is not None and overwritten > max(self.first, self._passed):
            old = np.arange(max(self.first, self._passed), overwritten) % size
            self.dropped += int(self._there[old].sum())
        self._samples[places] = 0.0 if samples is None else samples
        self._there[places] = samples is not None
        self.end += count
        self.first = max(self.first, overwritten)

    def read(self, start: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Samples [start, start + count), and where there are any; the reader has now come to the end of these."""
        samples, there = np.zeros(count, np.float32), np.zeros(count, np.bool_)
        low, high = max(start, self.first), min(start + count, self.end)
        if low < high:
            places = np.arange(low, high) % len(self._samples)
            samples[low - start : high - start] = self._samples[places]
            there[low - start : high - start] = self._there[places]
        passed = min(start + count, self.end)
        self._passed = passed if self._passed is None else max(self._passed, passed)
        return samples, there
