"""Operations on each element: arithmetic, activations, comparisons, logic, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from export.mil.values import DTYPES, Operation, pick, tensor


def _unary(formula: Callable[[Tensor], Tensor]) -> Operation:
    return lambda x: formula(tensor(x))


def _binary(formula: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda x, y: formula(tensor(x), tensor(y))


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "floor": torch.floor,
    "identity": torch.clone,
    "logical_not": torch.logical_not,
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,  # half to even
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "softplus": F.softplus,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # sign of the divisor
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": torch.div,
    "sub": torch.sub,
}
GELU: dict[str, Callable[[Tensor], Tensor]] = {
    "EXACT": F.gelu,
    "TANH_APPROXIMATION": lambda x: F.gelu(x, approximate="tanh"),
    "SIGMOID_APPROXIMATION": lambda x: x * torch.sigmoid(1.702 * x),
}


def gelu(x: Tensor, mode: str) -> Tensor:
    """x times the normal distribution function of x, or one of two approximations of it."""
    found: Tensor = pick(GELU, mode, "gelu mode")(x)
    return found


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """`x` inside alpha..beta."""
    return x.clamp(alpha, beta)


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """`alpha` times the negative part."""
    return torch.where(x >= 0, x, alpha * x)


def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """`x` from `alpha` on, 0 below."""
    return torch.where(x >= alpha, x, 0.0)


def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha x + beta inside 0..1."""
    return (alpha * x + beta).clamp(0, 1)


def log(x: Tensor, epsilon: float) -> Tensor:
    """Natural logarithm of x + epsilon."""
    return torch.log(x + epsilon)


def rsqrt(x: Tensor, epsilon: float) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return 1 / torch.sqrt(x + epsilon)


def inverse(x: Tensor, epsilon: float) -> Tensor:
    """1 / (x + epsilon)."""
    return 1 / (x + epsilon)


def select(cond: Tensor, a: Any, b: Any) -> Tensor:
    """`a` where `cond`, else `b`."""
    return torch.where(tensor(cond), tensor(a), tensor(b))


def cast(x: Any, dtype: str) -> Tensor:
    """`x` in another type; real numbers become whole ones by cutting off what is behind the point."""
    target: torch.dtype = pick(DTYPES, dtype, "cast to")
    rounded = tensor(x).to(target)
    return rounded.float() if rounded.is_floating_point() else rounded


OPS: dict[str, Operation] = {
    **{name: _unary(formula) for name, formula in UNARY.items()},
    **{name: _binary(formula) for name, formula in BINARY.items()},
    "cast": cast,
    "clip": clip,
    "gelu": gelu,
    "inverse": inverse,
    "leaky_relu": leaky_relu,
    "log": log,
    "rsqrt": rsqrt,
    "select": select,
    "sigmoid_hard": sigmoid_hard,
    "thresholded_relu": thresholded_relu,
}
