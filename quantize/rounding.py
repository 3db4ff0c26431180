"""Weights are rounded one after the other, each making up for the errors of those before it.

Rounding to the nearest step is best for a weight alone, not for the sum that it is part of. Here the layer's own inputs
say what a change of one weight does to its outputs, and what is lost in rounding one is given to those still to come
(GPTQ, Frantar 2022; the update is that of Optimal Brain Surgeon, Hassibi 1993). The steps of the weights stay as they
are: nothing changes for an engine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantize.quantizer import Quantizer

_DAMPING = 0.01  # of the mean diagonal: inputs that were never seen apart tell nothing of each other
_ROWS = 8192  # places of a layer's inputs that are looked at


def round_layer(layer: nn.Conv2d | nn.Linear, hook: Quantizer, given: Tensor) -> Tensor:
    """The layer's weight on the grid of `hook`, chosen for the inputs `given` of the layer; of the weight's shape."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = layer.weight.detach()
    steps = hook.steps.reshape(groups, -1)
    rows = weight.reshape(groups, -1, weight[0].numel()) / steps[..., None]
    rounded = compensated(rows, covariances(layer, given), hook.spec.low, hook.spec.high)
    return (rounded * steps[..., None]).reshape(weight.shape).contiguous()


def covariances(layer: nn.Conv2d | nn.Linear, given: Tensor) -> Tensor:
    """Covariances of what the weights of an output are multiplied with: [groups, K, K], float64.

    Means are left out: what their errors come to is the same everywhere, and the layer's bias makes up for it.

    `given`: inputs [n,C,h,w] of a convolution, [...,C] of a linear layer.
    """
    if isinstance(layer, nn.Linear):
        patches = given.reshape(1, -1, given.shape[-1])
    else:
        columns = F.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
        patches = columns.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
    patches = patches[:, :: max(1, patches.shape[1] // _ROWS)].double()
    patches = patches - patches.mean(1, keepdim=True)
    return patches.transpose(1, 2) @ patches / patches.shape[1]


def compensated(rows: Tensor, covariance: Tensor, low: int, high: int) -> Tensor:
    """`rows` [G,O,K] in steps as whole numbers in low..high; `covariance` [G,K,K] of the K inputs of each group.

    The least change of `sum_k row[k] x[k]` in the mean of squares, as far as going through k once can find it; never
    more than by rounding each to the nearest. Inputs with the largest variance go first: their errors are the hardest
    to make up for.
    """
    nearest, diagonal = rows.round().clamp(low, high), covariance.diagonal(dim1=1, dim2=2)
    damped = covariance + torch.diag_embed((_DAMPING * diagonal.mean(1, keepdim=True) + 1e-12).expand_as(diagonal))
    order = diagonal.argsort(1, descending=True)
    place = order[:, :, None].expand_as(damped)
    damped = damped.gather(1, place).gather(2, place.transpose(1, 2))
    inverse = torch.linalg.inv(damped)
    upper = torch.linalg.cholesky(inverse, upper=True)
    at = order[:, None, :].expand(-1, rows.shape[1], -1)
    left = rows.double().gather(2, at)
    found = torch.empty_like(left)
    for k in range(left.shape[2]):
        found[..., k] = left[..., k].round().clamp(low, high)
        error = (left[..., k] - found[..., k]) / upper[:, k, k][:, None]
        left[..., k + 1 :] -= error[..., None] * upper[:, None, k, k + 1 :]
    found = torch.empty_like(found).scatter(2, at, found).to(rows.dtype)
    better = squared_change(found - rows, covariance) < squared_change(nearest - rows, covariance)
    return torch.where(better[..., None], found, nearest)


def squared_change(change: Tensor, covariance: Tensor) -> Tensor:
    """Mean square of `sum_k change[k] x[k]` of each row [G,O,K] -> [G,O]."""
    change = change.double()
    return ((change @ covariance) * change).sum(-1)
