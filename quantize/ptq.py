"""Quantisation without training: NNCF finds the places, what each encoder sees on real clips all numbers.

Three encoders are quantised here, frame, sound and focus: that is where the work is. Batch norms are folded into their
convolutions first. Activations have one step for a whole tensor, since only OpenVINO can run others. Weights are
rounded and biases corrected layer by layer (`quantize.layerwise`): NNCF's own correction estimates means from means,
which one ReLU6 after the other makes wrong. Weights of all but depthwise convolutions stay in -64..63: processors
without VNNI add products in pairs, in 16 bits, and 255 * 127 * 2 does not fit into those (docs/quantize.md).
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import nncf
import torch
import torch._dynamo
from nncf.quantization.advanced_parameters import QuantizationParameters
from nncf.torch.function_hook import get_hook_storage
from nncf.torch.quantization import extensions
from nncf.torch.quantization.layers import BaseQuantizer
from nncf.torch.quantization.reference import ReferenceQuantizedFunctions
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avgn.errors import InputError
from avgn.network.fold import convolutions_with_norms
from quantize.layerwise import round_weights
from quantize.quantizer import Quantizer, Spec, owner, quantizers, remove
from quantize.ranges import asymmetric, fit_ranges

CURVED = {nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid"}  # module -> the function NNCF sees
HALF, WHOLE = (-64, 63), (-127, 127)
_LEAST = 16  # pictures, or sounds, from which ranges can be told


def fuse_norms(net: nn.Module) -> nn.Module:
    """Put convolutions with biases in the place of convolutions with BatchNorms; the net computes the same function."""
    for parent, name, following in convolutions_with_norms(net):
        parent._modules[name] = fuse_conv_bn_eval(getattr(parent, name), getattr(parent, following))
        parent._modules[following] = nn.Identity()
    return net


def quantise(net: nn.Module, seen: Sequence[Tensor], stem: int = 0) -> nn.Module:
    """A copy of the encoder `net` with quantisers, calibrated on the batches `seen` of its inputs.

    The first `stem` of its `features` stay in float. Raises InputError for too few or broken inputs.
    """
    count = sum(map(len, seen))
    if count < _LEAST:
        raise InputError(
            f"calibration: {count} inputs of an encoder are too few, {_LEAST} are needed; give more clips."
        )
    if not all(bool(batch.isfinite().all()) for batch in seen):
        raise InputError("calibration: an encoder was given values that are not finite; look at the clips.")
    fused = fuse_norms(copy.deepcopy(net).eval())
    curved = any(type(module) in CURVED for module in net.modules())
    with _quiet(), torch.no_grad():
        found = nncf.quantize(
            fused,
            nncf.Dataset(list(seen)),
            # hard-swish reaches below zero by 0.375 only: half of a symmetric range would never be used
            preset=nncf.QuantizationPreset.MIXED if curved else nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(seen),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE,
                disable_bias_correction=True,  # `correct_biases` measures what NNCF estimates
                quantize_outputs=True,  # an int8 convolution needs an int8 output on most engines
                activations_quantization_params=QuantizationParameters(per_channel=False),
            ),
        )
    _settle(found)
    _quantise_before_curves(found)
    if stem:
        _leave_in_float(found.eval(), stem, seen[0][:1])
    fit_ranges(found.eval(), seen)
    round_weights(found, fused, seen)
    return found


def _settle(net: nn.Module) -> None:
    """NNCF's quantisers become ours: the numbers stay, what could be learnt of them is gone."""
    storage = get_hook_storage(net)
    for place, hook in list(storage.named_hooks()):
        if not isinstance(hook, BaseQuantizer):
            continue
        low, high, steps, zeros = hook.get_parameters_for_torch_fq()
        if hook.per_channel:
            layer = owner(net, place)
            low, high = WHOLE if is_depthwise(layer) else HALF
            settled = Quantizer(Spec(place, low, high, axis=int(torch.tensor(hook.scale_shape).argmax())), len(steps))
            settled.steps.copy_(steps)
        else:
            shift = 128 if low == 0 else 0  # 0..255 after a ReLU: the same steps as -128..127
            settled = Quantizer(Spec(place, low - shift, high - shift, float(steps), int(zeros) - shift))
        storage.set_submodule(place, settled)


@torch.no_grad()
def _leave_in_float(net: nn.Module, stem: int, given: Tensor) -> None:
    """Take out all quantisers that run before feature number `stem`, but for the last: what goes into it is int8."""
    ran: list[str] = []
    handles = [
        hook.register_forward_hook(lambda *_, place=place: ran.append(place)) for place, hook in quantizers(net).items()
    ]
    before: list[str] = []
    first = net.get_submodule(f"features.{stem}")
    handles.append(first.register_forward_pre_hook(lambda *_: before.extend(ran)))
    net(given)
    for handle in handles:
        handle.remove()
    for place in before[:-1]:
        remove(net, place)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each channel has a filter of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _quantise_before_curves(net: nn.Module) -> None:
    """Quantise what goes into a hard-swish or a sigmoid, which NNCF leaves in float; ranges are still to be fitted.

    The layer before it then has an int8 output, without which most engines would compute it in float.
    """
    for name, module in net.named_modules():
        if type(module) in CURVED:
            place = f"pre_hooks.{name.replace('.', '/')}/{CURVED[type(module)]}/0__0.0"
            get_hook_storage(net).insert_hook_by_name(place, Quantizer(asymmetric(place, -1.0, 2.0)))


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF without its messages, and with its quantisers in plain PyTorch: else it compiles them first, for minutes.

    Its bars go where ours go: what `--json` prints on standard output is JSON alone.
    """
    namespace: Any = extensions.QuantizedFunctionsCPU
    before, namespace._loaded_namespace = namespace._loaded_namespace, ReferenceQuantizedFunctions
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr), torch._dynamo.config.patch(disable=True):
            yield
    finally:
        namespace._loaded_namespace = before
        logger.setLevel(level)
