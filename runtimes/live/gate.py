"""Is anything going on? A cheap look at picture and sound, so that still hours do not cost glances."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avgn.errors import UsageError

if TYPE_CHECKING:
    from avgn.snippets import Picture

QUIETEST = -120.0  # dBFS, for digital silence
BLOCKS = 16  # a side: small things that move change one block, and noise averages out in it


@dataclass(frozen=True)
class IdleSettings:
    """When the stream rests. Times in seconds.

    It rests after `patience` in which no block of the picture differed by more than `change` (0..1 of full scale) from
    the last glance, and no sound was louder than `quiet` (dBFS, of one snippet's step). At rest it still takes this
    cheap look at every snippet, but glances only every `every` seconds. What passes either threshold ends the rest with
    that very snippet: nothing is added to its latency. What stays below both waits for the next glance: up to `every`.
    """

    patience: float = 3.0
    every: float = 1.0
    change: float = 0.03
    quiet: float = -50.0

    def __post_init__(self) -> None:
        for name, valid in (
            ("patience", 0 <= self.patience < inf),
            ("every", 0 < self.every < inf),
            ("change", 0 <= self.change <= 1),
            ("quiet", QUIETEST <= self.quiet <= 0),
        ):
            if not valid:
                raise UsageError(f"idle: {name} is {getattr(self, name)}, which makes no sense.")


def loudness(sound: NDArray[np.float32]) -> float:
    """Root mean square of `sound` [n] (-1..1) in dBFS, -120 (silence) to 0; a sine of full scale has -3."""
    power = float(np.dot(sound, sound)) / sound.size if sound.size else 0.0
    return max(QUIETEST, 10 * float(np.log10(power))) if power > 0 else QUIETEST


class IdleGate:
    """Says for each snippet whether it is worth a glance. `size` is the side of the glance's frame."""

    def __init__(self, settings: IdleSettings, size: int) -> None:
        self._settings, self._size = settings, size
        self._glanced: NDArray[np.float32] | None = None
        self._stirred = -inf
        self._last = -inf
        self.idle = False

    def worth(self, time: float, picture: Picture | None, level: float | None) -> bool:
        """Whether to glance at the snippet of `time`: its picture, and its `loudness` if heard; sets `idle`."""
        blocks = None if picture is None else _blocks(picture.squashed(self._size))
        if self._last == -inf or (level is not None and level > self._settings.quiet) or self._changed(blocks):
            self._stirred = time
        self.idle = time - self._stirred >= self._settings.patience
        # a hair of slack: steps of a fifth of a second do not add up to one exactly
        worth = not self.idle or time - self._last >= self._settings.every - 1e-6
        if worth:
            self._glanced, self._last = blocks, time
        return worth

    def _changed(self, blocks: NDArray[np.float32] | None) -> bool:
        if blocks is None or self._glanced is None:
            return blocks is not self._glanced
        return float(np.abs(blocks - self._glanced).max()) > self._settings.change


def _blocks(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means in 0..1 of square blocks of `pixels` [3, G, G]: [3, 16, 16]."""
    side = pixels.shape[1] // BLOCKS
    cut = pixels[:, : side * BLOCKS, : side * BLOCKS].reshape(3, BLOCKS, side, BLOCKS, side)
    return cut.mean(axis=(2, 4), dtype=np.float32) / 255
