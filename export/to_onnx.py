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
from export.common import Converted, Piece, Target, exported, one_by_one
from export.graphs import Graph
from export.onnx_file import executed_share, found_precision, int8_share, products
from export.parity import enough_int8

# What PyTorch's exporter writes of its own accord, so that no version converter rewrites the graph. TensorRT 10 reads
# opsets 9 to 20, ONNX Runtime all up to its own; LayerNormalization is one operator from 17 on.
OPSET = 18
TENSORRT = (
    "not run: it reads activations in int8 around 0 only; these are in uint8, each with a zero point of its own, "
    "since ONNX Runtime has no quick kernels for others on x86"
)


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


def convert_int8(piece: Piece) -> Converted:
    """The same with int8 weights; raises ProofError unless the heavy graphs are really int8 (`proven_int8`)."""
    made, graph = convert(piece), piece.graph.name
    if not (graph in HEAVY or piece.quantised):
        return made
    (data,) = made.files.values()
    return replace(made, found="int8", notes={**made.notes, **proven_int8(graph, data)})


def proven_int8(graph: str, data: bytes) -> dict[str, str]:
    """What to note of a graph that is int8 in its file, and run so by ONNX Runtime on this CPU; ProofError if not."""
    import onnx

    found = products(onnx.load_model_from_string(data))
    enough_int8("onnx", graph, int8_share(found))
    return enough_int8("onnx", graph, executed_share(data, found))


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
    "int8": Target(
        "onnx",
        "int8",
        one_by_one(convert_int8),
        ("onnx", "onnxscript", "onnxruntime", "nncf"),
        {"tensorrt int8": TENSORRT},
        spelling="unsigned",
    ),
}

if __name__ == "__main__":
    from export.main import main

    main("onnx")
