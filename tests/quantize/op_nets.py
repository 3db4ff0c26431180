"""One small net for each kind of operator that the encoders have, and its quantisers as NNCF places them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avgn.network.encoders import Inverted, InvertedResidual, SqueezeExcitation, conv, pool
from quantize.ptq import quantise

CHANNELS, SIDE = 8, 12


class Net(nn.Module):
    """`body` on pictures [N,CHANNELS,SIDE,SIDE]: hooks want a root that is no bare sequence."""

    def __init__(self, *body: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return pool(x)


def _wide(activation=None) -> nn.Module:
    return conv(CHANNELS, CHANNELS, 3, activation=activation)


def _depthwise() -> nn.Module:
    return conv(CHANNELS, CHANNELS, 3, groups=CHANNELS)


BODIES = {
    "convolution": lambda: [_wide()],
    "depthwise": lambda: [_depthwise()],
    "relu": lambda: [_wide(nn.ReLU)],
    "relu6": lambda: [_wide(nn.ReLU6)],
    "hard-swish": lambda: [_wide(nn.Hardswish)],
    "squeeze-excitation": lambda: [SqueezeExcitation(CHANNELS)],
    "residual add": lambda: [InvertedResidual(Inverted(CHANNELS, CHANNELS, CHANNELS, 3, 1))],
    "max pool": lambda: [_wide(nn.ReLU), nn.MaxPool2d(3, 2, padding=1), _wide()],
    "mean": lambda: [_wide(), Pool()],
    "linear": lambda: [Pool(), nn.Linear(CHANNELS, 16)],
}


def quantised(kind: str) -> tuple[nn.Module, Tensor]:
    """A net of one kind with quantisers, and one input of it. Norms have the statistics of what it sees."""
    torch.manual_seed(len(kind))
    net = Net(*BODIES[kind]()).train()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    seen = [torch.randn(4, CHANNELS, SIDE, SIDE) for _ in range(8)]
    net(torch.cat(seen))
    return quantise(net.eval(), seen), seen[0][:1].contiguous()
