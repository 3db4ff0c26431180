"""Graphs that are wrong on purpose, and clips in which every one of them shows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from avgn.snippets import Clip

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL


def swapped_channels(module, inputs):
    return module(inputs[0].flip(1), *inputs[1:])


def shifted_mel(module, inputs):
    return module(inputs[0], inputs[1].roll(1, -1), *inputs[2:])


def one_wrong_weight(module, inputs):
    weight = module.model.focus_encoder.features[0][0].weight
    with torch.no_grad():
        wrong = weight.clone()
        wrong.view(-1)[5] += 0.1 * weight.abs().max()
    return torch.func.functional_call(module, {"model.focus_encoder.features.0.0.weight": wrong}, inputs)


class Faulty(torch.nn.Module):
    def __init__(self, module, fault):
        super().__init__()
        self.module, self.fault = module, fault

    def forward(self, *inputs):
        return self.fault(self.module, inputs)


class Coloured:
    """A picture of coloured noise, large grains, the same for every size asked."""

    def __init__(self, seed):
        self.grains = np.random.default_rng(seed).integers(0, 256, (3, 6, 8)).astype(np.uint8)

    def squashed(self, size):
        return self.grains[:, np.arange(size) * 6 // size][:, :, np.arange(size) * 8 // size]

    def scaled(self, short_side):
        rows, columns = np.arange(short_side), np.arange(short_side * 4 // 3)
        grid = self.grains[:, rows * 6 // len(rows)][:, :, columns * 8 // len(columns)]
        return np.ascontiguousarray(grid.transpose(1, 2, 0))


def coloured_clip(seed):
    count, sound = SMALL.snippets, SMALL.sound
    there = np.ones(count, np.bool_)
    waves = np.random.default_rng(seed).normal(0, 0.1, (count, sound.samples)).astype(np.float32)
    pictures = tuple(Coloured(seed * 100 + index) for index in range(count))
    return Clip(float(count), np.arange(count) + 0.5, pictures, waves, np.arange(count) * 100 * sound.hop, there, there)
