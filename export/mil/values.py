"""What the operations are given and give back, and the error for what the evaluator does not know.

Tensors of real numbers are float32 tensors holding values of the declared type. Constants that only steer an operation
(axes, strides, modes) are plain Python numbers, strings and tuples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from avgn.errors import MissingError

Operation = Callable[..., Tensor | list[Tensor]]  # called with the names that MIL gives the inputs

DTYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "bool": torch.bool,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,  # torch computes nothing in uint16; all values fit
    "int32": torch.int32,
}


class UnsupportedError(MissingError):
    """An operation, or an option of one, that the evaluator has no formula for."""


def tensor(value: Any) -> Tensor:
    """`value` as a tensor: numbers become float32, whole numbers int64."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value)


def real(value: Any) -> Tensor:
    """`value` as a float32 tensor, for arithmetic on stored integers."""
    return tensor(value).float()


def ints(value: Any) -> tuple[int, ...]:
    """One or more whole numbers as a tuple."""
    if isinstance(value, Tensor):
        value = tuple(value.reshape(-1).tolist())
    return tuple(int(item) for item in value) if isinstance(value, tuple) else (int(value),)


def along(values: Any, rank: int, axis: int) -> Tensor:
    """A scalar or vector, shaped to broadcast along `axis` of a tensor of `rank` dimensions."""
    vector = real(values)
    if vector.ndim == 0:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def pick(table: dict[str, Any], key: str, what: str) -> Any:
    """`table[key]`; UnsupportedError where the evaluator does not know that way of doing `what`."""
    if key not in table:
        raise UnsupportedError(f"{what} {key!r} is not known to the MIL evaluator; it knows {', '.join(table)}.")
    return table[key]
