"""Ablations that need no retraining: parts of the method replaced, or told that there is no sound, at evaluation.

`ABLATIONS` says what there is and `combined` makes one of several; `runtimes.ablated` carries it out. T snippets, k
chosen; `times` [T] are seconds. Whatever is random follows from the clip's own seed, so results repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from avgn.errors import UsageError
from avgn.selection import top_k

if TYPE_CHECKING:
    from avgn.config import PatchConfig
    from avgn.data.scenes import SceneRecord

    Frames = Callable[[NDArray[np.float32], int, NDArray[np.float64], SceneRecord], tuple[int, ...]]
    Patches = Callable[[NDArray[np.float64], SceneRecord, PatchConfig], NDArray[np.float64]]

Part = Literal["clip", "frames", "saliency", "patches", "classify"]
_FRAMES, _PATCHES = 0, 1  # random streams of a clip


@dataclass(frozen=True)
class Ablation:
    """What is not as the method has it.

    `frames` chooses the k snippets from (saliency [T], k, times, record); `patches` gives the centres [T,2] (y, x in
    0..1; NaN leaves π's own) from (times, record, config.patch); None leaves the method's choice. `deaf` are the parts
    told that there is no sound: the whole clip, AV-TeST (`frames`: for its choice only, its tokens hear; `saliency`:
    the tokens too), AESPA and π (`patches`), ψ and fC (`classify`).
    """

    says: str
    frames: Frames | None = None
    patches: Patches | None = None
    deaf: frozenset[Part] = frozenset()


def uniform_frames(
    saliency: NDArray[np.float32], k: int, times: NDArray[np.float64], record: SceneRecord
) -> tuple[int, ...]:
    """The middle one of each of k equal parts."""
    return tuple(_spread(len(times), k).tolist())


def random_frames(
    saliency: NDArray[np.float32], k: int, times: NDArray[np.float64], record: SceneRecord
) -> tuple[int, ...]:
    """Any k, every set as likely as another."""
    return tuple(sorted(_random(record, _FRAMES).choice(len(times), k, replace=False).tolist()))


def oracle_frames(
    saliency: NDArray[np.float32], k: int, times: NDArray[np.float64], record: SceneRecord
) -> tuple[int, ...]:
    """k spread over those in the true interval; where it holds fewer, all of them and the most salient others."""
    salient = record.salient(times)
    there = np.flatnonzero(salient)
    if len(there) < k:
        return top_k(np.where(salient, np.float32(np.inf), saliency), k)
    return tuple(there[_spread(len(there), k)].tolist())


def centre_patches(times: NDArray[np.float64], record: SceneRecord, patch: PatchConfig) -> NDArray[np.float64]:
    """The middle of each frame."""
    return np.full((len(times), 2), 0.5)


def random_patches(times: NDArray[np.float64], record: SceneRecord, patch: PatchConfig) -> NDArray[np.float64]:
    """Anywhere, every patch inside the frame as likely as another."""
    shape = np.array((record.height, record.width), np.float64)
    half = patch.size / 2 * shape.min() / (shape * patch.short_side)
    return half + _random(record, _PATCHES).uniform(size=(len(times), 2)) * (1 - 2 * half)


def oracle_patches(times: NDArray[np.float64], record: SceneRecord, patch: PatchConfig) -> NDArray[np.float64]:
    """The middle of the true box; NaN where there is none."""
    boxes = record.boxes_at(times)
    return np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, 1)


ABLATIONS: dict[str, Ablation] = {
    "frames-uniform": Ablation("Chooses k snippets evenly spread over the clip.", frames=uniform_frames),
    "frames-random": Ablation("Chooses k snippets at random.", frames=random_frames),
    "frames-oracle": Ablation(
        "Chooses k snippets spread over the true interval; where it holds fewer, the rest by saliency.",
        frames=oracle_frames,
    ),
    "frames-deaf": Ablation(
        "Chooses by the saliency that AV-TeST finds without sound; the classifier's tokens stay as they were.",
        deaf=frozenset({"frames"}),
    ),
    "patches-centre": Ablation("Cuts the middle of each chosen frame.", patches=centre_patches),
    "patches-random": Ablation("Cuts a random place of each chosen frame.", patches=random_patches),
    "patches-oracle": Ablation(
        "Cuts the middle of the true box; where there is none, π's own.", patches=oracle_patches
    ),
    "patches-deaf": Ablation(
        "Tells AESPA and π that there is no sound: centre and context change, tokens stay as they were.",
        deaf=frozenset({"patches"}),
    ),
    "sound-off": Ablation("Takes the sound away everywhere.", deaf=frozenset({"clip"})),
    "sound-off-saliency": Ablation(
        "Tells AV-TeST that there is no sound: the classifier gets the tokens it then makes (their audio half: zeros).",
        deaf=frozenset({"saliency"}),
    ),
    "sound-off-classify": Ablation("Tells the classifier that there is no sound.", deaf=frozenset({"classify"})),
}


def combined(names: Sequence[str]) -> Ablation:
    """All of `names` in one. Raises UsageError for unknown names, and for two that want to choose the same thing."""
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise UsageError(f"ablation {unknown[0]!r} is unknown: choose from {', '.join(ABLATIONS)}.")
    chosen = {name: ABLATIONS[name] for name in names}
    frames = {name: ablation.frames for name, ablation in chosen.items() if ablation.frames}
    patches = {name: ablation.patches for name, ablation in chosen.items() if ablation.patches}
    for rivals in (frames, patches):
        if len(rivals) > 1:
            raise UsageError(f"{' and '.join(rivals)} exclude each other: ablate one of them at a time.")
    return Ablation(
        " ".join(ablation.says for ablation in chosen.values()),
        next(iter(frames.values()), None),
        next(iter(patches.values()), None),
        frozenset().union(*(ablation.deaf for ablation in chosen.values())),
    )


def _spread(count: int, k: int) -> NDArray[np.int64]:
    """The middle one of each of k equal parts of range(count), k <= count: [k], rising."""
    return ((2 * np.arange(k) + 1) * count) // (2 * k)


def _random(record: SceneRecord, stream: int) -> np.random.Generator:
    return np.random.default_rng((record.seed % 2**64, stream))
