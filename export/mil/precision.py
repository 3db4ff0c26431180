"""Which precision a Core ML program really computes in, read from the program: multiply-accumulates per number type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

# Operations that hand on the numbers they are given: what lies before them counts.
PASSING = {"concat", "expand_dims", "max_pool", "reshape", "slice_by_index", "split", "squeeze", "transpose"}
STORED = {
    "dequantize": "input",
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
}
KINDS = {"uint8": "int8"}


def macs_by_kind(mil: Any) -> dict[tuple[str, str], int]:
    """Multiply-accumulates of one call, by the types that (weights, activations) are stored in.

    `mil` is a coremltools program. A product of two activations counts as both. Types are fp32, fp16, int8 (also for
    uint8), and others as MIL calls them.
    """
    shares: Counter[tuple[str, str]] = Counter()
    for operation in mil.functions["main"].operations:
        if operation.op_type in ("conv", "linear"):
            weight = operation.weight
            per_output = _product(weight.shape[1:])
            shares[kind(weight), kind(operation.x)] += _product(operation.outputs[0].shape) * per_output
        elif operation.op_type == "matmul":
            inner = operation.x.shape[-2 if operation.transpose_x.val else -1]
            macs = _product(operation.outputs[0].shape) * inner
            shares[kind(operation.y), kind(operation.x)] += macs
    return dict(shares)


def found_precision(*programs: Any) -> str:
    """The precision of most multiply-accumulates; `wX_aY` where weights are stored as X and activations as Y."""
    shares = sum((Counter(macs_by_kind(mil)) for mil in programs), Counter[tuple[str, str]]())
    if not shares:
        return "fp32"
    weights, activations = max(shares, key=lambda kinds: shares[kinds])
    return weights if weights == activations else f"w{weights}_a{activations}"


def int8_share(shares: Mapping[tuple[str, str], int]) -> float:
    """The part (0..1) of the multiply-accumulates `shares` of which both operands are stored in int8."""
    return shares.get(("int8", "int8"), 0) / max(1, sum(shares.values()))


def kind(var: Any) -> str:
    """The type in which the numbers of a coremltools variable are stored, before they are unpacked for computing."""
    from coremltools.converters.mil.mil import types

    operation = var.op
    if operation is not None and operation.op_type in STORED:
        return kind(getattr(operation, STORED[operation.op_type]))
    if operation is not None and operation.op_type == "constexpr_lut_to_dense":
        return "palette"
    if operation is not None and operation.op_type in PASSING:
        source = operation.values[0] if operation.op_type == "concat" else operation.x
        return kind(source)
    name: str = types.builtin_to_string(var.dtype)
    return KINDS.get(name, name)


def _product(sizes: Any) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total
