"""Quantisers: what they compute, where they sit in a net, and the ways in which exporters want them spelled.

NNCF finds the places and the ranges (`quantize/ptq.py`). What stays in the net are the modules below: a step (scale), a
zero point and a range of int8, exactly what an engine computes with, so that training, every engine and the state on
disk speak of the same numbers. They hang in NNCF's hooks: before or after a function, named by its place in the net.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.ao.quantization.fx._decomposed  # registers the quantized_decomposed operators
from nncf.torch.function_hook import get_hook_storage, is_wrapped, wrap_model
from torch import Tensor, nn

from avgn.errors import InputError

# plain: in PyTorch itself, to calibrate and to train. fake: one operator (OpenVINO). folded: activations as a pair of
# operators, weights as int8 constants (ExecuTorch, Core ML). unsigned: the same with activations in uint8 (ONNX).
# unfolded: pairs for both (LiteRT).
Spelling = Literal["plain", "fake", "folded", "unsigned", "unfolded"]
FOLDED = ("folded", "unsigned")
STRETCH = 0.3  # by how much of itself a step grows where a weight moves by one of its own
_Q = torch.ops.quantized_decomposed


@dataclass(frozen=True)
class Spec:
    """A quantiser without its weights' steps: stored = round(value / step) + zero_point, kept in low..high of int8.

    `place` is NNCF's name of the hook. Activations have one `step`; weights one for each index of `axis`, symmetric.
    """

    place: str
    low: int
    high: int
    step: float = 0.0
    zero_point: int = 0
    axis: int | None = None

    def __post_init__(self) -> None:
        if not -128 <= self.low < self.high <= 127 or not self.low <= self.zero_point <= self.high:
            raise ValueError("low, zero_point and high must lie in order in -128..127")
        if (self.axis is None) != (self.step > 0):
            raise ValueError("an activation has a step above 0, a weight an axis")


class _Round(torch.autograd.Function):
    """Rounding to whole steps: the same as PyTorch's operator, bit for bit, and six times faster on a CPU.

    Gradients pass straight through where nothing is clamped; that of the step is LSQ's (Esser 2020).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        """`x` of any shape, one `step` (float32, as is its inverse), the ends in steps from 0 -> the shape of `x`."""
        size = float(step)
        rounded = x.mul(float(1 / step)).round_().clamp_(low, high).mul_(size)
        ctx.save_for_backward(x, rounded)
        ctx.size, ctx.ends = size, ((low - 0.5) * size, (high + 0.5) * size)
        return rounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """Gradients of `x` and, where it learns, of the step."""
        x, rounded = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(grads[0], x, *ctx.ends)
        if not ctx.needs_input_grad[1]:
            return passed, None, None, None
        return passed, ((grads[0] * rounded).sum() - (passed * x).sum()) / ctx.size, None, None


class Quantizer(nn.Module):
    """Rounds what passes to the values that int8 can hold. `on` False lets everything pass as it is.

    While it learns, an activation's step is that of its spec times exp(`stretch` * STRETCH).
    """

    steps: Tensor
    zeros: Tensor
    stretch: nn.Parameter | None

    def __init__(self, spec: Spec, channels: int = 1) -> None:
        super().__init__()
        self.spec, self.on = spec, True
        self.spelling: Spelling = "plain"
        self.register_parameter("stretch", None)
        if spec.axis is not None:
            self.register_buffer("steps", torch.ones(channels))
            self.register_buffer("zeros", torch.zeros(channels, dtype=torch.int32), persistent=False)

    @property
    def is_weight(self) -> bool:
        """Whether it quantises weights, channel by channel."""
        return self.spec.axis is not None

    def learn(self) -> None:
        """From here on the step of an activation can be trained."""
        self.stretch = nn.Parameter(torch.zeros(()))

    def settle(self) -> None:
        """The step that was learnt becomes the spec's; nothing is left to train."""
        if self.stretch is not None:
            self.spec = replace(self.spec, step=self.spec.step * math.exp(STRETCH * float(self.stretch.detach())))
            self.stretch = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.on:
            return x
        return self._weight(x) if self.is_weight else self._activation(x)

    def _activation(self, x: Tensor) -> Tensor:
        spec = self.spec
        if self.spelling == "plain":
            step = torch.tensor(spec.step, device=x.device)
            if self.stretch is not None:
                step = step * (STRETCH * self.stretch).exp()
            ends = spec.low - spec.zero_point, spec.high - spec.zero_point
            rounded: Tensor = _Round.apply(x, step, *ends)
            return rounded
        ints = (spec.step, spec.zero_point, spec.low, spec.high)
        if self.spelling == "fake":
            return torch.fake_quantize_per_tensor_affine(x, *ints)
        dtype, shift = (torch.uint8, 128) if self.spelling == "unsigned" else (torch.int8, 0)
        moved = (spec.step, *(value + shift for value in ints[1:]), dtype)
        return _Q.dequantize_per_tensor(_Q.quantize_per_tensor(x, *moved), *moved)

    def _weight(self, x: Tensor) -> Tensor:
        spec = self.spec
        if self.spelling in ("plain", "fake"):
            axis = spec.axis or 0
            return torch.fake_quantize_per_channel_affine(x, self.steps, self.zeros, axis, spec.low, spec.high)
        # engines know only the whole range of int8: weights kept in less are rounded before, by `spelled`
        ints = (self.steps, self.zeros, spec.axis, -127, 127, torch.int8)
        stored = self.int8 if self.spelling in FOLDED else _Q.quantize_per_channel(x, *ints)
        return _Q.dequantize_per_channel(stored, *ints)

    def stored(self, x: Tensor) -> Tensor:
        """The int8 that stand for `x`."""
        spec = self.spec
        if spec.axis is None:
            scaled = x.detach() / spec.step
        else:
            scaled = x.detach() / self.steps.reshape([-1 if axis == spec.axis else 1 for axis in range(x.ndim)])
        return (scaled.round() + spec.zero_point).clamp(spec.low, spec.high).to(torch.int8)

    def value(self, stored: Tensor) -> Tensor:
        """What int8 `stored` stand for; the inverse of `stored`, but for rounding."""
        spec = self.spec
        if spec.axis is None:
            return (stored.float() - spec.zero_point) * spec.step
        return stored.float() * self.steps.reshape([-1 if axis == spec.axis else 1 for axis in range(stored.ndim)])

    def fold(self, weight: Tensor) -> None:
        """Keep `weight` as int8, and forget the float."""
        self.register_buffer("int8", self.stored(weight))


def quantizers(net: nn.Module) -> dict[str, Quantizer]:
    """The quantisers of one net by place, in NNCF's order."""
    if not is_wrapped(net):
        return {}
    return {name: hook for name, hook in get_hook_storage(net).named_hooks() if isinstance(hook, Quantizer)}


def owner(net: nn.Module, place: str) -> nn.Module:
    """The module whose function a place names: `pre_hooks.features:0/conv2d/0__1.0` lies in `features.0`."""
    _, operation, _ = place.rsplit(".", 2)
    path = operation.rsplit("__", 1)[0].split("/")[:-2]
    return net.get_submodule(".".join(path))


def weight_layers(net: nn.Module) -> dict[str, str]:
    """The layers with int8 weights by the places of their quantisers."""
    names = {module: path for path, module in net.named_modules()}
    return {place: names[owner(net, place)] for place, hook in quantizers(net).items() if hook.is_weight}


def weight_of(net: nn.Module, place: str) -> Tensor:
    """The weight that a quantiser of weights rounds."""
    weight = owner(net, place).weight
    if not isinstance(weight, Tensor):
        raise AttributeError(f"{place} has no weight")
    return weight


def remove(net: nn.Module, place: str) -> None:
    """Take the quantiser at `place` out of `net`."""
    group, _, number = place.rpartition(".")
    del get_hook_storage(net).get_submodule(group)._modules[number]


def install(net: nn.Module, specs: Iterable[Spec]) -> nn.Module:
    """Put the quantisers `specs` into `net`, whose batch norms are folded; the steps of weights are still to be loaded.

    Raises InputError for places that the net does not have.
    """
    wrap_model(net)
    for spec in specs:
        try:
            channels = 1 if spec.axis is None else weight_of(net, spec.place).shape[spec.axis]
            get_hook_storage(net).insert_hook_by_name(spec.place, Quantizer(spec, channels))
        except (AttributeError, IndexError, ValueError) as fault:
            raise InputError(f"quantiser {spec.place!r} does not fit this network ({fault}).") from fault
    return net


def spelled(net: nn.Module, spelling: Spelling) -> nn.Module:
    """A copy of `net`, quantised encoders anywhere inside it, with all quantisers in one spelling."""
    made = copy.deepcopy(net)
    for part in [module for module in made.modules() if is_wrapped(module)]:
        for place, hook in quantizers(part).items():
            if hook.is_weight:
                # as rounded by PyTorch: NNCF's largest weight often lies halfway, where engines round apart
                weight, hook.spelling = weight_of(part, place), "fake"
                weight.data = hook(weight.detach())
                if spelling != "fake":
                    hook.zeros = hook.zeros.long()
                if spelling in FOLDED:
                    hook.fold(weight)
            hook.spelling = spelling
    return made
