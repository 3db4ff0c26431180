"""Numbers stored in few bits: quantisation of activations, and weights that are unpacked when the program is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.mil.elementwise import cast
from export.mil.values import DTYPES, Operation, along, ints, pick, real, tensor

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def quantize(input: Tensor, scale: Any, output_dtype: str, zero_point: Any = None, axis: int | None = None) -> Tensor:
    """Steps of `scale` nearest to `input` (half to even), moved by `zero_point` and kept inside the type's range."""
    low, high = pick(RANGES, output_dtype, "quantize to")
    steps = torch.round(input / along(scale, input.ndim, axis or 0)) + _zero(zero_point, input.ndim, axis)
    return steps.clamp(low, high).to(DTYPES[output_dtype])


def dequantize(input: Tensor, scale: Any, zero_point: Any = None, axis: int | None = None) -> Tensor:
    """(input - zero_point) * scale; scale and zero_point one for all, or one for each place along `axis`."""
    return (real(input) - _zero(zero_point, input.ndim, axis)) * along(scale, input.ndim, axis or 0)


def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Any, scale: Any, axis: int) -> Tensor:
    """Weights of 8 bits: as `dequantize`."""
    return dequantize(quantized_data, scale, zero_point, axis)


def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """(data - offset) * scale, with one scale and offset for each block of equal size."""
    values, shift = real(data), torch.zeros_like(scale) if offset is None else real(offset)
    factor = real(scale)
    for axis, size in enumerate(values.shape):
        repeats = size // factor.shape[axis]
        factor, shift = factor.repeat_interleave(repeats, axis), shift.repeat_interleave(repeats, axis)
    return (values - shift) * factor


def constexpr_lut_to_dense(indices: Tensor, lut: Tensor, shape: Any) -> Tensor:
    """Weights as packed indices (lowest bit first) into a table of 2, 4, 8, ... values."""
    bits, sizes = int(lut.numel()).bit_length() - 1, ints(shape)
    count = int(np.prod(sizes))
    packed = np.unpackbits(indices.numpy().astype(np.uint8), bitorder="little")[: count * bits]
    places = packed.reshape(count, bits) @ (1 << np.arange(bits))
    return lut[torch.from_numpy(places.astype(np.int64))].reshape(sizes)


def constexpr_cast(source_val: Any, output_dtype: str) -> Tensor:
    """Weights stored in another type."""
    return cast(source_val, output_dtype)


def _zero(zero_point: Any, rank: int, axis: int | None) -> Tensor:
    return torch.zeros(()) if zero_point is None else along(tensor(zero_point), rank, axis or 0)


OPS: dict[str, Operation] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "dequantize": dequantize,
    "quantize": quantize,
}
