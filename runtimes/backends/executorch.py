"""ExecuTorch's own Python runtime: the very programs that phones run. It takes torch tensors, so it needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError, MissingError
from runtimes.backends import Arrays, check_inputs
from runtimes.backends.checks import check_graph, last_line, only_file
from runtimes.backends.loaded import GraphEngine, LoadedGraph
from runtimes.machine import usable_cores

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord

NAME = "executorch"


class ExecuTorchEngine(GraphEngine["_Method"]):
    """One method a graph; the four of a decision at once, others when first run.

    The thread pool is the process's: several calls go one after the other, each on all threads.
    """

    backend = NAME


class _Method(LoadedGraph):
    """A loaded method."""

    def __init__(self, record: GraphRecord, method: Any) -> None:
        self._record, self._method = record, method
        meta = method.metadata
        inputs = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
        outputs = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
        for specs, tensors in ((record.inputs, inputs), (record.outputs, outputs)):
            # methods know their tensors by place only
            names = [spec.name for spec in specs] + [f"number {number}" for number in range(len(specs), len(tensors))]
            kinds = ((tuple(item.sizes()), _dtype(item.dtype())) for item in tensors)
            found = dict(zip(names, kinds, strict=False))
            check_graph(NAME, record.graph, specs, found)

    def ready(self, inputs: Arrays) -> tuple[Any, ...]:
        import torch

        check_inputs(self._record.graph, self._record.inputs, inputs)
        arrays = (inputs[spec.name] for spec in self._record.inputs)
        return tuple(torch.from_numpy(value if value.flags.carray else value.copy(order="C")) for value in arrays)

    def call(self, ready: tuple[Any, ...]) -> Sequence[Any]:
        """What it gives are copies of the runtime's own."""
        try:
            outputs: Sequence[Any] = self._method.execute(ready)
        except RuntimeError as fault:
            raise MissingError(f"{NAME}: {self._record.graph} could not be run ({last_line(fault)}).") from fault
        return outputs

    def told(self, found: Sequence[Sequence[Any]]) -> dict[str, NDArray[Any]]:
        import torch

        columns = zip(self._record.outputs, zip(*found, strict=True), strict=True)
        return {spec.name: torch.cat(tensors).numpy() for spec, tensors in columns}


def open_engine(bundle: Bundle, precision: str, threads: int | None, cache: Path | None) -> ExecuTorchEngine:
    """Read and load the programs of `precision` (see `runtimes.backends.open_engine`); there is nothing to cache."""
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    count = threads or usable_cores()
    portable_lib._unsafe_reset_threadpool(count)  # before anything is loaded: programs keep the pool they met
    programs: dict[str, Any] = {}

    def load(graph: str) -> _Method:
        record = bundle.record(graph, NAME, precision)
        digest = record.files[0].sha256
        try:
            if digest not in programs:  # a stage's graphs share a file
                programs[digest] = Runtime.get().load_program(only_file(bundle, record, NAME, ".pte"))
            if graph not in programs[digest].method_names:
                raise InputError(f"{bundle.path}: {NAME}: the file of {graph} has no such method; export it again.")
            return _Method(record, programs[digest].load_method(graph))
        except RuntimeError as fault:
            raise InputError(f"{bundle.path}: {NAME} cannot load {graph} ({last_line(fault)}).") from fault

    return ExecuTorchEngine(precision, count, load)


def _dtype(code: int) -> Any:
    """ExecuTorch's number of a type, as numpy has it."""
    return {0: np.uint8, 1: np.int8, 3: np.int32, 5: np.float16, 6: np.float32}.get(code, f"type {code}")
