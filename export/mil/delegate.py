"""The reference evaluator behind ExecuTorch files for the Core ML delegate, for their proof: nothing here runs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from avgn.bundle import Bundle
from avgn.errors import ProofError
from avgn.manifest import GraphRecord
from export.mil.program import Program, prepare, read
from export.pte import COREML, call_values, delegate_data, method_values, read_pte
from runtimes.backends import check_inputs

NAME = "executorch_coreml"


class DelegateEngine:
    """Computes a bundle's methods from the Core ML programs inside their files. For proof only, as `MilEngine`."""

    backend = NAME

    def __init__(self, bundle: Bundle, precision: str) -> None:
        self.precision = precision
        self._methods = {}
        for record in bundle.manifest.graphs:
            if (record.backend, record.precision) == (NAME, precision):
                (data,) = bundle.read(record).values()
                self._methods[record.graph] = _Method(record, read_pte(data))

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run `graph` once (see `runtimes.backends.Engine`)."""
        return self._methods[graph].run(inputs)


class _Method:
    """A method that is one delegated piece. The piece has an order and names of its own; the file says which is which.

    ProofError for a method of which the delegate took only parts.
    """

    def __init__(self, record: GraphRecord, program: Any) -> None:
        self._record = record
        pieces, calls = delegate_data(program, record.graph, COREML), call_values(program, record.graph)
        inputs, outputs = method_values(program, record.graph)
        if len(pieces) != 1 or len(calls) != 1 or set(calls[0]) != {*inputs, *outputs}:
            raise ProofError(f"{record.title}: the delegate took only parts of it; export `coreml` instead.")
        self._program: Program = prepare(core_ml(pieces[0]))
        names = dict(zip(inputs, (spec.name for spec in record.inputs), strict=True))
        names |= dict(zip(outputs, (spec.name for spec in record.outputs), strict=True))
        own = (*(spec.name for spec in self._program.inputs), *self._program.outputs)
        self._own = {names[value]: name for value, name in zip(calls[0], own, strict=True)}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        record = self._record
        check_inputs(record.graph, record.inputs, inputs)
        found = self._program.run({self._own[spec.name]: inputs[spec.name] for spec in record.inputs})
        return {spec.name: found[self._own[spec.name]] for spec in record.outputs}


def core_ml(blob: bytes) -> Any:
    """The program of one piece, which is a folder in one blob."""
    from executorch.backends.apple.coreml import executorchcoreml

    with TemporaryDirectory() as scratch:
        executorchcoreml.unflatten_directory_contents(blob, scratch)
        return read(Path(scratch) / "lowered_module" / "model.mlpackage")[1]
