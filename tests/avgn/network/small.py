"""A small network and batches for tests: every part is there, nothing is big."""

from __future__ import annotations

from dataclasses import replace

import torch

from avgn.config import Config, FocusConfig, FrameConfig, FusionConfig, PatchConfig, SaliencyConfig
from avgn.network.avgn import AVGN, Batch

SMALL = Config(
    snippets=6,
    chosen=2,
    classes=5,
    frame=FrameConfig(size=64),
    saliency=SaliencyConfig(width=32, layers=2, heads=4),
    patch=PatchConfig(size=64, short_side=96, heads=2, width=32),
    focus=FocusConfig(encoder="efficientnet_lite0", pixels="lite"),
    fusion=FusionConfig(layers=1, heads=4, dropout=0.0),
)


def network(config: Config = SMALL, seed: int = 0) -> AVGN:
    """A network with seeded weights, its batch norms set by one batch: otherwise signals die out on the way."""
    torch.manual_seed(seed)
    model = AVGN(config)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # statistics of what it sees, not a slow average
    with torch.no_grad():
        model.train()(batch(2, config, seed=7))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def batch(clips: int = 3, config: Config = SMALL, seed: int = 1) -> Batch:
    """Random clips: pictures are wider than high, frames are their squashed copies."""
    made = torch.Generator().manual_seed(seed)
    height, width = config.patch.short_side, config.patch.short_side * 4 // 3
    pictures = torch.rand(clips, config.snippets, 3, height, width, generator=made)
    flat = torch.nn.functional.interpolate(pictures.flatten(0, 1), size=(config.frame.size,) * 2)
    mel = torch.randn(clips, config.snippets, 1, config.sound.mels, config.sound.frames, generator=made)
    ones = torch.ones(clips, config.snippets)
    return Batch(flat.unflatten(0, (clips, config.snippets)), pictures, mel, ones, ones.clone())


def with_snippets(config: Config, snippets: int, chosen: int) -> Config:
    """The same network for another window."""
    return replace(config, snippets=snippets, chosen=chosen)
