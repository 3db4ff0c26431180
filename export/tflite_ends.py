"""Floats at the ends of int8 .tflite files: the converter drops a quantiser that comes first or last in a graph.

Apps would then have to know scales and round by themselves; numpy took a tenth of a millisecond a clip for that.
"""

from __future__ import annotations

from typing import Any

from export.tflite_edit import Codes


def floats_at_the_ends(model: Any) -> None:
    """Let all signatures of a `model` (LiteRT's own object) take and give real numbers."""
    codes = Codes(model)
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        taken, graph.inputs = _as_floats(graph, signature.inputs, graph.inputs, codes)
        given, graph.outputs = _as_floats(graph, signature.outputs, graph.outputs, codes)
        graph.operators = [
            *(codes.operator(codes.quantize, real, stored) for stored, real in taken.items()),
            *graph.operators,
            *(codes.operator(codes.dequantize, stored, real) for stored, real in given.items()),
        ]


def _as_floats(graph: Any, named: Any, ends: Any, codes: Codes) -> tuple[dict[int, int], list[int]]:
    """New tensors for those of `ends` that hold int8, and the ends with them; what is `named` is named anew."""
    made = {int(index): codes.real(graph, index) for index in ends if codes.stored(graph, index)}
    for entry in named:
        entry.tensorIndex = made.get(entry.tensorIndex, entry.tensorIndex)
    return made, [made.get(int(index), int(index)) for index in ends]
