"""Hard-swish of int8 .tflite files in float: XNNPACK has no kernel for int8, and takes what lies between in pieces.

Left to LiteRT's own kernel it is slow (a loop over single values), rounds twice, and splits the graph at every place.
Between a dequantisation and a quantisation XNNPACK takes all of it, and it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export.tflite_compact import compact


def hard_swish_in_float(data: bytes) -> bytes:
    """The same file, compact, with a pair of operators around each hard-swish of int8 values."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    codes = _Codes(model)
    for graph in model.subgraphs:
        graph.operators = [made for node in graph.operators for made in _spelled(graph, node, codes)]
    return compact(model)


class _Codes:
    """The operators of a file by name; those that it does not have yet are added."""

    def __init__(self, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self._table = schema, model.operatorCodes
        self.hard_swish = self._index(schema.BuiltinOperator.HARD_SWISH)
        self.quantize = self._index(schema.BuiltinOperator.QUANTIZE)
        self.dequantize = self._index(schema.BuiltinOperator.DEQUANTIZE, version=2)  # the first that takes int8

    def _index(self, builtin: int, version: int = 1) -> int:
        for index, code in enumerate(self._table):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
        self._table.append(code)
        return len(self._table) - 1


def _spelled(graph: Any, node: Any, codes: _Codes) -> Iterator[Any]:
    """What stands in the place of an operator."""
    stored = graph.tensors[node.inputs[0]].type == codes.schema.TensorType.INT8
    if node.opcodeIndex != codes.hard_swish or not stored:
        yield node
        return
    (given,), (made,) = node.inputs, node.outputs
    node.inputs, node.outputs = [_float(graph, given, codes)], [_float(graph, made, codes)]
    yield _operator(codes, codes.dequantize, given, node.inputs[0])
    yield node
    yield _operator(codes, codes.quantize, node.outputs[0], made)


def _float(graph: Any, index: int, codes: _Codes) -> int:
    """A new tensor for the real numbers of another."""
    like, tensor = graph.tensors[index], codes.schema.TensorT()
    tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, like.hasRank
    tensor.type, tensor.name, tensor.buffer = codes.schema.TensorType.FLOAT32, like.name + b"/float", 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(codes: _Codes, code: int, given: int, made: int) -> Any:
    operator = codes.schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [given], [made]
    return operator
