"""The dense yardstick's losses, cost and decisions; it is trained by the same loop and recipe as AVGN."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avgn.config import Config
from avgn.data.samples import Truth, unit_range
from avgn.data.scenes import SceneRecord
from avgn.logmel import log_mel_windows
from avgn.media import read_clip
from avgn.network import encoders
from avgn.network.avgn import Batch, encode
from avgn.network.checkpoint import load_dense
from avgn.network.dense import Dense
from avgn.snippets import Clip
from avgn.training.branches import drop_modalities
from avgn.training.evaluation import ClipResult
from avgn.training.losses import weighted
from avgn.training.macs import count
from avgn.training.recipe import Recipe
from avgn.training.warm_up import GlimpseBatch, where

Decide = Callable[[Path, SceneRecord, int], ClipResult]


def dense_losses(model: Dense, batch: Batch, truth: Truth, recipe: Recipe) -> dict[str, Tensor]:
    """Cross entropy of the answer and of the auxiliary heads, held to the true interval where the recipe has it."""
    batch = drop_modalities(batch, recipe.modality_dropout)
    out, weights = model.answers(batch), recipe.losses
    shares = truth.salient if weights.true_saliency else torch.ones_like(truth.salient)
    terms = {
        "chosen": F.cross_entropy(out.logits, truth.label),
        "local": weights.local * weighted(out.frame_logits, truth.label, shares * batch.seen),
        "sound": weights.sound * weighted(out.sound_logits, truth.label, shares * batch.heard),
    }
    total = torch.stack(list(terms.values())).sum()
    return terms | {"total": total, "top1": (out.logits.detach().argmax(1) == truth.label).float().mean()}


def dense_warm_up_losses(model: Dense, batch: GlimpseBatch) -> dict[str, Tensor]:
    """Cross entropy of both auxiliary heads on single moments: whole frames, not patches."""
    frame_map = encode(model.focus_encoder, model.focus_pixels(unit_range(batch.frame)))
    frames = model.focus_head(encoders.pool(frame_map))
    sounds = model.sound_head(encoders.pool(model.sound_encoder(batch.mel)))
    terms = {"local": where(frames, batch.label, batch.seen), "sound": where(sounds, batch.label, batch.heard)}
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def dense_macs(model: Dense) -> int:
    """Multiply-accumulates of one clip."""
    config, clips = model.config, (1, model.config.snippets)
    frames = torch.zeros(*clips, 3, config.frame.size, config.frame.size)
    mel = torch.zeros(*clips, 1, config.sound.mels, config.sound.frames)
    return count(model, Batch(frames, frames[:, :, :, :1, :1], mel, torch.ones(clips), torch.ones(clips)))


def dense_decider(folder: Path) -> tuple[tuple[str, ...], Decide]:
    """Labels of the dense run in `folder`, and a function that decides a rendered clip in PyTorch."""
    model, run = load_dense(folder)
    macs = dense_macs(model)

    def decide(path: Path, record: SceneRecord, label: int) -> ClipResult:
        batch = as_batch(read_clip(path, model.config), model.config)
        began = perf_counter()
        with torch.inference_mode():
            probabilities = model(batch)[0].double().softmax(0)
        spent = (perf_counter() - began) * 1e3
        return ClipResult(record.kind, label, tuple(probabilities.tolist()), math.nan, (), macs, spent)

    return run.labels, decide


def as_batch(clip: Clip, config: Config) -> Batch:
    """A decoded clip as a batch of one."""
    side = config.frame.size
    blank = np.zeros((3, side, side), np.uint8)
    frames = np.stack([blank if picture is None else picture.squashed(side) for picture in clip.pictures])
    mel = log_mel_windows(clip.sound, clip.starts, config.sound) * clip.heard[:, None, None, None]
    pixels = unit_range(torch.from_numpy(frames))[None]
    heard, seen = (torch.from_numpy(mask).float()[None] for mask in (clip.heard, clip.seen))
    return Batch(pixels, pixels[..., :1, :1], torch.from_numpy(mel.astype(np.float32))[None], heard, seen)
