"""A run becomes OpenVINO graphs: `python export/to_openvino.py [--run RUN] [--out BUNDLE] [--clips CLIP …]`."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from export.common import Converted, Piece, Target, one_by_one

KINDS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}


def convert(piece: Piece, half: bool = False) -> Converted:
    """IR of static shapes with the contract's tensor names; weights in fp16 if `half`."""
    import openvino as ov

    graph = piece.graph
    model = ov.convert_model(piece.program)
    for port, spec in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({spec.name})
    for port, spec in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({spec.name})
    model.reshape({spec.name: list(spec.shape) for spec in graph.inputs})  # the converter leaves shapes dynamic
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{graph.name}.xml"
        ov.save_model(model, path, compress_to_fp16=half)
        found = found_precision(ov.Core().read_model(path))
        return Converted({file.name: file.read_bytes() for file in sorted(path.parent.iterdir())}, found)


def found_precision(model: Any) -> str:
    """The element type that holds most bytes of the model's floating or 8-bit constants (weights)."""
    sizes: dict[str, int] = {}
    for node in model.get_ops():
        kind = node.get_element_type().get_type_name() if node.get_type_name() == "Constant" else ""
        if kind in KINDS:
            sizes[KINDS[kind]] = sizes.get(KINDS[kind], 0) + node.get_byte_size()
    return max(sizes, key=lambda kind: sizes[kind]) if sizes else "fp32"


TARGETS = {
    "fp32": Target("openvino", "fp32", one_by_one(convert), ("openvino",)),
    "fp16": Target("openvino", "fp16", one_by_one(partial(convert, half=True)), ("openvino",)),
}

if __name__ == "__main__":
    from export.main import main

    main("openvino")
