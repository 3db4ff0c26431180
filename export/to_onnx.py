"""A run becomes ONNX graphs: `python export/to_onnx.py [--run RUN] [--out BUNDLE] [--clips CLIP …]`."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from avgn.contract import HEAVY
from export.common import Converted, Piece, Target, exported, most_bytes, one_by_one
from export.graphs import Graph

# What PyTorch's exporter writes of its own accord, so that no version converter rewrites the graph. TensorRT 10 reads
# opsets 9 to 20, ONNX Runtime all up to its own; LayerNormalization is one operator from 17 on.
OPSET = 18
KINDS = {"FLOAT": "fp32", "FLOAT16": "fp16", "INT8": "int8", "UINT8": "int8"}


class HalfGraph(nn.Module):
    """A graph that computes in fp16 between casts: its inputs and outputs stay float32, as the contract has them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs."""
        return tuple(output.float() for output in self.module(*(value.half() for value in inputs)))


def convert(piece: Piece, half: bool = False) -> Converted:
    """One .onnx with the contract's tensor names and static shapes; the heavy graphs in fp16 if `half`.

    The light graphs then stay fp32: they are a hundredth of the work, and the powers of `logmel` overflow fp16.
    """
    import onnx

    graph = piece.graph
    program = exported(half_graph(graph)) if half and graph.name in HEAVY else piece.program
    model = onnx_model(program, graph)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    found = found_precision(onnx.load_model_from_string(data))
    return Converted({f"{graph.name}.onnx": data}, found, {"opset": str(OPSET)})


def half_graph(graph: Graph) -> Graph:
    """The same graph in fp16 inside."""
    return replace(graph, module=HalfGraph(graph.module).eval())


def onnx_model(program: torch.export.ExportedProgram, graph: Graph) -> Any:
    """What PyTorch's exporter makes of a program, without its notes of who called what in which source file."""
    inputs, outputs = ([spec.name for spec in specs] for specs in (graph.inputs, graph.outputs))
    with _quiet():
        found = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, verbose=False
        )
    assert found is not None
    model = found.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]
    return model


def found_precision(model: Any) -> str:
    """The element type that holds most bytes of the model's floating or 8-bit initialisers (weights)."""
    import onnx

    constants = [item.t for node in model.graph.node for item in node.attribute if node.op_type == "Constant"]
    tensors = [*model.graph.initializer, *constants]
    kinds = [(KINDS.get(onnx.TensorProto.DataType.Name(tensor.data_type)), tensor) for tensor in tensors]
    return most_bytes((kind, onnx.numpy_helper.to_array(tensor).nbytes) for kind, tensor in kinds if kind)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings that torchvision, which nothing here uses, is not installed."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


TARGETS = {
    "fp32": Target("onnx", "fp32", one_by_one(convert), ("onnx", "onnxscript")),
    "fp16": Target("onnx", "fp16", one_by_one(partial(convert, half=True)), ("onnx", "onnxscript")),
}

if __name__ == "__main__":
    from export.main import main

    main("onnx")
