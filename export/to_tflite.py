"""A run becomes LiteRT files: `python export/to_tflite.py [--run RUN] [--out BUNDLE] [--clips CLIP …]`.

One .tflite a stage, with a named signature a graph: glance.tflite holds `glance`, `select` and `logmel`, focus.tflite
`focus` and `classify`. Inputs and outputs keep the contract's names and shapes (pictures are channels first).
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from avgn.contract import HEAVY
from avgn.errors import InputError
from export.common import Converted, Piece, Target
from export.graphs import STAGE_FILES, Graph
from export.parity import enough_int8
from export.tflite_compact import compact
from export.tflite_curves import hard_swish_in_float
from export.tflite_ends import floats_at_the_ends
from export.tflite_file import Signature, inspect

CASTABLE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # whose weights the quantizer can hold in fp16


class Named(nn.Module):
    """A graph with inputs and outputs by name, which is where a signature takes its own names from."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._inputs = [spec.name for spec in graph.inputs]
        self._outputs = [spec.name for spec in graph.outputs]
        self.add_module(graph.name, graph.module)  # operators in the file are named after it
        self._name = graph.name

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """The graph's outputs by name."""
        outputs = self.get_submodule(self._name)(*(inputs[name] for name in self._inputs))
        return dict(zip(self._outputs, outputs, strict=True))


def convert(pieces: Mapping[str, Piece], half: bool = False, int8: bool = False) -> Iterator[dict[str, Converted]]:
    """One file a stage; the weights of the heavy graphs in fp16 if `half` (light graphs and sums stay fp32).

    With `int8` the quantised graphs must compute in int8; raises ProofError where they do not.
    """
    for stage, names in STAGE_FILES.items():
        data = tflite([pieces[name].graph for name in names], int8)
        data = halved(data) if half else data
        signatures = inspect(data)
        done = {name: converted(f"{stage}.tflite", data, signatures[name], pieces[name].graph) for name in names}
        for name in [name for name in names if int8 and (name in HEAVY or pieces[name].quantised)]:
            enough_int8("tflite", name, signatures[name].share("int8"))
            done[name] = replace(done[name], found="int8")  # by work: attention, in float, may hold more bytes
        yield done


def tflite(table: Sequence[Graph], int8: bool = False) -> bytes:
    """A .tflite with a signature for each graph; `int8` where quantisers among the graphs are to become integers.

    Raises InputError for a graph that LiteRT has no operators for.
    """
    import litert_torch

    litert_torch.config.show_progress = False
    converter = litert_torch.Converter()
    for graph in table:
        names = [spec.name for spec in graph.inputs]
        inputs = dict(zip(names, graph.example(), strict=True))
        converter.add_signature(graph.name, Named(graph).eval(), sample_kwargs=inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own business
            data = bytes(converter.convert(quant_config=_integers() if int8 else None).model_content())
    except Exception as fault:  # the converter has no errors of its own
        where, why = ", ".join(graph.name for graph in table), " ".join(str(fault).split())[:300]
        raise InputError(f"{where}: LiteRT cannot express them ({why}); export to another format.") from fault
    return finished(data) if int8 else data


def finished(data: bytes) -> bytes:
    """The converter's int8 file, with hard-swish and both ends in float, and without what nothing reads."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    hard_swish_in_float(model)
    floats_at_the_ends(model)
    return compact(model)


def _integers() -> Any:
    """What makes the converter turn quantisers into int8 tensors; without it they are computed in float."""
    from litert_torch.quantize import pt2e_quantizer, quant_config

    scheme = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    return quant_config.QuantConfig(pt2e_quantizer=pt2e_quantizer.PT2EQuantizer().set_global(scheme))


def halved(data: bytes) -> bytes:
    """The same file with the weights of the heavy graphs in fp16, to be expanded when the engine loads it."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe_manager

    recipe = recipe_manager.RecipeManager()
    for operator in CASTABLE:
        recipe.add_weight_only_config(
            f".*_({'|'.join(HEAVY)})/",
            qtyping.TFLOperationName[operator],
            16,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # bars and prints
        result = quantizer.Quantizer(bytearray(data), recipe.get_quantization_recipe()).quantize()
    return bytes(result.quantized_model)


def converted(file: str, data: bytes, signature: Signature, graph: Graph) -> Converted:
    """What one signature of a file is: precision, work by arithmetic, and its tensors where they are not floats."""
    notes = {f"MACs in {kind}": f"{signature.share(kind):.1%}" for kind in signature.macs}
    inputs = tuple(signature.inputs.get(spec.name, spec) for spec in graph.inputs)
    outputs = tuple(signature.outputs.get(spec.name, spec) for spec in graph.outputs)
    return Converted({file: data}, signature.found, notes, (inputs, outputs))


TOOLS = ("litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert")
TARGETS = {
    "fp32": Target("tflite", "fp32", convert, TOOLS),
    "fp16": Target("tflite", "fp16", partial(convert, half=True), TOOLS),
    "int8": Target("tflite", "int8", partial(convert, int8=True), (*TOOLS, "nncf"), spelling="unfolded"),
}

if __name__ == "__main__":
    from export.main import main

    main("tflite")
