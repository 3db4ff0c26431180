"""What a .tflite file holds, read from the file itself: tensors, weights by precision, work by arithmetic.

A conversion that "succeeds" may still be float where int8 was asked for; only the file can tell. The schema and its
reader are those that come with ai-edge-litert.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from avgn.contract import Dtype, TensorSpec
from avgn.errors import InputError

_MAGIC = b"TFL3"  # at byte 4
# Types of the schema: what precision weights of that type are (None: shapes, indices and biases of int8 layers are no
# weights), and what a tensor that goes in or out is called.
_PRECISIONS = {"FLOAT32": "fp32", "FLOAT16": "fp16", "INT16": "int16", "INT8": "int8", "UINT8": "int8", "INT4": "int4"}
_DTYPES: dict[str, Dtype] = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
}


@dataclass(frozen=True)
class Signature:
    """One graph of a file.

    `inputs` and `outputs` by name, as the file types and scales them. `weights` are bytes of constants by precision.
    `macs` are multiply-accumulates of one call by arithmetic: `fp32`, `int8`, or `int8 weights` where activations are
    quantised while it runs; weights that are expanded before use count as what they become. `operators` counts nodes.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    weights: dict[str, int]
    macs: dict[str, int]
    operators: dict[str, int]

    @property
    def found(self) -> str:
        """The precision that holds most bytes of the weights; fp32 where there are none."""
        return max(self.weights, key=lambda kind: self.weights[kind], default="fp32")

    def share(self, arithmetic: str) -> float:
        """The part (0..1) of the multiply-accumulates that are done in `arithmetic`."""
        return self.macs.get(arithmetic, 0) / max(1, sum(self.macs.values()))


def inspect(data: bytes) -> dict[str, Signature]:
    """The signatures of a file. Raises InputError for bytes that are no .tflite file with signatures."""
    from ai_edge_litert.tools import flatbuffer_utils

    if data[4:8] != _MAGIC:
        raise InputError("these bytes are no .tflite file; export again.")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
        found = {each.signatureKey.decode(): _signature(model, each) for each in model.signatureDefs or ()}
    except Exception as fault:  # the schema's reader trusts its bytes: it fails in any way on damaged ones
        raise InputError(f"a .tflite file cannot be read ({type(fault).__name__}: {fault}); export again.") from fault
    if not found:
        raise InputError("a .tflite file has no signatures; export again.")
    return found


def _signature(model: Any, signature: Any) -> Signature:
    graph = model.subgraphs[signature.subgraphIndex]
    macs: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    for node in graph.operators:
        name = _operator(model, node)
        operators[name] += 1
        if name in _MACS:
            tensors = [graph.tensors[index] for index in (*node.inputs[:2], node.outputs[0])]
            values, weights, output = (_shape(tensor) for tensor in tensors)
            macs[_arithmetic(tensors[0], tensors[1], name)] += _MACS[name](values, weights, output, node)
    return Signature(
        {each.name.decode(): _spec(each, graph) for each in signature.inputs},
        {each.name.decode(): _spec(each, graph) for each in signature.outputs},
        _weights(model, graph),
        dict(macs),
        dict(operators),
    )


def _weights(model: Any, graph: Any) -> dict[str, int]:
    """Bytes of the constants by precision, those of a buffer that several tensors share only once."""
    buffers = {tensor.buffer: _type(tensor) for tensor in graph.tensors}
    sizes: Counter[str] = Counter()
    for index, kind in buffers.items():
        data = model.buffers[index].data
        if kind in _PRECISIONS and data is not None and len(data):
            sizes[_PRECISIONS[kind]] += len(data)
    return dict(sizes)


def _spec(entry: Any, graph: Any) -> TensorSpec:
    tensor = graph.tensors[entry.tensorIndex]
    dtype, shape = _DTYPES[_type(tensor)], tuple(int(size) for size in tensor.shape)
    if dtype not in ("int8", "uint8"):
        return TensorSpec(entry.name.decode(), shape, dtype)
    scales, zeros = tensor.quantization.scale, tensor.quantization.zeroPoint
    return TensorSpec(entry.name.decode(), shape, dtype, float(scales[0]), int(zeros[0]))


def _arithmetic(values: Any, weights: Any, operator: str) -> str:
    first, second = (_PRECISIONS.get(_type(tensor), "fp32") for tensor in (values, weights))
    return first if first == second or operator == "BATCH_MATMUL" else f"{second} weights"


def _conv(values: Sequence[int], weights: Sequence[int], output: Sequence[int], _: Any) -> int:
    return math.prod(output) * math.prod(weights[1:])  # weights: out, height, width, in


def _depthwise(values: Sequence[int], weights: Sequence[int], output: Sequence[int], _: Any) -> int:
    return math.prod(output) * math.prod(weights[1:3])  # weights: 1, height, width, out


def _dense(values: Sequence[int], weights: Sequence[int], output: Sequence[int], _: Any) -> int:
    return math.prod(output) * weights[-1]  # weights: out, in


def _matmul(values: Sequence[int], weights: Sequence[int], output: Sequence[int], node: Any) -> int:
    return math.prod(output) * (values[-2] if node.builtinOptions.adjX else values[-1])


_MACS = {"CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "FULLY_CONNECTED": _dense, "BATCH_MATMUL": _matmul}


def _operator(model: Any, node: Any) -> str:
    code = model.operatorCodes[node.opcodeIndex]
    return _names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _type(tensor: Any) -> str:
    return _names("TensorType")[tensor.type]


def _shape(tensor: Any) -> list[int]:
    return [int(size) for size in tensor.shape]


@cache
def _names(enum: str) -> dict[int, str]:
    """The names of one of the schema's enumerations by value."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enum)).items() if isinstance(value, int)}
