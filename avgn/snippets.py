"""Where the T snippets of a clip lie and what each holds: the one place that files, training and live all use.

A snippet is one frame and the S samples of sound around it. Snippets sit in the middle of T equal parts of the clip;
their sound windows start on a grid of `hop` samples, so that overlapping windows share their mel columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avgn.config import SoundConfig


class Picture(Protocol):
    """One frame at capture resolution, turned into pixels only when asked."""

    def squashed(self, size: int) -> NDArray[np.uint8]:
        """The whole frame, upright, squashed to a square: [3, size, size] RGB."""
        ...

    def scaled(self, short_side: int) -> NDArray[np.uint8]:
        """The whole frame, upright, with square pixels: [H, W, 3] RGB where min(H, W) == short_side."""
        ...


@dataclass(frozen=True, eq=False)
class Clip:
    """T snippets. Times are seconds from the clip's start, the earliest moment of its picture and its sound."""

    duration: float
    times: NDArray[np.float64]
    """[T] the timestamp of each snippet's own frame; the planned time where there is none."""
    pictures: tuple[Picture | None, ...]
    sound: NDArray[np.float32]
    """[T, S] mono at the configured rate, -1..1; zeros where not heard."""
    starts: NDArray[np.int64]
    """[T] first sample of each window on the clip's own sample grid, a multiple of `hop`."""
    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    damaged: int = 0
    """Packets that could not be decoded and were left out."""


def snippet_times(duration: float, count: int) -> NDArray[np.float64]:
    """The middle of each of `count` equal parts of `duration` seconds: [count]."""
    return (np.arange(count, dtype=np.float64) + 0.5) * np.float64(duration / count)


def centred_start(time: float, sound: SoundConfig) -> int:
    """First sample, on the hop grid, of the window of S samples centred on `time`; negative before the clip."""
    return sound.hop * round((time * sound.rate - sound.samples / 2) / sound.hop)


def patience(period: float) -> float:
    """Seconds after its end for which a last frame stays on display, where frames come every `period` seconds."""
    return max(1.0, 2 * period)


def sound_start(time: float, first: int, last: int, sound: SoundConfig) -> int | None:
    """First sample of the window for a snippet at `time`, given sound in samples [first, last) of the clip's grid.

    The window is centred on `time`, then moved inside the sound that exists; where the sound is shorter than a window,
    the window starts with it. None where the centred window touches no sound: the snippet is not heard.
    """
    start = centred_start(time, sound)
    if first >= last or start >= last or start + sound.samples <= first:
        return None
    earliest, latest = -(-first // sound.hop) * sound.hop, (last - sound.samples) // sound.hop * sound.hop
    if earliest > latest:
        return first // sound.hop * sound.hop
    return min(max(start, earliest), latest)
