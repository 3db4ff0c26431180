"""Looks for the signs of `avgn.health` on rendered clips, and gives the figures from which their bounds were set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avgn.data.scenes import SceneRecord
from avgn.health import set_warnings, spread
from avgn.training.ablations import combined

if TYPE_CHECKING:
    from runtimes.ablated import Rehearsal
    from runtimes.decision import Decision

CLIPS = 60  # whose answers are tried at every k: they are opened a second time


@dataclass(frozen=True)
class Observed:
    """What a model shows: spread of the saliency by clip, middles of patches, and which clips' answers flip with k."""

    spreads: tuple[float, ...]
    centres: tuple[tuple[float, float], ...]
    flips: tuple[bool, ...]

    def as_json(self) -> dict[str, float]:
        """The figures that bounds are set by."""
        y, x = np.std(self.centres, axis=0) if self.centres else (float("nan"),) * 2
        return {
            "spread_least": min(self.spreads),
            "spread_median": float(np.median(self.spreads)),
            "centre_y": float(y),
            "centre_x": float(x),
            "flips": float(np.mean(self.flips)),
        }


def observe(rehearsal: Rehearsal, scenes: Iterable[tuple[Path, SceneRecord]]) -> Observed:
    """Decide each clip at every k."""
    spreads, centres, flips = [], [], []
    for path, record in scenes:
        rehearsal.open(path, record)
        decision = rehearsal.decision(combined(()), exit_confidence=float("inf"))
        spreads.append(spread(decision.saliency))
        centres += list(decision.centres)
        flips.append(flips_with_k(rehearsal, decision))
    return Observed(tuple(spreads), tuple(centres), tuple(flips))


def flips_with_k(rehearsal: Rehearsal, decision: Decision) -> bool:
    """Whether the clip that was opened last gets another label than `decision`'s at some smaller k."""
    fewer = (rehearsal.decision(combined(()), k, float("inf")).label for k in range(1, rehearsal.k))
    return any(label != decision.label for label in fewer)


def warnings_of(
    decisions: Sequence[Decision], rehearsal: Rehearsal, scenes: Sequence[tuple[Path, SceneRecord]]
) -> list[str]:
    """Signs in the `decisions` made on a set of clips, and in what the first CLIPS of them answer at every k."""
    saliencies = [decision.saliency for decision in decisions]
    centres = [centre for decision in decisions for centre in decision.centres]
    return set_warnings(saliencies, centres, observe(rehearsal, scenes[:CLIPS]).flips)
