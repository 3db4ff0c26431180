"""Batch norms folded into their convolutions, and weights rounded to fp16: a run whose fp16 exports lose no weight.

An fp16 file of a trained net rounds each convolution's weights after its batch norm was folded in, and that error grows
over some fifty layers to more than the proof allows. So the rounding is done once, when a run is saved, and every file
made of it, fp32 or fp16, holds the very same numbers. The norms stay in place, as additions of a bias.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from avgn.errors import InputError


def convolutions_with_norms(model: nn.Module) -> list[tuple[nn.Module, str, str]]:
    """Parent, name of a convolution and of the BatchNorm that follows it, for every norm of `model`.

    Raises InputError for a norm that follows no convolution.
    """
    norms = {module: name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    found = []
    for parent in model.modules():
        for (name, first), (following, second) in pairwise(parent.named_children()):
            if isinstance(first, nn.Conv2d) and second in norms:
                del norms[second]
                found.append((parent, name, following))
    for name in norms.values():
        raise InputError(f"{name} is a batch norm that follows no convolution; it cannot be folded.")
    return found


@torch.no_grad()
def fold_norms(model: nn.Module) -> None:
    """Move scale and mean of every BatchNorm into the convolution before it, in place; the norm keeps the bias.

    In evaluation mode the model computes the same function. Raises InputError for a norm that follows no convolution.
    """
    for parent, *names in convolutions_with_norms(model):
        convolution, norm = (getattr(parent, name) for name in names)
        if norm.running_mean is None or norm.running_var is None:
            raise InputError("a batch norm keeps no statistics; it cannot be folded.")
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
        convolution.weight.copy_(weight)
        norm.bias.copy_(bias)
        if convolution.bias is not None:
            convolution.bias.zero_()
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Round parameters to the nearest that fp16 holds, in place; buffers (statistics of norms) stay as they are.

    Raises InputError for values beyond fp16's 65504.
    """
    for name, parameter in model.named_parameters():
        rounded = parameter.half().to(parameter.dtype)
        if not bool(rounded.isfinite().all()):
            raise InputError(f"{name} holds values that fp16 cannot hold, or none at all; did the training diverge?")
        parameter.copy_(rounded)
