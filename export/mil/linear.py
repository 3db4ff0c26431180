"""Matrix products, normalisation and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from export.mil.values import Operation, along, ints


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x` [*,I] times `weight` [O,I] transposed, plus `bias` [O]."""
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    """Matrix product over the last two dimensions, the others broadcast."""
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    """Per channel (axis 1) with fixed statistics."""
    scaled = (x - along(mean, x.ndim, 1)) / torch.sqrt(along(variance, x.ndim, 1) + epsilon)
    return _affine(scaled, *(None if part is None else along(part, x.ndim, 1) for part in (gamma, beta)))


def layer_norm(
    x: Tensor, axes: Sequence[int], epsilon: float, gamma: Tensor | None = None, beta: Tensor | None = None
) -> Tensor:
    """Zero mean and unit (biased) variance over `axes`, then `gamma` and `beta` of their shape."""
    dims = ints(axes)
    variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    shape = [size if axis in {dim % x.ndim for dim in dims} else 1 for axis, size in enumerate(x.shape)]
    scaled = (x - mean) / torch.sqrt(variance + epsilon)
    return _affine(scaled, *(None if part is None else part.reshape(shape) for part in (gamma, beta)))


def softmax(x: Tensor, axis: int) -> Tensor:
    """Exponentials that sum to 1 along `axis`."""
    return torch.softmax(x, axis)


def _affine(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    scaled = x if gamma is None else x * gamma
    return scaled if beta is None else scaled + beta


OPS: dict[str, Operation] = {
    "linear": linear,
    "matmul": matmul,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "softmax": softmax,
}
