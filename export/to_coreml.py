"""A run becomes Core ML packages: `python export/to_coreml.py [--run RUN] [--precision P …] [--out BUNDLE]`."""

from __future__ import annotations

import platform
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from avgn.contract import HEAVY, TensorSpec
from export.common import Converted, Piece, Target, one_by_one
from export.mil.engine import MilEngine
from export.mil.precision import found_precision, int8_share, macs_by_kind
from export.mil.program import load
from export.mil.stem import half_after_the_stem
from export.mil.tools import coremltools, quiet
from export.parity import enough_int8

PICTURES = ("frame", "patch")  # taken as images: 8-bit RGB, scaled to 0..1 inside the graph
EXACT = ("logmel",)  # always fp32: the power of a loud tone is beyond what fp16 can hold
APPLE = sys.platform == "darwin"
WHERE = f"macOS {platform.mac_ver()[0]}" if APPLE else "not run: needs macOS; parity is the reference evaluator's"
BROKEN_PASSES = {  # of coremltools 9.0
    # makes x * a + b a batch norm of variance 1, whose epsilon of 1e-5 then shrinks the product by 5e-6
    "common::fuse_elementwise_to_batchnorm",
    # makes dequantize, reshape, quantize a reshape of whole numbers, without comparing the two scales
    "common::int_op_canonicalization",
}


def convert(piece: Piece, precision: str) -> Converted:
    """An `.mlpackage` with the contract's names, float32 outputs and pictures as images, for iOS 16 and later.

    int8 is for iOS 17, which knows quantised activations. Raises ProofError for a quantised graph that is not int8.
    """
    ct = coremltools()
    graph = piece.graph
    inputs = tuple(as_taken(spec) for spec in graph.inputs)
    passes = ct.PassPipeline()
    passes.remove_passes(BROKEN_PASSES)
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        model = ct.convert(
            piece.program,
            inputs=[_input(ct, spec) for spec in inputs],
            outputs=[ct.TensorType(name=spec.name, dtype=np.float32) for spec in graph.outputs],
            minimum_deployment_target=ct.target.iOS17 if precision == "int8" else ct.target.iOS16,
            compute_precision=_arithmetic(ct, graph.name, precision),
            pass_pipeline=passes,
            skip_model_load=True,
        )
        _describe(model, piece)
        package = Path(scratch) / f"{graph.name}.mlpackage"
        model.save(str(package))
        program = load(package)
        parts = [package / "Manifest.json", *sorted((package / "Data").rglob("*"))]
        files = {path.relative_to(scratch).as_posix(): path.read_bytes() for path in parts if path.is_file()}
    shares = macs_by_kind(program.mil)
    if precision == "int8":
        enough_int8("coreml", graph.name, int8_share(shares))
    told = ", ".join(
        f"{count / sum(shares.values()):.1%} {weights} weights on {activations}"
        for (weights, activations), count in sorted(shares.items(), key=lambda item: -item[1])
    )
    return Converted(files, found_precision(program.mil), {"MACs": told}, (inputs, graph.outputs))


def _arithmetic(ct: Any, graph: str, precision: str) -> Any:
    """What real numbers are computed in. In int8 that is what lies between the steps, and the light graphs."""
    if precision == "fp32" or graph in EXACT or (precision == "int8" and graph not in HEAVY):
        return ct.precision.FLOAT32
    if precision == "fp16" and graph in HEAVY:
        return ct.transform.FP16ComputePrecision(op_selector=half_after_the_stem())
    return ct.precision.FLOAT16


def as_taken(spec: TensorSpec) -> TensorSpec:
    """An input as Core ML takes it: a picture is 8-bit, everything else as the contract has it."""
    return replace(spec, dtype="uint8", scale=1 / 255, zero_point=0) if spec.name in PICTURES else spec


def _input(ct: Any, spec: TensorSpec) -> Any:
    if spec.name in PICTURES:
        return ct.ImageType(spec.name, spec.shape, scale=spec.scale, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(spec.name, spec.shape, dtype=np.dtype(spec.dtype).type)


def _describe(model: Any, piece: Piece) -> None:
    """What the package says of itself: labels, run and configuration are in its user-defined metadata."""
    about = dict(piece.about)
    model.short_description = f"AVGN {piece.graph.name}: one graph of audio-visual video recognition"
    model.license = about.pop("licence", "")
    model.version = about.pop("version", "")
    for key, value in about.items():
        model.user_defined_metadata[f"avgn.{key}"] = value
    model.user_defined_metadata["avgn.graph"] = piece.graph.name


def _target(precision: str) -> Target:
    engine = None if APPLE else partial(MilEngine, precision=precision)
    converter = one_by_one(partial(convert, precision=precision))
    return Target("coreml", precision, converter, ("coremltools",), {"apple runtime": WHERE}, engine)


TARGETS = {precision: _target(precision) for precision in ("fp32", "fp16")}
TARGETS["int8"] = replace(_target("int8"), tools=("coremltools", "nncf"), spelling="folded")

if __name__ == "__main__":
    from export.main import main

    main("coreml")
