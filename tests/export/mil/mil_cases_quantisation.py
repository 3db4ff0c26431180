"""Quantisation and compressed weights, by counting steps in numpy."""

from __future__ import annotations

import numpy as np

from mil_programs import MB, Case, normal

X = normal(2, 3, 4, scale=2.0)
TIES = np.array([[-0.75, -0.25, 0.25, 0.75, 1.25, 100.0, -100.0]])  # halves of the step 0.5, and beyond the range
STEPS = np.array([0.5, 0.25, 0.125])
SIGNED = np.arange(-128, 128, dtype=np.int8).reshape(2, 4, 32)
UNSIGNED = np.arange(256, dtype=np.uint8).reshape(4, 2, 32)
ZEROS = np.array([0, -3, 5, 127], np.int8)


def shaped(values):
    return values[None, :, None]


def steps(x, scale, zero, low, high):
    return np.clip(np.rint(x / scale) + zero, low, high)


def per_axis(input, real):
    zero = np.array([1, 2, 3], np.uint8)
    return MB.quantize(input=input, scale=STEPS.astype(real), zero_point=zero, axis=1, output_dtype="uint8")


def with_weights(weights):
    """A constant must meet an input somewhere: `x` plus the constant."""
    return lambda x, real: MB.add(x=x, y=weights(real))


def affine(real):
    scales = np.array([0.5, 0.25, 1.0, 2.0]).astype(real)
    return MB.constexpr_affine_dequantize(quantized_data=SIGNED, zero_point=ZEROS, scale=scales, axis=1)


def affine_unsigned(real):
    return MB.constexpr_affine_dequantize(quantized_data=UNSIGNED, zero_point=np.uint8(128), scale=real(0.25), axis=0)


def blockwise(real):
    scale = np.array([[[0.5], [0.25]], [[1.0], [2.0]]]).astype(real)
    offset = np.array([[[1], [2]], [[-3], [4]]], np.int8)
    return MB.constexpr_blockwise_shift_scale(data=SIGNED, scale=scale, offset=offset)


def blockwise_truth(x):
    scale = np.array([[0.5, 0.5, 0.25, 0.25], [1.0, 1.0, 2.0, 2.0]])[:, :, None]
    offset = np.array([[1, 1, 2, 2], [-3, -3, 4, 4]])[:, :, None]
    return x + (SIGNED.astype(float) - offset) * scale


TABLE = np.array([-1.0, 0.5, 2.0, 4.0])
PLACES = np.array([[3, 0, 1, 2], [2, 2, 0, 1]])
PACKED = np.array([3 | 0 << 2 | 1 << 4 | 2 << 6, 2 | 2 << 2 | 0 << 4 | 1 << 6], np.uint8)  # two bits each, lowest first


def palette(real):
    return MB.constexpr_lut_to_dense(indices=PACKED, lut=TABLE.astype(real), shape=np.array([2, 4], np.uint32))


QUANTISATION = [
    Case("quantize", lambda input, real: MB.quantize(input=input, scale=real(0.5), output_dtype="int8"),
         lambda input: steps(input, 0.5, 0, -128, 127).astype(np.int8), {"input": TIES}, "iOS17", name="halves"),
    Case("quantize", lambda input, real: MB.quantize(input=input, scale=real(0.5), zero_point=np.int8(-128),
                                                     output_dtype="int8"),
         lambda input: steps(input, 0.5, -128, -128, 127).astype(np.int8), {"input": TIES}, "iOS17", name="zero"),
    Case("quantize", per_axis,
         lambda input: steps(input, shaped(STEPS), shaped(np.array([1, 2, 3])), 0, 255).astype(np.uint8),
         {"input": X}, "iOS17", name="axis"),
    Case("dequantize", lambda input, real: MB.dequantize(input=input, scale=real(0.25), zero_point=np.int8(-128)),
         lambda input: (input.astype(float) + 128) * 0.25, {"input": SIGNED}, "iOS17"),
    Case("dequantize", lambda input, real: MB.dequantize(input=input, scale=real(0.25)),
         lambda input: input * 0.25, {"input": UNSIGNED}, "iOS17", name="unsigned"),
    Case("dequantize", lambda input, real: MB.dequantize(input=input, zero_point=ZEROS, axis=1,
                                                         scale=np.array([0.5, 0.25, 1.0, 2.0]).astype(real)),
         lambda input: (input.astype(float) - shaped(ZEROS.astype(float))) * shaped(np.array([0.5, 0.25, 1.0, 2.0])),
         {"input": SIGNED}, "iOS17", name="axis"),
    Case("constexpr_affine_dequantize", with_weights(affine),
         lambda x: x + (SIGNED.astype(float) - shaped(ZEROS.astype(float))) * shaped(np.array([0.5, 0.25, 1.0, 2.0])),
         {"x": np.zeros((2, 4, 32))}),
    Case("constexpr_affine_dequantize", with_weights(affine_unsigned),
         lambda x: x + (UNSIGNED.astype(float) - 128) * 0.25, {"x": np.zeros((4, 2, 32))}, name="unsigned"),
    Case("constexpr_blockwise_shift_scale", with_weights(blockwise), blockwise_truth, {"x": np.zeros((2, 4, 32))},
         "iOS18"),
    Case("constexpr_lut_to_dense", with_weights(palette), lambda x: x + TABLE[PLACES], {"x": np.zeros((2, 4))}),
    Case("constexpr_cast",
         lambda x, real: MB.add(x=x, y=MB.constexpr_cast(source_val=STEPS.astype(np.float16), output_dtype="fp32")),
         lambda x: x + STEPS, {"x": np.zeros(3)}, types=("fp32",)),
]  # fmt: skip
