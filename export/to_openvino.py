"""A run becomes OpenVINO graphs: `python export/to_openvino.py [--run RUN] [--out BUNDLE] [--clips CLIP …]`."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from avgn.contract import HEAVY
from export.common import Converted, Piece, Target, most_bytes, one_by_one
from export.compact import drop_inner_names, plain_ends, share_constants, without_indentation
from export.parity import enough_int8
from runtimes.backends.openvino_operators import products

WORTH_NARROWING = 4096  # bytes of a constant
KINDS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}


def convert(piece: Piece, half: bool = False, narrow: bool = False) -> Converted:
    """IR of static shapes with the contract's tensor names.

    `half` rounds all weights to fp16, `narrow` stores those as fp16 that fp16 holds exactly, which changes no value.
    """
    import openvino as ov

    graph = piece.graph
    model = ov.convert_model(piece.program)
    for port, spec in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({spec.name})
    for port, spec in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({spec.name})
    model.reshape({spec.name: list(spec.shape) for spec in graph.inputs})  # the converter leaves shapes dynamic
    if narrow:
        narrow_constants(model)
    plain_ends(model)
    share_constants(model)
    drop_inner_names(model)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{graph.name}.xml"
        ov.save_model(model, path, compress_to_fp16=half)
        path.write_bytes(without_indentation(path.read_bytes()))
        found = found_precision(ov.Core().read_model(path))
        return Converted({file.name: file.read_bytes() for file in sorted(path.parent.iterdir())}, found)


def narrow_constants(model: Any) -> None:
    """Store what fp16 holds exactly as fp16, in place. Weights that become int8 and their ranges are left alone."""
    from openvino import opset13 as operations

    for node in model.get_ordered_ops():
        uses = list(node.output(0).get_target_inputs()) if node.get_type_name() == "Constant" else []
        kinds = {use.get_node().get_type_name() for use in uses}
        if not uses or "FakeQuantize" in kinds or node.get_element_type().get_type_name() != "f32":
            continue
        values = node.get_data()
        halves = values.astype(np.float16)
        if values.nbytes >= WORTH_NARROWING and np.array_equal(halves.astype(np.float32), values):
            widened = operations.convert(operations.constant(halves), "f32")
            for use in uses:
                use.replace_source_output(widened.output(0))


def found_precision(model: Any) -> str:
    """The element type that holds most bytes of the model's floating or 8-bit constants (weights)."""
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    kinds = [(KINDS.get(node.get_element_type().get_type_name()), node.get_byte_size()) for node in constants]
    return most_bytes((kind, size) for kind, size in kinds if kind)


def convert_int8(piece: Piece) -> Converted:
    """The same with int8 weights; the heavy graphs must also be executed in int8 by the CPU of this machine.

    Raises ProofError where they are not.
    """
    made = convert(piece, narrow=True)
    if not (piece.graph.name in HEAVY or piece.quantised):
        return made
    share = int8_share({Path(name).suffix: data for name, data in made.files.items()})
    return Converted(made.files, "int8", enough_int8("openvino", piece.graph.name, share))


def int8_share(parts: dict[str, bytes]) -> float:
    """Share of the multiply-accumulates of convolutions and matrix products that the compiled graph does in int8.

    From the engine's own account of what it executes: a file may hold int8 and still be computed in float.
    """
    import openvino as ov

    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(parts[".xml"], parts[".bin"]), "CPU", options)
    work = products(compiled).values()
    # it writes i8 where both are signed, I8 where one is not
    whole = sum(product.macs for product in work if product.kernel.upper().endswith("_I8"))
    return whole / max(sum(product.macs for product in work), 1)


TARGETS = {
    "fp32": Target("openvino", "fp32", one_by_one(convert), ("openvino",)),
    "fp16": Target("openvino", "fp16", one_by_one(partial(convert, half=True)), ("openvino",)),
    "int8": Target("openvino", "int8", one_by_one(convert_int8), ("openvino", "nncf"), spelling="fake"),
}

if __name__ == "__main__":
    from export.main import main

    main("openvino")
