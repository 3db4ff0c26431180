"""What follows the encoders in int8 as well: the heads of `glance`, then selection and decision.

They hold little of the work but two thirds of the weights: in float they were more than half of an int8 variant's
bytes. A layer has int8 of its input, of its weights and of its output; softmax, norms and sums between stay in float.
So do a few layers: that of AESPA's queries, whose output has channels of 0.1 and of 60 side by side (in int8 it alone
moved centres by 7 % and contexts by 17 %, all the others together by 0.2 and 1.4 %), π's last, whose few weights make
the heat map, and those that give saliencies and logits. Ranges come from what the quantised parts before give.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from avgn.network.avgn import AVGN, Batch
from avgn.network.encoders import pool
from quantize.ptq import HALF
from quantize.quantizer import Spec, install
from quantize.ranges import fit_ranges
from quantize.state import DECIDERS, HEADS, with_parts

_WORTH = 1024  # weights of a layer
_FUNCTIONS = {nn.Linear: "linear", nn.Conv2d: "conv2d"}
_LEFT = ("query", "saliency", "classifier")  # layers that stay in float (as they are named in their part)
_GIVEN = ("key",)  # and of patch_net one that takes an encoder's map, which is int8 already


def quantise_behind(
    model: AVGN,
    encoders: Mapping[str, nn.Module],
    inputs: Mapping[str, Sequence[Tensor]],
    clips: Iterable[Batch],
) -> dict[str, nn.Module]:
    """All that follows the quantised `encoders`: heads, from `inputs` of the encoders, then deciders, from `clips`."""
    heads = quantise_heads(model, encoders, inputs)
    return heads | quantise_deciders(model, {**encoders, **heads}, clips)


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
    return {name: _quantised(getattr(model, name), seen[name]) for name in HEADS}


@torch.no_grad()
def quantise_deciders(model: AVGN, parts: Mapping[str, nn.Module], clips: Iterable[Batch]) -> dict[str, nn.Module]:
    """Copies of AV-TeST and ψ of the float `model` with quantisers, for what the quantised `parts` give on `clips`."""
    before = with_parts(model, dict(parts))
    calls: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in DECIDERS}
    handles = [getattr(before, name).register_forward_pre_hook(_note(calls[name])) for name in DECIDERS]
    for clip in clips:
        before(clip)
    for handle in handles:
        handle.remove()
    seen = {name: tuple(map(torch.cat, zip(*given, strict=True))) for name, given in calls.items()}
    return {name: _quantised(getattr(model, name), seen[name]) for name in DECIDERS}


def _note(into: list[tuple[Tensor, ...]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _, given: into.append(given)


def _quantised(part: nn.Module, seen: tuple[Tensor, ...]) -> nn.Module:
    """A copy of `part` with quantisers, whose ranges are fitted to its inputs `seen`."""
    made = copy.deepcopy(part).eval()
    install(made, list(_specs(made, bool(seen[0].min() >= 0))))
    fit_ranges(made, [seen])
    return made


def quantised_layers(part: nn.Module) -> list[str]:
    """The layers of `part` that are worth it, by name."""
    return [
        name
        for name, layer in part.named_modules()
        if type(layer) in _FUNCTIONS and layer.weight.numel() >= _WORTH and name not in _LEFT
    ]


def _specs(part: nn.Module, positive: bool) -> Iterator[Spec]:
    """Quantisers of these layers; their steps are still to be fitted.

    Around 0 alike on both sides: OpenVINO knows no other products of matrices, but for what is never negative.
    """
    for name in quantised_layers(part):
        place = f"{name.replace('.', '/')}/{_FUNCTIONS[type(part.get_submodule(name))]}/0__"
        if name not in _GIVEN:
            yield _around_zero(f"pre_hooks.{place}0.0", positive and not name)
        yield Spec(f"pre_hooks.{place}1.0", *HALF, axis=0)
        yield _around_zero(f"post_hooks.{place}0.0", False)


def _around_zero(place: str, positive: bool) -> Spec:
    return Spec(place, -128, 127, 1.0, -128) if positive else Spec(place, -127, 127, 1.0, 0)
