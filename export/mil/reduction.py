"""Operations that make one number of many, along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from export.mil.values import Operation, ints

Formula = Callable[[Tensor, tuple[int, ...], bool], Tensor]

REDUCTIONS: dict[str, Formula] = {
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keepdim=keep)),
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "reduce_sum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: torch.sum(x * x, axes, keepdim=keep),
}


def _reduction(formula: Formula) -> Operation:
    def reduce(x: Tensor, keep_dims: bool, axes: Sequence[int] | None = None) -> Tensor:
        return formula(x, tuple(range(x.ndim)) if axes is None else ints(axes), keep_dims)

    return reduce


OPS: dict[str, Operation] = {name: _reduction(formula) for name, formula in REDUCTIONS.items()}
