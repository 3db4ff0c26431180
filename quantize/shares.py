"""How much of a stage's work each layer does, and how much of it is done in int8."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from avgn.contract import LEAST_INT8
from avgn.network.avgn import AVGN
from avgn.training.macs import count
from quantize.heads import quantised_layers
from quantize.quantizer import weight_layers
from quantize.state import ENCODERS, HEADS

LEAST_SHARE = LEAST_INT8 + 0.005  # an export with less than LEAST_INT8 is refused; its own count may differ a little
STAGES = {"glance": ("frame_encoder", "sound_encoder", *HEADS), "focus": ("focus_encoder",)}
# Blocks at the beginning of an encoder that stay in float, as far as LEAST_SHARE allows: few channels, much error.
STEMS = {"sound_encoder": 5}

Shares = Mapping[str, Mapping[str, float]]


class _Glance(nn.Module):
    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, mel: Tensor) -> Tensor:
        return self.model.glance(frame, mel, torch.ones(len(frame), 1)).visual


def work_shares(model: AVGN, seen: Mapping[str, Sequence[Tensor]]) -> dict[str, dict[str, float]]:
    """By part and layer, the share of the multiply-accumulates of its stage (attention and all) that it does.

    `seen`: batches of what each encoder is given.
    """
    one = {name: values[0][:1] for name, values in seen.items()}
    runs = {
        "glance": (_Glance(model), (one["frame_encoder"], one["sound_encoder"])),
        "focus": (model.focus_encoder, (one["focus_encoder"],)),
    }
    found = {}
    for stage, (net, given) in runs.items():
        whole = count(net, *given)
        macs = _macs({name: getattr(model, name) for name in STAGES[stage]}, net, given)
        for name, layers in macs.items():
            found[name] = {layer: value / whole for layer, value in layers.items()}
    return found


def int8_layers(model: AVGN, encoders: Mapping[str, nn.Module]) -> dict[str, set[str]]:
    """Layers with int8 weights by part: of the quantised `encoders` as they are, of the heads as they will be."""
    heads = {name: set(quantised_layers(getattr(model, name))) for name in HEADS}
    return heads | {name: set(weight_layers(net).values()) for name, net in encoders.items()}


def int8_shares(layers: Mapping[str, Collection[str]], shares: Shares) -> dict[str, float]:
    """The share of each stage's work that `layers` do, given by part."""
    return {
        stage: sum(shares[name].get(layer, 0.0) for name in names for layer in layers[name])
        for stage, names in STAGES.items()
    }


def float_stems(model: AVGN, shares: Shares) -> dict[str, int]:
    """How many blocks at the beginning of each encoder stay in float: those of STEMS, or fewer."""
    whole = {name: set(shares[name]) for name in ENCODERS}
    found = {}
    for name, most in STEMS.items():
        layers, found[name] = int8_layers(model, {}) | whole, 0
        stage = next(stage for stage, names in STAGES.items() if name in names)
        for block in range(most):
            layers[name] = {layer for layer in layers[name] if not layer.startswith(f"features.{block}.")}
            if int8_shares(layers, shares)[stage] < LEAST_SHARE:
                break
            found[name] = block + 1
    return found


def _macs(parts: Mapping[str, nn.Module], net: nn.Module, given: tuple[Tensor, ...]) -> dict[str, dict[str, int]]:
    """Of each layer with weights in `parts`, while `net` runs once on `given`."""
    macs: dict[str, dict[str, int]] = {name: {} for name in parts}

    def note(part: str, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            weight = layer.get_parameter("weight")
            macs[part][name] = weight.numel() * (output.numel() // len(weight))

        return hook

    handles = [
        layer.register_forward_hook(note(part, name))
        for part, whole in parts.items()
        for name, layer in whole.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        net(*given)
    for handle in handles:
        handle.remove()
    return macs
