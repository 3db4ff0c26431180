"""A simulated room for the tests of capture: sound and pictures that tell when they were taken, and clumsy devices."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from avgn.config import SoundConfig
from runtimes.capture.events import FrameEvent, SoundEvent

SOUND = SoundConfig(rate=8000, window=200, hop=80, fft=256, mels=16, frames=96, high_hz=4000.0)
TONE = 5.0  # Hz: its phase tells the time within 200 ms


class Shot:
    """A `Picture` of one grey, 8 x 6 pixels."""

    def __init__(self, grey=128):
        self.grey = grey

    def squashed(self, size):
        return np.full((3, size, size), self.grey, np.uint8)

    def scaled(self, short_side):
        return np.full((short_side, short_side * 4 // 3, 3), self.grey, np.uint8)


def tone(times):
    return (0.5 * np.sin(2 * np.pi * TONE * np.asarray(times))).astype(np.float32)


def microphone(seconds, rate=16000, drift=0.0, block=0.02, begin=0.0, delay=lambda index: 0.0, wave=tone):
    """Blocks of a microphone whose clock is (1 + drift) times ours; `delay(index)` is how late each one comes."""
    true = rate * (1 + drift)
    size = round(block * rate)
    last = 0.0
    for index in range(int(seconds * true / size)):
        taken = begin + np.arange(index * size, (index + 1) * size) / true
        last = max(last, begin + (index + 1) * size / true + delay(index))
        yield SoundEvent(last, wave(taken), rate)


def camera(seconds, fps=10.0, begin=0.0, delay=lambda index: 0.0, shot=Shot(), dated=True):
    last = 0.0
    for index in range(int(seconds * fps)):
        time = begin + index / fps
        last = max(last, time + delay(index))
        yield FrameEvent(last, shot, (8, 6), date=1000.0 + time if dated else None)


def misplaced(samples, start, rate=SOUND.rate):
    """Seconds by which the tone in `samples` comes too late for a grid on which they begin at `start`."""
    whole = samples[: int(int(len(samples) * TONE / rate) * rate / TONE)]
    phasor = np.mean(whole * _carrier(len(whole), rate)) * np.exp(-2j * np.pi * TONE * start / rate)
    return float(-np.angle(phasor * 1j) / (2 * np.pi * TONE))


@cache
def _carrier(count, rate):
    return np.exp(-2j * np.pi * TONE * np.arange(count) / rate)


def wait_for(condition, seconds=30.0):
    """Until it holds; for tests with real devices only."""
    until = time.perf_counter() + seconds
    while not (held := condition()):
        assert time.perf_counter() < until, "waited too long"
        time.sleep(0.02)
    return held


def wait_for_snippet(source, good):
    """The first snippet of now that is `good`."""

    def found():
        snippet = source.snapshot(source.clock.now())
        return snippet if good(snippet) else None

    return wait_for(found)
