"""A small quantised net as a graph: what int8 exports are tested on."""

from __future__ import annotations

import torch
from torch import nn

from avgn.contract import TensorSpec
from export.common import Piece, exported
from export.graphs import Graph
from quantize.ptq import quantise
from quantize.quantizer import quantizers

MACS = {"first": 8 * 3 * 9 * 12 * 12, "second": 8 * 8 * 12 * 12, "linear": 8 * 4}


class Net(nn.Module):
    """A convolution whose output goes two ways, a second one, their sum, its mean, a matrix product."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6()
        self.second, self.linear = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, patch):
        shared = self.relu(self.first(patch))
        return self.linear((shared + self.second(shared)).mean((2, 3), keepdim=True).flatten(1))


def quantised():
    """The net with quantisers, and a picture of 0..1 in steps of 1/255."""
    made = [torch.randint(0, 256, (4, 3, 12, 12), generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    seen = [pictures / 255 for pictures in made]
    return quantise(Net().eval(), seen), seen[0][:1].contiguous()


def last_step(net):
    """The step of the output."""
    return next(hook.spec.step for place, hook in quantizers(net).items() if place.startswith("post_hooks.linear"))


def piece(module):
    """`module` as the graph `focus`."""
    specs = (TensorSpec("patch", (1, 3, 12, 12), "float32"),), (TensorSpec("local", (1, 4), "float32"),)
    graph = Graph("focus", module.eval(), *specs)
    return Piece(graph, exported(graph))
