"""Convolution, pooling, products, normalisation and reductions, by plain loops and sums."""

from __future__ import annotations

from itertools import product

import numpy as np

from mil_programs import MB, Case, normal

BIAS = np.arange(4) / 8


def windows(x, kernel, strides, dilations, value):
    """Every window of the padded `x` [N,C,*D]: (place, values [N,C,*K])."""
    reach = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel, dilations, strict=True)]
    counts = [(size - far) // step + 1 for size, far, step in zip(x.shape[2:], reach, strides, strict=True)]
    for place in product(*map(range, counts)):
        cut = tuple(
            slice(at * step, at * step + far, dilation)
            for at, step, far, dilation in zip(place, strides, reach, dilations, strict=True)
        )
        yield counts, place, x[(slice(None), slice(None), *cut)]


def padded(x, pad, value=0.0):
    return np.pad(x, [(0, 0), (0, 0), *pad], constant_values=value)


def slow_conv(x, weight, bias, strides, pad, dilations, groups):
    x = padded(x, pad)
    share, per_group = weight.shape[0] // groups, weight.shape[1]
    made = None
    for counts, place, values in windows(x, weight.shape[2:], strides, dilations, 0.0):
        made = np.zeros((x.shape[0], weight.shape[0], *counts)) if made is None else made
        for channel in range(weight.shape[0]):
            group = channel // share
            part = values[:, group * per_group : (group + 1) * per_group]
            made[(slice(None), channel, *place)] = (part * weight[channel]).sum(tuple(range(1, part.ndim)))
    return made + bias.reshape(1, -1, *[1] * (x.ndim - 2))


def slow_pool(x, kernel, strides, pad, reduce, value):
    made = None
    for counts, place, values in windows(padded(x, pad, value), kernel, strides, [1] * len(kernel), value):
        made = np.zeros((*x.shape[:2], *counts)) if made is None else made
        made[(slice(None), slice(None), *place)] = reduce(values, axis=tuple(range(2, x.ndim)))
    return made


def conv_case(name, x, weight_shape, strides, pad_type, pad, dilations, groups):
    weight = normal(*weight_shape, seed=1)

    def build(x, real):
        options = {"strides": strides, "pad_type": pad_type, "dilations": dilations, "groups": groups}
        if pad_type == "custom":
            options["pad"] = [side for pair in pad for side in pair]
        bias = BIAS[: weight_shape[0]].astype(real)
        return MB.conv(x=x, weight=weight.astype(real), bias=bias, **options)

    def truth(x):
        return slow_conv(x, weight, BIAS[: weight_shape[0]], strides, pad, dilations, groups)

    return Case("conv", build, truth, {"x": x}, name=name)


def pool_case(op, name, x, kernel, strides, pad_type, pad, reduce, value, **options):
    def build(x, real):
        given = {"pad": [side for pair in pad for side in pair]} if pad_type == "custom" else {}
        return getattr(MB, op)(x=x, kernel_sizes=kernel, strides=strides, pad_type=pad_type, **given, **options)

    return Case(op, build, lambda x: slow_pool(x, kernel, strides, pad, reduce, value), {"x": x}, name=name)


def conv_without_bias(x, real):
    return MB.conv(x=x, weight=np.ones((2, 3, 1, 1), real), pad_type="valid")


IMAGE = normal(2, 4, 7, 6)
NONE = [(0, 0), (0, 0)]
CONVOLUTION = [
    conv_case("valid", IMAGE, (4, 4, 3, 2), [1, 2], "valid", NONE, [1, 1], 1),
    conv_case("custom", IMAGE, (4, 4, 3, 3), [2, 1], "custom", [(1, 0), (2, 1)], [1, 1], 1),
    conv_case("depthwise", IMAGE, (4, 1, 3, 3), [2, 2], "custom", [(1, 1), (1, 1)], [1, 1], 4),
    conv_case("groups", IMAGE, (2, 2, 2, 2), [1, 1], "valid", NONE, [1, 1], 2),
    conv_case("dilated", IMAGE, (4, 4, 2, 2), [1, 1], "valid", NONE, [3, 2], 1),
    # 7 rows and 6 columns in steps of 2 with 3 taps: 4 and 3 places, so 2 rows and 1 column are added
    conv_case("same", IMAGE, (4, 4, 3, 3), [2, 2], "same", [(1, 1), (0, 1)], [1, 1], 1),
    conv_case("same_lower", IMAGE, (4, 4, 3, 3), [2, 2], "same_lower", [(1, 1), (1, 0)], [1, 1], 1),
    conv_case("1d", normal(1, 3, 11), (4, 3, 4), [3], "valid", [(0, 0)], [1], 1),
    Case("conv", conv_without_bias, lambda x: np.stack([x.sum(1)] * 2, 1), {"x": normal(1, 3, 2, 2)}, name="no bias"),
    pool_case("max_pool", "valid", -np.abs(IMAGE), [3, 2], [2, 1], "valid", NONE, np.max, 0.0),
    pool_case("max_pool", "custom", -np.abs(IMAGE), [3, 3], [2, 2], "custom", [(1, 1), (1, 0)], np.max, -np.inf),
    pool_case("max_pool", "same", -np.abs(IMAGE), [3, 3], [2, 2], "same", [(1, 1), (0, 1)], np.max, -np.inf),
    pool_case("max_pool", "1d", normal(1, 2, 9), [3], [3], "valid", [(0, 0)], np.max, 0.0),
    pool_case("avg_pool", "valid", IMAGE, [3, 2], [2, 1], "valid", NONE, np.mean, 0.0),
    pool_case("avg_pool", "zeros count", IMAGE, [3, 3], [2, 2], "custom", [(1, 1), (1, 0)], np.mean, 0.0),
    pool_case(
        "avg_pool", "zeros do not count", IMAGE, [3, 3], [2, 2], "custom", [(1, 1), (1, 0)], np.nanmean, np.nan,
        exclude_padding_from_average=True,
    ),
]  # fmt: skip

WEIGHT, SCALE, SHIFT = normal(4, 6, seed=2), np.array([0.5, 2.0, 1.0, -1.5]), np.array([0.25, -1.0, 0.0, 3.0])
MEAN, VARIANCE = np.array([0.5, -0.25, 0.0, 1.0]), np.array([1.0, 0.25, 4.0, 2.0])


def column(values):
    return values[None, :, None, None]


def whole_batch_norm(x, real):
    options = {"mean": MEAN.astype(real), "variance": VARIANCE.astype(real), "epsilon": real(0.125)}
    return MB.batch_norm(x=x, gamma=SCALE.astype(real), beta=SHIFT.astype(real), **options)


def bare_batch_norm(x, real):
    return MB.batch_norm(x=x, mean=MEAN.astype(real), variance=VARIANCE.astype(real), epsilon=real(0.125))


def batch_norm(x):
    return (x - column(MEAN)) / np.sqrt(column(VARIANCE) + 0.125)


def layer_norm(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.125)


def whole_layer_norm(x, real):
    return MB.layer_norm(x=x, axes=[-1], gamma=SCALE.astype(real), beta=SHIFT.astype(real), epsilon=real(0.125))


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


TOKENS = normal(2, 3, 4)
PRODUCTS = [
    Case(
        "linear",
        lambda x, real: MB.linear(x=x, weight=WEIGHT.astype(real), bias=SHIFT.astype(real)),
        lambda x: np.einsum("bi,oi->bo", x, WEIGHT) + SHIFT,
        {"x": normal(3, 6)},
    ),
    Case(
        "linear",
        lambda x, real: MB.linear(x=x, weight=WEIGHT.astype(real)),
        lambda x: np.einsum("bti,oi->bto", x, WEIGHT),
        {"x": normal(2, 3, 6)},
        name="no bias",
    ),
    *(
        Case(
            "matmul",
            lambda x, y, real, across=across: MB.matmul(x=x, y=y, transpose_x=across[0], transpose_y=across[1]),
            lambda x, y, spelling=spelling: np.einsum(spelling, x, y),
            {"x": normal(*first), "y": normal(*second, seed=3)},
            name=spelling,
        )
        for across, spelling, first, second in (
            ((False, False), "bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
            ((False, True), "bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
            ((True, False), "bji,bjk->bik", (2, 4, 3), (2, 4, 5)),
        )
    ),
    Case(
        "batch_norm", whole_batch_norm, lambda x: batch_norm(x) * column(SCALE) + column(SHIFT), {"x": IMAGE}
    ),
    Case("batch_norm", bare_batch_norm, batch_norm, {"x": IMAGE}, name="bare"),
    Case("layer_norm", whole_layer_norm, lambda x: layer_norm(x, (2,)) * SCALE + SHIFT, {"x": TOKENS}),
    Case(
        "layer_norm",
        lambda x, real: MB.layer_norm(x=x, axes=[1, 2], epsilon=real(0.125)),
        lambda x: layer_norm(x, (1, 2)),
        {"x": TOKENS},
        name="bare",
    ),
    Case("softmax", lambda x, real: MB.softmax(x=x, axis=1), lambda x: softmax(x, 1), {"x": 4 * TOKENS}),
    Case("softmax", lambda x, real: MB.softmax(x=x), lambda x: softmax(x, -1), {"x": 4 * TOKENS}, name="last"),
]  # fmt: skip

FORMULAS = {
    "reduce_l2_norm": lambda x, axes, keep: np.sqrt((x**2).sum(axes, keepdims=keep)),
    "reduce_max": lambda x, axes, keep: x.max(axes, keepdims=keep),
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keepdims=keep),
    "reduce_min": lambda x, axes, keep: x.min(axes, keepdims=keep),
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdims=keep),
    "reduce_sum_square": lambda x, axes, keep: (x**2).sum(axes, keepdims=keep),
}
REDUCTIONS = [
    Case(
        op,
        lambda x, real, op=op, axes=axes, keep=keep: getattr(MB, op)(x=x, axes=axes, keep_dims=keep),
        lambda x, formula=formula, axes=axes, keep=keep: formula(x, tuple(axes) if axes else None, keep),
        {"x": TOKENS},
        name=f"{axes} {keep}",
    )
    for op, formula in FORMULAS.items()
    for axes, keep in (([1], False), ([-1, 0], True), (None, True))
]
LINEAR = [*CONVOLUTION, *PRODUCTS, *REDUCTIONS]
