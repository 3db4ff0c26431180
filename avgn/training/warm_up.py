"""Warm-up: the three encoders learn single pictures and sounds before whole clips make them compete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avgn.data.samples import Glimpse, unit_range
from avgn.network import encoders
from avgn.network.avgn import AVGN


class GlimpseBatch(NamedTuple):
    """N glimpses."""

    frame: Tensor  # [N,3,G,G] uint8
    patch: Tensor  # [N,3,P,P] uint8
    mel: Tensor  # [N,1,M,F]
    label: Tensor  # [N]
    seen: Tensor  # [N]
    heard: Tensor  # [N]


def collate_glimpses(glimpses: Sequence[Glimpse]) -> GlimpseBatch:
    """Stack glimpses."""
    return GlimpseBatch(
        torch.from_numpy(np.stack([item.frame for item in glimpses])),
        torch.from_numpy(np.stack([item.patch for item in glimpses])),
        torch.from_numpy(np.stack([item.mel for item in glimpses])),
        torch.tensor([item.label for item in glimpses]),
        torch.tensor([float(item.seen) for item in glimpses]),
        torch.tensor([float(item.heard) for item in glimpses]),
    )


def warm_up_losses(model: AVGN, batch: GlimpseBatch) -> dict[str, Tensor]:
    """Cross entropy of each encoder's auxiliary head where the label can be seen, or heard."""
    frames = model.frame_head(encoders.pool(model.frame_encoder(model.frame_pixels(unit_range(batch.frame)))))
    patches = model.focus_head(model.focus(unit_range(batch.patch)))
    sounds = model.sound_head(encoders.pool(model.sound_encoder(batch.mel)))
    terms = {
        "frame": where(frames, batch.label, batch.seen),
        "local": where(patches, batch.label, batch.seen),
        "sound": where(sounds, batch.label, batch.heard),
    }
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def where(logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of `logits` [N,C] with `label` [N], over those in `mask` [N]."""
    return (F.cross_entropy(logits, label, reduction="none") * mask).sum() / mask.sum().clamp(min=1)
