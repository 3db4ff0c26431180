"""The reference evaluator behind the engines' contract, for the proof of Core ML files where Core ML does not run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.bundle import Bundle
from avgn.errors import ProofError
from avgn.manifest import GraphRecord
from export.mil.program import Program, load
from runtimes.backends import check_inputs
from runtimes.backends.coreml import NAME, given_as_float, is_picture, picture, write_package

ORDERS = {"RGB": slice(None), "BGR": slice(None, None, -1)}  # of the host's RGB, as Core ML hands it to the program


class MilEngine:
    """Computes a bundle's Core ML graphs from their saved files. For proof only: slow, and not Apple's kernels."""

    backend = NAME

    def __init__(self, bundle: Bundle, precision: str) -> None:
        self.precision = precision
        with TemporaryDirectory() as scratch:
            self._graphs = {
                record.graph: (record, load(write_package(bundle, record, Path(scratch))))
                for record in bundle.manifest.graphs
                if (record.backend, record.precision) == (NAME, precision)
            }
        for record, program in self._graphs.values():
            _check(record, program)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run `graph` once (see `runtimes.backends.Engine`)."""
        record, program = self._graphs[graph]
        check_inputs(graph, [given_as_float(spec) for spec in record.inputs], inputs)
        handed = {}
        for spec in record.inputs:
            value = inputs[spec.name]
            if is_picture(spec):
                colours = picture(spec, value)[:, :, ORDERS[program.images[spec.name]]]
                value = colours.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
            handed[spec.name] = value
        found = program.run(handed)
        return {spec.name: found[spec.name] for spec in record.outputs}


def _check(record: GraphRecord, program: Program) -> None:
    """ProofError unless the program takes and gives what the manifest says."""
    wanted = {spec.name: spec.shape for spec in record.inputs}
    if {spec.name: spec.shape for spec in program.inputs} != wanted:
        raise ProofError(f"{record.title}: the program's inputs are not the manifest's; export it again.")
    pictures = {spec.name for spec in record.inputs if is_picture(spec)}
    if set(program.images) != pictures or not set(program.images.values()) <= set(ORDERS):
        raise ProofError(f"{record.title}: the program's pictures are not the manifest's; export it again.")
    if set(program.outputs) != {spec.name for spec in record.outputs}:
        raise ProofError(f"{record.title}: the program's outputs are not the manifest's; export it again.")
