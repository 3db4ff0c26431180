"""Known signs that a model does not do what it is meant to, and from where on each is worth a warning.

The bounds come from what the shipped model shows when it works: bundle of run a04928ed2adcc7d2, openvino fp32, on 60
rendered Scenes clips (split val, seed 7), by `avgn.training.health.observe`; `flips`, which takes a k above 1, from the
same weights with k = 2 and patches of 144 px. Below half of the least, or beyond the
upper end of the interval, a model behaves in a way that was not seen there. Other data may bring it about for its own
reasons (a still picture with a steady sound is equally salient throughout): a sign is a reason to look, no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, pstdev

ENOUGH = 20  # clips, or patches, before anything is said about a whole set
_MISSING = -9e3  # a snippet with neither picture nor sound scores below this


@dataclass(frozen=True)
class Sign:
    """A sign, its bound, what was seen when the bound was set, and what to tell."""

    bound: float
    seen: str
    says: str


SIGNS = {
    "flat": Sign(
        0.30,
        "standard deviation of the saliency over a clip: 0.61 the least, 3.03 the median of 60; bound: half the least",
        "the saliency is flat: which snippets were chosen means little",
    ),
    "stuck": Sign(
        0.054,
        "standard deviation of the patches' middles over 60 patches: 0.109 in y, 0.172 in x; bound: half the lesser",
        "the patches are stuck in one place: the policy does not look at the picture",
    ),
    "flips": Sign(
        0.139,
        "share of clips whose label is another one at some smaller k: 3 of 60; bound: the end of its 95 % interval",
        "the answers flip with k: they hang on which snippets happen to be chosen",
    ),
}


def spread(saliency: Sequence[float]) -> float:
    """Standard deviation of the scores [T] of the snippets that hold anything; 0 for none."""
    present = [score for score in saliency if score > _MISSING]
    return pstdev(present) if present else 0.0


def clip_warnings(saliency: Sequence[float]) -> list[str]:
    """What one clip can show: whether its saliency [T] is flat. One sentence a sign."""
    present = [score for score in saliency if score > _MISSING]
    flat = len(present) > 1 and spread(present) < SIGNS["flat"].bound
    return [_told("flat", spread(present))] if flat else []


def set_warnings(
    saliencies: Sequence[Sequence[float]], centres: Sequence[tuple[float, float]], flips: Sequence[bool]
) -> list[str]:
    """What a whole set shows: the clips' saliencies, the middles (y, x) of all patches, which clips' answers flip.

    Nothing is said of fewer than ENOUGH clips or patches.
    """
    told = []
    if len(saliencies) >= ENOUGH and (value := median(map(spread, saliencies))) < SIGNS["flat"].bound:
        told.append(_told("flat", value))
    if len(centres) >= ENOUGH and (value := max(map(pstdev, zip(*centres, strict=True)))) < SIGNS["stuck"].bound:
        told.append(_told("stuck", value))
    if len(flips) >= ENOUGH and (value := sum(flips) / len(flips)) > SIGNS["flips"].bound:
        told.append(_told("flips", value))
    return told


def _told(name: str, value: float) -> str:
    return f"{SIGNS[name].says} ({value:.2g}; bound {SIGNS[name].bound})"
