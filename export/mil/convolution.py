"""Convolution and pooling over one or two spatial dimensions of [N,C,*D]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from export.mil.values import Operation, UnsupportedError, ints

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}
AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d}
MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d}


def conv(
    x: Tensor,
    weight: Tensor,
    strides: Sequence[int],
    pad_type: str,
    pad: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    bias: Tensor | None = None,
) -> Tensor:
    """Cross-correlation of `x` [N,C,*D] with `weight` [C',C/groups,*K]."""
    call = _of_rank(CONVOLUTIONS, x)
    padded = _padded(x, weight.shape[2:], ints(strides), ints(dilations), pad_type, ints(pad))
    return call(padded, weight, bias, ints(strides), 0, ints(dilations), groups)


def max_pool(
    x: Tensor, kernel_sizes: Sequence[int], strides: Sequence[int], pad_type: str, pad: Sequence[int], ceil_mode: bool
) -> Tensor:
    """Largest value of each window; padding never wins."""
    call, size, step = _pool(MAXIMA, x, kernel_sizes, strides, ceil_mode)
    return call(_padded(x, size, step, [1] * len(size), pad_type, ints(pad), -math.inf), size, step)


def avg_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    pad_type: str,
    pad: Sequence[int],
    exclude_padding_from_average: bool,
    ceil_mode: bool,
) -> Tensor:
    """Mean of each window; padding counts as zeros, or not at all."""
    call, size, step = _pool(AVERAGES, x, kernel_sizes, strides, ceil_mode)

    def mean(values: Tensor) -> Tensor:
        return call(_padded(values, size, step, [1] * len(size), pad_type, ints(pad)), size, step)

    return mean(x) / mean(torch.ones_like(x)) if exclude_padding_from_average else mean(x)


def _pool(
    table: dict[int, Callable[..., Tensor]], x: Tensor, sizes: Sequence[int], strides: Sequence[int], ceil_mode: bool
) -> tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...]]:
    if ceil_mode:
        raise UnsupportedError("ceil_mode of a pool is not known to the MIL evaluator.")
    return _of_rank(table, x), ints(sizes), ints(strides)


def _of_rank(table: dict[int, Callable[..., Tensor]], x: Tensor) -> Callable[..., Tensor]:
    if x.ndim - 2 not in table:
        raise UnsupportedError(f"{x.ndim - 2} spatial dimensions are not known to the MIL evaluator; it knows 1 and 2.")
    return table[x.ndim - 2]


def _padded(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pad_type: str,
    pad: Sequence[int],
    value: float = 0.0,
) -> Tensor:
    """`x` with its borders. `same`: ceil(size / stride) outputs; of an odd number the larger half lies behind
    (`same_lower`: before)."""
    match pad_type:
        case "valid":
            return x
        case "custom":
            pairs = [(pad[index], pad[index + 1]) for index in range(0, len(pad), 2)]
        case "same" | "same_lower":
            pairs = []
            for size, taps, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
                total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
                halves = total // 2, total - total // 2
                pairs.append(halves if pad_type == "same" else halves[::-1])
        case _:
            raise UnsupportedError(f"pad_type {pad_type!r} is not known to the MIL evaluator.")
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)


OPS: dict[str, Operation] = {"conv": conv, "max_pool": max_pool, "avg_pool": avg_pool}
