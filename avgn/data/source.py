"""Where training clips come from: Scenes composed on the fly from material."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avgn.config import Config
from avgn.data.compose import Composed, ComposedScenes
from avgn.data.material import load_material
from avgn.data.plan import settings
from avgn.data.samples import Glimpse, Sample
from avgn.logmel import log_mel_windows
from avgn.selection import patch_corner

_GLIMPSES = 1_000_000_000  # glimpses are other scenes than the clips: their indices start here


@dataclass(frozen=True)
class SceneSource:
    """Endless training clips and glimpses from one split of a material folder."""

    scenes: ComposedScenes
    labels: tuple[str, ...]

    def sample(self, index: int) -> Sample:
        """Clip `index`; the same index gives the same clip."""
        made = self.scenes.compose(index)
        return Sample(
            made.frames,
            made.pictures,
            log_mel_windows(made.sound, made.starts, self.scenes.config.sound),
            made.heard,
            made.seen,
            made.label,
            made.salient,
            np.where(made.boxed[:, None], made.boxes, np.float32(np.nan)),
        )

    def glimpse(self, index: int) -> Glimpse:
        """One salient moment of a scene, with the patch around its object (roughly: its place is jittered)."""
        index += _GLIMPSES
        scene = self.scenes.plan(index)
        random = np.random.default_rng([scene.seed, 2])
        time = random.uniform(*scene.interval)
        made = self.scenes.compose_at(scene, np.array([time]))
        patch = _patch(made, self.scenes.config.patch.size, random)
        mel = log_mel_windows(made.sound, made.starts, self.scenes.config.sound)
        seen, heard = bool(made.boxed[0]), any(sound.label == scene.label for sound in scene.sounds)
        return Glimpse(made.frames[0], patch, mel[0], made.label, seen, heard)


def open_source(folder: Path, config: Config, seed: int, split: str = "train") -> SceneSource:
    """A split of a material folder; raises InputError where it is none, UsageError for an unknown split."""
    material = load_material(folder, split, config.sound.rate)
    material.preload()
    return SceneSource(ComposedScenes(material, config, 1 << 40, seed, settings(augment=True)), material.classes)


def _patch(made: Composed, size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    y0, x0, y1, x1 = made.boxes[0] if made.boxed[0] else (0.0, 0.0, 1.0, 1.0)
    height, width = made.pictures.shape[-2:]
    centre = (y0 + y1) / 2 + random.normal(0, 0.08), (x0 + x1) / 2 + random.normal(0, 0.06)
    top, left = patch_corner(centre, height, width, size)
    return np.ascontiguousarray(made.pictures[0, :, top : top + size, left : left + size])
