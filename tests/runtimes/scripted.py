"""A source that gives what a test wrote down: pictures and sound as functions of time, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import tiny
from runtimes.capture.source import Counters, DeviceStatus, Frame, Snippet, State, Status

SOUND = tiny.SOUND


class SteppedClock:
    """Waiting takes no time; whoever is slow says so with `pass_by`."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def wait_until(self, time):
        self.time = max(self.time, time)

    def pass_by(self, seconds):
        self.time += seconds


def colours(seed: int, spread: int = 48) -> tiny.Pixels:
    """A picture of smooth colours, another for each seed."""
    return tiny.tiny_clip(seed).pictures[0]


def noise(count: int, seed: int = 0, loud: float = 0.3) -> np.ndarray:
    """`count` samples within -loud..loud, louder and quieter by turns."""
    random = np.random.default_rng(seed)
    swell = 0.6 + 0.4 * np.sin(np.arange(count) / 2000)
    return (loud * swell * random.uniform(-1, 1, count)).astype(np.float32)


@dataclass
class ScriptedSource:
    """`pictures(frame number)` at `fps`, None for a lost camera; `wave` from time 0; `heard(time)`."""

    pictures: Callable[[int], object] = colours
    wave: np.ndarray = field(default_factory=lambda: noise(SOUND.rate * 60))
    seconds: float = 10.0
    fps: float = 10.0
    heard: Callable[[float], bool] = lambda time: True
    clock: SteppedClock = field(default_factory=SteppedClock)
    counters: Counters = field(default_factory=Counters)
    drift_ppm: float = 0.0
    started: int = 0
    closed: int = 0

    def __post_init__(self):
        self.asked = []

    @property
    def status(self):
        if self.clock.now() > self.seconds + 1e-9:
            return Status(DeviceStatus(State.ENDED), DeviceStatus(State.ENDED))
        return Status(DeviceStatus(State.RUNNING), DeviceStatus(State.RUNNING))

    def start(self):
        self.started += 1

    def snapshot(self, time):
        assert not self.asked or time > self.asked[-1].time, "times must rise"
        number = int(time * self.fps + 1e-6)
        picture = self.pictures(number)
        last = int(time * SOUND.rate + 1e-6)
        start = max(0, (last - SOUND.samples) // SOUND.hop * SOUND.hop)
        sound = np.zeros(SOUND.samples, np.float32)
        heard = self.heard(time)
        if heard:
            piece = self.wave[start : min(start + SOUND.samples, last)]
            sound[: len(piece)] = piece
        frame = None if picture is None else Frame(number / self.fps, number, picture)
        age = time - number / self.fps if frame else float("inf")
        snippet = Snippet(time, frame, sound, start, heard, age, 0.0 if heard else float("inf"), 0.004)
        self.asked.append(snippet)
        return snippet

    def close(self):
        self.closed += 1
