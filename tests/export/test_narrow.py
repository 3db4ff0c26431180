"""OpenVINO files that store as fp16 what fp16 holds exactly: smaller, and no value changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import torch
from small import network

from avgn.network.fold import fold_norms, round_to_half
from export.common import Piece, exported
from export.graphs import Graph, graphs
from export.to_openvino import convert


def _run(files: dict[str, bytes], graph: Graph) -> list[np.ndarray]:
    parts = {Path(name).suffix: data for name, data in files.items()}
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(parts[".xml"], parts[".bin"]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    torch.manual_seed(0)
    given = [torch.rand(spec.shape).numpy().astype(spec.dtype) for spec in graph.inputs]
    return [value.copy() for value in compiled(given).values()]


def test_narrow_constants_change_no_value_and_halve_rounded_weights():
    model = network()
    fold_norms(model)
    round_to_half(model)
    graph = graphs(model)["glance"]
    piece = Piece(graph, exported(graph))
    wide, narrow = convert(piece), convert(piece, narrow=True)
    for one, other in zip(_run(wide.files, graph), _run(narrow.files, graph), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = [next(len(data) for name, data in made.files.items() if name.endswith(".bin")) for made in (wide, narrow)]
    assert weights[1] < 0.6 * weights[0] and (wide.found, narrow.found) == ("fp32", "fp16")


def test_weights_that_fp16_cannot_hold_stay_as_they_are():
    model = network()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1e-6)
    graph = graphs(model)["select"]
    piece = Piece(graph, exported(graph))
    assert convert(piece, narrow=True).found == "fp32"
