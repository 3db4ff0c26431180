"""What a program says of its own precision, on programs whose precision is known."""

from __future__ import annotations

import numpy as np
import pytest

from export.mil.precision import found_precision, macs_by_kind
from export.mil.stem import half_after_the_stem
from export.mil.tools import quiet
from mil_programs import MB, TYPES, build_program, ct, normal

X = normal(2, 4, 9, 8)


def conv_macs():
    return 2 * 6 * 7 * 4 * (2 * 3 * 2)  # outputs [2,6,7,4] times [2,3,2] of each


def conv(x, weight):
    return MB.conv(x=x, weight=weight, strides=[1, 2], pad_type="valid", groups=2)


WEIGHT = normal(6, 2, 3, 2)


@pytest.mark.parametrize("real", TYPES)
def test_float_programs(real):
    def build(x):
        tokens = MB.reshape(x=conv(x, WEIGHT.astype(TYPES[real])), shape=[2, 6, 28])
        score = MB.matmul(x=tokens, y=tokens, transpose_y=True)
        return MB.linear(x=score, weight=normal(5, 6).astype(TYPES[real]))

    program = build_program(build, {"x": X.astype(TYPES[real])})
    assert macs_by_kind(program) == {(real, real): conv_macs() + 2 * 6 * 6 * 28 + 2 * 6 * 5 * 6}
    assert found_precision(program) == real


def test_a_product_across_the_first_dimension():
    inputs = {"x": normal(3, 5).astype(np.float32), "y": normal(3, 7).astype(np.float32)}
    program = build_program(lambda x, y: MB.matmul(x=x, y=y, transpose_x=True), inputs)
    assert macs_by_kind(program) == {("fp32", "fp32"): 5 * 7 * 3}


def stored(real):
    steps = np.arange(-36, 36, dtype=np.int8).reshape(WEIGHT.shape)
    return MB.constexpr_affine_dequantize(quantized_data=steps, zero_point=np.int8(0), scale=real(0.1), axis=0)


def through_int8(x, real):
    steps = MB.quantize(input=x, scale=real(0.1), output_dtype="uint8")
    return MB.dequantize(input=steps, scale=real(0.1))


def test_int8_is_weights_and_activations():
    def build(x):
        return conv(through_int8(x, np.float16), stored(np.float16))

    program = build_program(build, {"x": X.astype(np.float16)}, "iOS17")
    assert macs_by_kind(program) == {("int8", "int8"): conv_macs()}
    assert found_precision(program) == "int8"


def test_int8_weights_alone_are_not_int8():
    program = build_program(lambda x: conv(x, stored(np.float16)), {"x": X.astype(np.float16)}, "iOS17")
    assert found_precision(program) == "wint8_afp16"


def test_int8_activations_alone_are_not_int8():
    program = build_program(
        lambda x: conv(through_int8(x, np.float32), WEIGHT.astype(np.float32)), {"x": X.astype(np.float32)}, "iOS17"
    )
    assert found_precision(program) == "wfp32_aint8"


def test_moving_numbers_does_not_change_what_they_are():
    def build(x):
        moved = MB.transpose(x=through_int8(x, np.float32), perm=[0, 1, 3, 2])
        return MB.matmul(x=moved, y=through_int8(x, np.float32))

    program = build_program(build, {"x": normal(1, 1, 4, 4).astype(np.float32)}, "iOS17")
    assert macs_by_kind(program) == {("int8", "int8"): 64}


def test_most_of_the_work_decides():
    def build(x):
        light = MB.linear(x=MB.reduce_mean(x=x, axes=[2, 3]), weight=normal(2, 4).astype(np.float32))
        return conv(through_int8(x, np.float32), stored(np.float32)), light

    program = build_program(build, {"x": X.astype(np.float32)}, "iOS17")
    assert macs_by_kind(program) == {("int8", "int8"): conv_macs(), ("fp32", "fp32"): 2 * 2 * 4}
    assert found_precision(program) == "int8"


def test_a_program_without_products_is_fp32():
    assert found_precision(build_program(lambda x: MB.relu(x=x), {"x": X.astype(np.float32)})) == "fp32"


def test_only_the_first_convolutions_of_a_half_program_are_exact():
    """A stem of three convolutions on x, a fourth behind them, and one on y beside them."""
    kernel = normal(4, 4, 1, 1).astype(np.float32)

    def build(x, y):
        def layer(value):
            return MB.relu(x=MB.conv(x=value, weight=kernel, pad_type="valid"))

        deep = layer(layer(layer(layer(MB.add(x=x, y=np.float32(1))))))
        return MB.linear(x=MB.reduce_mean(x=MB.add(x=deep, y=layer(y)), axes=[2, 3]), weight=normal(2, 4).astype("f"))

    inputs = {"x": normal(1, 4, 3, 3).astype(np.float32), "y": normal(1, 4, 3, 3).astype(np.float32)}
    with quiet():
        half = ct.transform.FP16ComputePrecision(op_selector=half_after_the_stem())
        made = ct.convert(
            build_program(build, inputs),
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=half,
            skip_model_load=True,
        )
    convolution = 4 * 3 * 3 * 4
    assert macs_by_kind(made._mil_program) == {("fp32", "fp32"): 4 * convolution, ("fp16", "fp16"): convolution + 2 * 4}
