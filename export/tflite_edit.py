"""Operators put into a .tflite file that the converter has written, as LiteRT's own objects."""

from __future__ import annotations

from typing import Any


class Codes:
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

    def stored(self, graph: Any, index: int) -> bool:
        """Whether a tensor of `graph` holds int8."""
        return bool(graph.tensors[index].type == self.schema.TensorType.INT8)

    def real(self, graph: Any, index: int) -> int:
        """A new tensor in `graph` for the real numbers of another."""
        like, tensor = graph.tensors[index], self.schema.TensorT()
        tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, like.hasRank
        tensor.type, tensor.name, tensor.buffer = self.schema.TensorType.FLOAT32, like.name + b"/float", 0
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def operator(self, code: int, given: int, made: int) -> Any:
        """An operator of this file from one tensor to another."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [given], [made]
        return operator
