"""Reading back what a .pte file holds: which delegate runs each method, and in which precision its weights are."""

from __future__ import annotations

import json
import math
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from export.common import most_bytes

XNNPACK, COREML = "XnnpackBackend", "CoreMLBackend"
_KINDS = {"fp32": "fp32", "fp16": "fp16", "qint8": "int8", "quint8": "int8", "qcint8": "int8", "qcint4": "int4"}
_PREFIX = "xnn_datatype_"
# Products, and which dimensions of their weights make one output: [out,h,w,in], [1,h,w,out], [out,in].
_TAPS = {"XNNConv2d": slice(1, None), "XNNDepthwiseConv2d": slice(1, 3), "XNNFullyConnected": slice(1, None)}


def read_pte(data: bytes) -> Any:
    """The program of a .pte as ExecuTorch's own schema has it."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    return deserialize_pte_binary(data).program


def delegates(program: Any, method: str) -> list[str]:
    """Names of the delegates that a method calls, one for each piece that was handed over."""
    return [item.id for item in _plan(program, method).delegates]


def delegate_data(program: Any, method: str, delegate: str) -> list[bytes]:
    """What each piece of a method that was handed over to `delegate` holds."""
    pieces = [item for item in _plan(program, method).delegates if item.id == delegate]
    return [program.backend_delegate_data[item.processed.index].data for item in pieces]


def method_values(program: Any, method: str) -> tuple[list[int], list[int]]:
    """Which of a method's values are its inputs and its outputs, in its own order."""
    plan = _plan(program, method)
    return list(plan.inputs), list(plan.outputs)


def call_values(program: Any, method: str) -> list[list[int]]:
    """The values that each delegated piece of a method is called with: what it takes, then what it gives."""
    from executorch.exir.schema import DelegateCall

    steps = (step.instr_args for chain in _plan(program, method).chains for step in chain.instructions)
    return [list(call.args) for call in steps if isinstance(call, DelegateCall)]


def found_precision(program: Any, method: str) -> str:
    """The kind that holds most bytes of the weights in a method's XNNPACK pieces; fp32 where these have none."""
    return most_bytes(weight for blob in delegate_data(program, method, XNNPACK) for weight in _weights(blob))


def int8_macs(program: Any, method: str) -> int:
    """Multiply-accumulates of one call that a method's XNNPACK pieces do in int8, values and weights alike."""
    return sum(_int8_macs(_xnnpack_graph(blob)) for blob in delegate_data(program, method, XNNPACK))


def _plan(program: Any, method: str) -> Any:
    return next(plan for plan in program.execution_plan if plan.name == method)


def _weights(blob: bytes) -> list[tuple[str, int]]:
    """(kind, bytes) of each constant of one XNNPACK piece."""
    graph = _xnnpack_graph(blob)
    stored = [item["size"] for item in graph["constant_data"]]
    found = []
    for value in (item["xvalue_union"] for item in graph["xvalues"]):
        tensor = value.get("tensor_value", value)
        index = tensor.get("constant_buffer_idx", 0)
        kind = _KINDS.get(str(tensor.get("datatype", "")).removeprefix(_PREFIX))
        if index and kind:
            found.append((kind, int(stored[index])))
    return found


def _int8_macs(graph: dict[str, Any]) -> int:
    values = (item["xvalue_union"] for item in graph["xvalues"])
    tensors = {tensor["id_out"]: tensor for tensor in (value.get("tensor_value", value) for value in values)}
    done = 0
    for node in graph["xnodes"]:
        if (taps := _TAPS.get(node["xnode_union_type"])) is None:
            continue
        taken, weights, made = (tensors[node["xnode_union"][key]] for key in ("input1_id", "filter_id", "output_id"))
        if {_KINDS.get(tensor["datatype"].removeprefix(_PREFIX)) for tensor in (taken, weights, made)} == {"int8"}:
            done += math.prod(made["dims"]) * math.prod(weights["dims"][taps])
    return done


def _xnnpack_graph(blob: bytes) -> dict[str, Any]:
    """The description of an XNNPACK piece as plain data: ExecuTorch ships the schema and the reader of it."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    header = XNNHeader.from_bytes(blob[: XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        schema = files("executorch.backends.xnnpack.serialization") / "schema.fbs"
        (folder / "schema.fbs").write_bytes(schema.read_bytes())
        (folder / "graph.bin").write_bytes(blob[start : start + header.flatbuffer_size])
        options = ["--raw-binary", "--strict-json", "--defaults-json"]
        _flatc_decompile(scratch, str(folder / "schema.fbs"), str(folder / "graph.bin"), options)
        text = (folder / "graph.json").read_text(encoding="utf-8")
        graph: dict[str, Any] = json.loads(re.sub(r": (-?)inf\b", r": \1Infinity", text))  # bounds of activations
        return graph
