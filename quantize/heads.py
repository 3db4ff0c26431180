"""What follows the encoders of `glance` in int8 as well: the token layers, AESPA's attention and π.

They hold a third of its weights, which in float were more than half of its bytes. A layer has int8 of its input, of its
weights and of its output; softmax, norms and sums between stay in float. So do two layers: that of the queries, whose
output has channels of 0.1 and of 60 side by side (in int8 it alone moved centres by 7 % and contexts by 17 %, all the
others together by 0.2 and 1.4 %), and π's last, whose few weights make the heat map. Ranges come from what the
quantised encoders give.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from avgn.network.avgn import AVGN
from avgn.network.encoders import pool
from quantize.ptq import HALF
from quantize.quantizer import Spec, install
from quantize.ranges import fit_ranges
from quantize.state import HEADS

_WORTH = 1024  # weights of a layer
_FUNCTIONS = {nn.Linear: "linear", nn.Conv2d: "conv2d"}
_LEFT = ("query",)  # layers of patch_net that stay in float
_GIVEN = ("key",)  # and those that take an encoder's map, which is int8 already


@torch.no_grad()
def quantise_heads(
    model: AVGN, encoders: Mapping[str, nn.Module], inputs: Mapping[str, Sequence[Tensor]]
) -> dict[str, nn.Module]:
    """Copies of the heads of the float `model` with quantisers, for maps of the quantised `encoders`.

    `inputs`: batches [n,...] of what the frame and the sound encoder are given, of the same snippets.
    """
    maps = [torch.cat([encoders[name](batch) for batch in inputs[name]]) for name in ("frame_encoder", "sound_encoder")]
    heard = torch.ones(len(maps[0]), 1)
    seen = {"frame_token": (pool(maps[0]),), "sound_token": (pool(maps[1]),), "patch_net": (*maps, heard)}
    made = {}
    for name in HEADS:
        head = copy.deepcopy(getattr(model, name)).eval()
        positive = bool(seen[name][0].min() >= 0)
        made[name] = install(head, list(_specs(head, positive)))
        fit_ranges(made[name], [seen[name]])
    return made


def _specs(head: nn.Module, positive: bool) -> Iterator[Spec]:
    """Quantisers of the layers that are worth it; their steps are still to be fitted.

    Around 0 alike on both sides: OpenVINO knows no other products of matrices, but for what is never negative.
    """
    for name, layer in head.named_modules():
        if type(layer) in _FUNCTIONS and layer.weight.numel() >= _WORTH and name not in _LEFT:
            place = f"{name.replace('.', '/')}/{_FUNCTIONS[type(layer)]}/0__"
            if name not in _GIVEN:
                yield _around_zero(f"pre_hooks.{place}0.0", positive and not name)
            yield Spec(f"pre_hooks.{place}1.0", *HALF, axis=0)
            yield _around_zero(f"post_hooks.{place}0.0", False)


def _around_zero(place: str, positive: bool) -> Spec:
    return Spec(place, -128, 127, 1.0, -128) if positive else Spec(place, -127, 127, 1.0, 0)
