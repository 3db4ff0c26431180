"""Each kind of operator on each engine: computed in int8, and at most one step from PyTorch on the same input."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from executorch.runtime import Runtime
from numpy.typing import NDArray
from op_nets import BODIES, quantised
from torch import nn

from avgn.contract import TensorSpec
from avgn.errors import ProofError
from avgn.training.macs import count
from export.common import Piece, exported
from export.graphs import Graph
from export.mil import precision as mil
from export.mil.program import load
from export.onnx_file import executed_share, products
from export.pairs import settle
from export.parity import enough_int8
from export.pte import int8_macs, read_pte
from export.tflite_file import inspect
from export.to_coreml import convert as to_coreml
from export.to_executorch import lower, xnnpack
from export.to_onnx import convert as to_onnx
from export.to_openvino import convert, int8_share
from export.to_tflite import tflite
from quantize.quantizer import Spelling, quantizers, spelled

Answer = tuple[NDArray[Any], float]  # the output, and the share of the work that is done in int8


@dataclass(frozen=True)
class Row:
    """An engine: the spelling that its exporter wants, and how a graph is converted, inspected and run."""

    spelling: Spelling
    answer: Callable[[Graph, NDArray[np.float32]], Answer]
    moved: float = 0.01  # share of the values that may be a step away
    most: float = 1.01  # steps: one, and what float32 makes of it


def on_openvino(graph: Graph, x: NDArray[np.float32]) -> Answer:
    parts = {name[-4:]: data for name, data in convert(Piece(graph, exported(graph))).files.items()}
    core = openvino.Core()
    model = core.read_model(parts[".xml"], parts[".bin"])
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0], int8_share(parts)


def on_tflite(graph: Graph, x: NDArray[np.float32]) -> Answer:
    data = tflite([graph], int8=True)
    found = inspect(data)["op"]
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    assert outside_xnnpack(interpreter) <= PADDED_POOLING
    run = interpreter.get_signature_runner("op")
    return run(input=x)["output"], found.share("int8")


PADDED_POOLING = {"PADV2", "MAX_POOL_2D"}  # of ResNet-50: XNNPACK pads with zeros only, so LiteRT does it by itself


def outside_xnnpack(interpreter: Interpreter) -> set[str]:
    """The kinds of operators that LiteRT runs by itself on the way to the outputs."""
    nodes = sorted(interpreter._get_ops_details(), key=lambda node: node["op_name"] == "DELEGATE")
    made = {tensor: node for node in nodes for tensor in node["outputs"]}  # a piece in place of what it took
    found: set[str] = set()
    wanted = [each["index"] for each in interpreter.get_output_details()]
    while wanted:
        node = made.pop(wanted.pop(), None)
        if node is not None:
            found.add(node["op_name"])
            wanted += list(node["inputs"])
    assert "DELEGATE" in found
    return found - {"DELEGATE"}


def on_executorch(graph: Graph, x: NDArray[np.float32]) -> Answer:
    program = exported(graph)
    settle(program)
    data, _ = lower({"op": Piece(graph, program)}, xnnpack)
    share = int8_macs(read_pte(data), "op") / count(graph.module, *graph.example())
    return Runtime.get().load_program(data).load_method("op").execute([torch.from_numpy(x)])[0].numpy(), share


def on_onnx(graph: Graph, x: NDArray[np.float32]) -> Answer:
    data = to_onnx(Piece(graph, exported(graph))).files["op.onnx"]
    share = executed_share(data, products(onnx.load_model_from_string(data)))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0], share


def on_coreml(graph: Graph, x: NDArray[np.float32]) -> Answer:
    """The reference evaluator. Graphs that are not `glance` or `focus` compute in fp32 between the steps."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in to_coreml(Piece(graph, exported(graph)), "int8").files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        program = load(Path(scratch) / f"{graph.name}.mlpackage")
    return program.run({"input": x})["output"], mil.int8_share(mil.macs_by_kind(program.mil))


def on_coreml_as_shipped(graph: Graph, x: NDArray[np.float32]) -> Answer:
    return on_coreml(replace(graph, name="focus"), x)


ENGINES = {
    # it adds a residual before the convolution's output is rounded, which it then rounds once instead of twice
    "openvino": Row("fake", on_openvino, moved=0.25),
    "tflite": Row("unfolded", on_tflite),
    "executorch": Row("folded", on_executorch),
    "onnx": Row("unsigned", on_onnx),
    "coreml": Row("folded", on_coreml),
    # fp16 rounds the steps too, and all that lies between them: a hard-swish is several operations there
    "coreml in fp16": Row("folded", on_coreml_as_shipped, moved=0.2, most=3.1),
}


class Single(nn.Module):
    """A graph gives a tuple."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.net(x),)


@pytest.fixture(scope="module", params=BODIES)
def net(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor]:
    with redirect_stdout(io.StringIO()) as printed:
        made = quantised(request.param)
    assert not printed.getvalue()  # NNCF's bars would spoil what `--json` prints
    return made


def graph_of(net: nn.Module, x: torch.Tensor, spelling: Spelling) -> Graph:
    """The quantised net as a graph of its own."""
    with torch.no_grad():
        shape = tuple(net(x).shape)
    specs = TensorSpec("input", tuple(x.shape), "float32"), TensorSpec("output", shape, "float32")
    return Graph("op", Single(spelled(net, spelling)).eval(), specs[:1], specs[1:])


def last_step(net: nn.Module) -> float:
    """The step of the output: NNCF names the quantisers in the order in which they come."""
    return [hook.spec.step for hook in quantizers(net).values() if not hook.is_weight][-1]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_operator_is_int8_and_within_a_step(net, engine):
    quantised_net, x = net
    row = ENGINES[engine]
    found, share = row.answer(graph_of(quantised_net, x, row.spelling), x.numpy())
    with torch.no_grad():
        wanted = spelled(quantised_net, "fake")(x).numpy()
    steps = np.abs(found - wanted) / last_step(quantised_net)
    assert share > 0.999
    assert found.shape == wanted.shape and steps.max() <= row.most
    assert np.mean(steps > 0.5) <= row.moved


@pytest.mark.parametrize("engine", ENGINES)
def test_float_is_told_from_int8(engine):
    """The quantisers of activations are off: the engine has nothing to compute in int8."""
    with redirect_stdout(io.StringIO()):
        net, x = quantised("relu6")
    for hook in quantizers(net).values():
        hook.on = hook.is_weight
    row = ENGINES[engine]
    with pytest.raises(ProofError, match=r"of the work of \w+ runs in int8"):
        _, share = row.answer(graph_of(net, x, row.spelling), x.numpy())
        enough_int8(engine, "glance", share)
