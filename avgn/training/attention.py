"""Does the sound point at the object? AESPA's attention and π's heat against the true boxes of rendered clips.

Each picture cell spreads an attention of 1 over the cells of the sound, so its weights alone point nowhere in the
picture. What can point is how far a cell singles out some of the sound: 1 minus the entropy of its weights, divided by
that of even weights. This, and π's heat with and without sound, are correlated with how much of each cell the true box
covers (Pearson's r over the cells of a frame), and averaged over frames. All of this is our own measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avgn.data.samples import unit_range
from avgn.data.scenes import SceneRecord
from avgn.logmel import log_mel_windows
from avgn.media import read_clip
from avgn.network.avgn import AVGN, encode
from avgn.training.losses import box_cover
from avgn.training.study_figures import Figure, interval

MEASURED = {
    "attention": "how far a cell singles out some of the sound",
    "heat": "π's heat, with sound",
    "heat-deaf": "π's heat, without sound",
}


def attention_figures(model: AVGN, scenes: Iterable[tuple[Path, SceneRecord]]) -> dict[str, Figure]:
    """Mean correlation of each of MEASURED with the true box, over clips in which object and sound are both there.

    With bootstrap intervals over clips; nothing where no clip is of that kind.
    """
    clips = [_of_clip(model, path, record) for path, record in scenes if record.kind == "both"]
    found = {}
    for name in MEASURED:
        each = [clip[name] for clip in clips if clip]
        figure = interval(np.array([sum(part) for part in each]), np.array([float(len(part)) for part in each]))
        if figure is not None:
            found[name] = figure
    return found


@torch.inference_mode()
def _of_clip(model: AVGN, path: Path, record: SceneRecord) -> dict[str, list[float]]:
    """Correlations in each frame that shows the object while its sound is heard; {} where there is none."""
    config = model.config
    clip = read_clip(path, config)
    boxes = record.boxes_at(clip.times)
    chosen = [index for index, box in enumerate(boxes) if clip.seen[index] and clip.heard[index] and box[0] == box[0]]
    if not chosen:
        return {}
    frames = [picture.squashed(config.frame.size) for i in chosen if (picture := clip.pictures[i]) is not None]
    mel = torch.from_numpy(log_mel_windows(clip.sound[chosen], clip.starts[chosen], config.sound))
    frame_map = encode(model.frame_encoder, model.frame_pixels(unit_range(torch.from_numpy(np.stack(frames)))))
    sound_map = encode(model.sound_encoder, mel)
    heard = torch.ones(len(chosen), 1)
    grids = {
        "attention": _singling(model.patch_net.attention_weights(frame_map, sound_map)),
        "heat": model.patch_net(frame_map, sound_map, heard).heat.flatten(1).softmax(1),
        "heat-deaf": model.patch_net(frame_map, sound_map, 0 * heard).heat.flatten(1).softmax(1),
    }
    height, width = frame_map.shape[-2:]
    cover = box_cover(torch.from_numpy(boxes[chosen]).float(), height, width).flatten(1).double().numpy()
    return {name: _correlations(grid.double().numpy(), cover) for name, grid in grids.items()}


def _singling(weights: Tensor) -> Tensor:
    """`weights` [N,heads,cells,n] over the sound's n cells -> [N,cells] in 0..1, averaged over the heads."""
    entropy = -(weights * weights.clamp(min=1e-12).log()).sum(-1)
    return (1 - entropy / math.log(weights.shape[-1])).mean(1)


def _correlations(grids: NDArray[np.float64], covers: NDArray[np.float64]) -> list[float]:
    """Pearson's r of each frame's cells; a grid without any contrast counts 0."""
    a, b = grids - grids.mean(1, keepdims=True), covers - covers.mean(1, keepdims=True)
    spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(spread > 1e-12, (a * b).sum(1) / np.maximum(spread, 1e-12), 0.0).tolist()
