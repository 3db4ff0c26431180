"""Operations that move elements and change none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from export.mil.values import Operation, UnsupportedError, ints, pick, tensor

PADDING = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; 0 keeps a dimension, -1 takes what is left."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(ints(shape))])


def transpose(x: Tensor, perm: Sequence[int]) -> Tensor:
    """Dimensions in the order `perm`."""
    return x.permute(ints(perm))


def expand_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """New dimensions of size 1, at `axes` of the result."""
    made = tensor(x)
    rank = made.ndim + len(ints(axes))
    for axis in sorted(axis % rank for axis in ints(axes)):
        made = made.unsqueeze(axis)
    return made


def squeeze(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Dimensions of size 1 dropped: those of `axes`, or all."""
    return x.squeeze() if axes is None else x.squeeze(ints(axes))


def concat(values: Sequence[Tensor], axis: int, interleave: bool) -> Tensor:
    """One after the other along `axis`."""
    if interleave:
        raise UnsupportedError("interleave of concat is not known to the MIL evaluator.")
    return torch.cat([tensor(value) for value in values], axis)


def stack(values: Sequence[Tensor], axis: int) -> Tensor:
    """One after the other along a new `axis`."""
    return torch.stack([tensor(value) for value in values], axis)


def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Sequence[int] | None = None
) -> list[Tensor]:
    """Pieces along `axis`, equal or of the sizes given."""
    if split_sizes is not None:
        return list(torch.split(x, list(ints(split_sizes)), axis))
    return list(torch.tensor_split(x, num_splits or 1, axis))


def slice_by_index(
    x: Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> Tensor:
    """x[begin:end:stride] in every dimension; masks drop a limit, or take the one element at `begin`."""
    first, last, step = ints(begin), ints(end), ints(stride) if stride is not None else (1,) * x.ndim
    whole = (False,) * x.ndim
    from_start, to_end, one = begin_mask or whole, end_mask or whole, squeeze_mask or whole
    index = tuple(
        first[axis]
        if one[axis]
        else slice(None if from_start[axis] else first[axis], None if to_end[axis] else last[axis], step[axis])
        for axis in range(x.ndim)
    )
    return torch.from_numpy(x.numpy()[index].copy())  # numpy knows negative steps, torch does not


def slice_by_size(x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    """`size` elements from `begin` in every dimension; -1 takes all that follow."""
    limits = zip(ints(begin), ints(size), strict=True)
    return x[tuple(slice(first, None if count == -1 else first + count) for first, count in limits)]


def gather(x: Tensor, indices: Any, axis: int, batch_dims: int, validate_indices: bool = False) -> Tensor:
    """Slices of `x` along `axis`, one for each of `indices` of any shape."""
    if batch_dims:
        raise UnsupportedError("batch_dims of gather is not known to the MIL evaluator.")
    found, axis = _indices(x, indices, axis)
    shape = (*x.shape[:axis], *found.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, found.reshape(-1)).reshape(shape)


def gather_along_axis(x: Tensor, indices: Any, axis: int, validate_indices: bool = False) -> Tensor:
    """The elements of `x` that `indices`, of its rank, name along `axis`."""
    found, axis = _indices(x, indices, axis)
    return torch.gather(x, axis, found)


def tile(x: Tensor, reps: Sequence[int]) -> Tensor:
    """`x` repeated along each dimension."""
    return x.repeat(ints(reps))


def pad(x: Tensor, pad: Sequence[int], mode: str, constant_val: float) -> Tensor:
    """Borders of the last dimensions, `pad` holding (before, after) of each from first to last."""
    sides = ints(pad)
    pairs = [sides[index : index + 2] for index in range(0, len(sides), 2)]
    kind = pick(PADDING, mode, "pad mode")
    if kind == "constant":
        return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=constant_val)
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        size = x.shape[axis]
        positions = torch.arange(-before, size + after)
        if kind == "reflect":
            positions = size - 1 - (positions.abs() - (size - 1)).abs()
        x = x.index_select(axis, positions.clamp(0, size - 1))
    return x


def shape(x: Tensor) -> Tensor:
    """Sizes of the dimensions."""
    return torch.tensor(x.shape, dtype=torch.int32)


def _indices(x: Tensor, indices: Any, axis: int) -> tuple[Tensor, int]:
    """Indices counted from the front, and so the axis."""
    axis %= x.ndim
    found = tensor(indices).long()
    return torch.where(found < 0, found + x.shape[axis], found), axis


OPS: dict[str, Operation] = {
    "concat": concat,
    "expand_dims": expand_dims,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "pad": pad,
    "reshape": reshape,
    "shape": shape,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
