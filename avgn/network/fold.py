"""Batch norms folded into their convolutions, and weights rounded to fp16: a run whose fp16 exports lose no weight.

An fp16 file of a trained net rounds each convolution's weights after its batch norm was folded in, and that error grows
over some fifty layers to more than the proof allows. So the rounding is done once, when a run is saved, and every file
made of it, fp32 or fp16, holds the very same numbers. The norms stay in place, as additions of a bias.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from avgn.errors import InputError


@torch.no_grad()
def fold_norms(model: nn.Module) -> None:
    """Move scale and mean of every BatchNorm into the convolution before it, in place.

    In evaluation mode the model computes the same function. Raises InputError for a norm that follows no convolution.
    """
    norms = {module for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    for parent in model.modules():
        for first, second in pairwise(parent.children()):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                _fold(first, second)
                norms.discard(second)
    if norms:
        raise InputError(f"{len(norms)} batch norms follow no convolution; they cannot be folded.")


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise InputError("a batch norm keeps no statistics; it cannot be folded.")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    convolution.weight *= scale[:, None, None, None]
    norm.bias.sub_(norm.running_mean * scale)
    if convolution.bias is not None:
        norm.bias.add_(convolution.bias * scale)
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
