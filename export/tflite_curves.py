"""Hard-swish of int8 .tflite files in float: XNNPACK has no kernel for int8, and takes what lies between in pieces.

Left to LiteRT's own kernel it is slow (a loop over single values), rounds twice, and splits the graph at every place.
Between a dequantisation and a quantisation XNNPACK takes all of it, and it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export.tflite_edit import Codes


def hard_swish_in_float(model: Any) -> None:
    """Put a pair of operators around each hard-swish of int8 values of a `model` (LiteRT's own object)."""
    codes = Codes(model)
    for graph in model.subgraphs:
        graph.operators = [made for node in graph.operators for made in _spelled(graph, node, codes)]


def _spelled(graph: Any, node: Any, codes: Codes) -> Iterator[Any]:
    """What stands in the place of an operator."""
    if node.opcodeIndex != codes.hard_swish or not codes.stored(graph, node.inputs[0]):
        yield node
        return
    (given,), (made,) = node.inputs, node.outputs
    node.inputs, node.outputs = [codes.real(graph, given)], [codes.real(graph, made)]
    yield codes.operator(codes.dequantize, given, node.inputs[0])
    yield node
    yield codes.operator(codes.quantize, node.outputs[0], made)
