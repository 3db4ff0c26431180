"""Arithmetic, activations, comparisons, logic and casts, by numpy and scipy."""

from __future__ import annotations

import numpy as np
from scipy.special import erf, expit

from mil_programs import MB, Case, normal

X, Y = normal(3, 4, scale=2.0), normal(3, 4, seed=1, scale=2.0)
WHOLE, OTHER = np.array([-5, -2, 0, 3, 7], np.int32), np.array([2, 2, -3, 3, 4], np.int32)
TRUE = np.array([[True, False, True, True]])


def normal_cdf(x):
    return (1 + erf(x / np.sqrt(2))) / 2


UNARY = {
    "abs": (np.abs, X),
    "ceil": (np.ceil, X),
    "cos": (np.cos, X),
    "erf": (erf, X),
    "exp": (np.exp, X),
    "floor": (np.floor, X),
    "identity": (lambda x: x, X),
    "relu": (lambda x: np.maximum(x, 0), X),
    "relu6": (lambda x: np.clip(x, 0, 6), 4 * X),
    "round": (np.round, np.array([-2.5, -0.5, 0.5, 1.5, 2.25])),
    "sigmoid": (expit, X),
    "sign": (np.sign, np.array([-2.0, 0.0, 3.0])),
    "silu": (lambda x: x * expit(x), X),
    "sin": (np.sin, X),
    "softplus": (lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), 4 * X),
    "sqrt": (np.sqrt, np.abs(X)),
    "square": (lambda x: x * x, X),
    "tanh": (np.tanh, X),
}
REAL_BINARY = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "real_div": lambda x, y: x / y,
    "sub": np.subtract,
}
WHOLE_BINARY = {
    "add": np.add,
    "floor_div": np.floor_divide,
    "mod": lambda x, y: x - np.floor(x / y).astype(np.int32) * y,
    "mul": np.multiply,
    "sub": np.subtract,
}
COMPARISONS = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}


def half(value):
    """A number that both types hold exactly."""
    return float(np.float16(value))


def with_numbers(op, truth, x, **numbers):
    """An operation with real parameters."""
    return Case(
        op,
        lambda x, real: getattr(MB, op)(x=x, **{key: real(value) for key, value in numbers.items()}),
        truth,
        {"x": x},
    )


ELEMENTWISE = [
    *(
        Case(op, lambda x, real, op=op: getattr(MB, op)(x=x), truth, {"x": x})
        for op, (truth, x) in UNARY.items()
    ),
    *(
        Case(op, lambda x, y, real, op=op: getattr(MB, op)(x=x, y=y), truth, {"x": X, "y": Y[:1]})
        for op, truth in REAL_BINARY.items()
    ),
    *(
        Case(op, lambda x, y, real, op=op: getattr(MB, op)(x=x, y=y), truth, {"x": WHOLE, "y": OTHER}, name="whole",
             types=("fp32",))
        for op, truth in WHOLE_BINARY.items()
    ),
    *(
        Case(op, lambda x, y, real, op=op: getattr(MB, op)(x=x, y=y), truth, {"x": np.round(X), "y": np.round(Y)})
        for op, truth in COMPARISONS.items()
    ),
    *(
        Case(op, lambda x, real, op=op: getattr(MB, op)(x=x, y=np.arange(-1, 4, dtype=np.int32)), truth,
             {"x": OTHER}, name="with constants", types=("fp32",))
        for op, truth in (("equal", lambda x: x == np.arange(-1, 4)), ("add", lambda x: x + np.arange(-1, 4)))
    ),
    Case("sub", lambda x, real: MB.sub(x=real(1), y=x), lambda x: 1 - x, {"x": X}, name="from a number"),
    Case("maximum", lambda x, real: MB.maximum(x=x, y=real(0.5)), lambda x: np.maximum(x, 0.5), {"x": X},
         name="with a number"),
    Case("mod", lambda x, real: MB.mod(x=x, y=real(1.5)), lambda x: x - np.floor(x / 1.5) * 1.5, {"x": X}),
    Case("pow", lambda x, real: MB.pow(x=x, y=real(3)), lambda x: x**3, {"x": X}),
    Case("logical_and", lambda x, y, real: MB.logical_and(x=x, y=y), lambda x, y: x & y,
         {"x": TRUE, "y": ~TRUE.T}, types=("fp32",)),
    Case("logical_or", lambda x, y, real: MB.logical_or(x=x, y=y), lambda x, y: x | y,
         {"x": TRUE, "y": ~TRUE.T}, types=("fp32",)),
    Case("logical_not", lambda x, real: MB.logical_not(x=x), lambda x: ~x, {"x": TRUE}, types=("fp32",)),
    Case("gelu", lambda x, real: MB.gelu(x=x, mode="EXACT"), lambda x: x * normal_cdf(x), {"x": X}, name="exact"),
    Case("gelu", lambda x, real: MB.gelu(x=x, mode="TANH_APPROXIMATION"),
         lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), {"x": X}, name="tanh"),
    Case("gelu", lambda x, real: MB.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda x: x * expit(1.702 * x),
         {"x": X}, name="sigmoid"),
    with_numbers("clip", lambda x: np.clip(x, -0.5, 1.5), X, alpha=-0.5, beta=1.5),
    with_numbers("leaky_relu", lambda x: np.where(x < 0, 0.125 * x, x), X, alpha=0.125),
    with_numbers("thresholded_relu", lambda x: np.where(x < -1, 0, x), X, alpha=-1.0),
    with_numbers("sigmoid_hard", lambda x: np.clip(half(1 / 6) * x + 0.5, 0, 1), 2 * X, alpha=half(1 / 6), beta=0.5),
    with_numbers("log", lambda x: np.log(x + 0.25), np.abs(X), epsilon=0.25),
    with_numbers("rsqrt", lambda x: 1 / np.sqrt(x + 0.25), np.abs(X), epsilon=0.25),
    with_numbers("inverse", lambda x: 1 / (x + 0.25), np.abs(X), epsilon=0.25),
    Case("select", lambda cond, a, b, real: MB.select(cond=cond, a=a, b=b), lambda cond, a, b: np.where(cond, a, b),
         {"cond": X > Y, "a": X, "b": Y}),
    Case("cast", lambda x, real: MB.cast(x=x, dtype="int32"), lambda x: np.trunc(x).astype(np.int32), {"x": 3 * X},
         name="to whole"),
    Case("cast", lambda x, real: MB.cast(x=x, dtype="bool"), lambda x: x != 0, {"x": np.round(X / 4)},
         name="to logical"),
    Case("cast", lambda x, real: MB.cast(x=MB.cast(x=x, dtype="fp16"), dtype="fp32"),
         lambda x: x.astype(np.float16).astype(np.float64), {"x": 30000 * np.array([1e-9, 1.0001, 2.0])},
         name="to fp16", types=("fp32",)),
    Case("cast", lambda x, real: MB.cast(x=x, dtype="fp32"), lambda x: x.astype(np.float64), {"x": WHOLE},
         name="to real", types=("fp32",)),
]  # fmt: skip
