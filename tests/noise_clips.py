"""Clips of noise for trainings that need none better, and the tiny network that takes them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avgn.data.samples import Glimpse, Sample

sys.path.append(str(Path(__file__).parent / "avgn" / "network"))
from small import SMALL

CONFIG = replace(SMALL, snippets=2, chosen=1, classes=3, frame=replace(SMALL.frame, size=32))
CONFIG = replace(CONFIG, patch=replace(CONFIG.patch, size=32, short_side=40))


@dataclass(frozen=True)
class Noise:
    """Clips of noise whose label shows in the picture's brightness; `fails_at` breaks off like a kill."""

    fails_at: int = -1
    labels: tuple[str, ...] = ("a", "b", "c")

    def sample(self, index):
        if index == self.fails_at:
            raise KeyboardInterrupt
        random = np.random.default_rng(index)
        label, count = index % 3, CONFIG.snippets
        frames = random.integers(60 * label, 60 * label + 90, (count, 3, 32, 32)).astype(np.uint8)
        pictures = random.integers(60 * label, 60 * label + 90, (count, 3, 40, 56)).astype(np.uint8)
        mel = random.normal(0, 1, (count, 1, 128, 128)).astype(np.float32)
        there = np.ones(count, np.bool_)
        return Sample(frames, pictures, mel, there, there, label, there, np.full((count, 4), np.nan, np.float32))

    def glimpse(self, index):
        clip = self.sample(index)
        return Glimpse(clip.frames[0], clip.pictures[0, :, :32, :32], clip.mel[0], clip.label, True, index % 2 == 0)
