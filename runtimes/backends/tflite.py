"""LiteRT (TensorFlow Lite) on the CPU with XNNPACK: ai-edge-litert, or tflite-runtime where only that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.contract import TensorSpec
from avgn.errors import InputError, MissingError, ProofError
from runtimes.backends import Arrays, check_inputs
from runtimes.backends.checks import check_graph, last_line, only_file
from runtimes.backends.lanes import Lanes, lanes_of
from runtimes.backends.loaded import GraphEngine, LoadedGraph, joined
from runtimes.machine import usable_cores

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord

NAME = "tflite"


class TfliteEngine(GraphEngine[LoadedGraph]):
    """A signature runner a graph; graphs that share a file share an interpreter, so that weights are held once.

    A graph that a decision calls several times has as many interpreters as threads, of one thread each.
    """

    backend = NAME


class _Graph(LoadedGraph):
    """A signature: the caller's floats are stored as the file wants them, and its outputs read back as floats."""

    def __init__(self, record: GraphRecord, interpreter: Any) -> None:
        self._name = record.graph
        self._asked = [as_floats(spec) for spec in record.inputs]
        self._stored = [spec for spec in record.inputs if as_floats(spec) != spec]
        self._names = [spec.name for spec in record.outputs]
        self._real = [spec for spec in record.outputs if as_floats(spec) != spec]
        self._runner = _runner(record, interpreter)

    def ready(self, inputs: Arrays) -> Arrays:
        check_inputs(self._name, self._asked, inputs)
        return {**inputs, **{spec.name: stored(inputs[spec.name], spec) for spec in self._stored}}

    def call(self, ready: Arrays) -> Arrays:
        """The engine's own call of a signature, which copies inputs in and outputs out."""
        try:
            outputs: Arrays = self._runner(**ready)
        except (RuntimeError, ValueError) as fault:
            raise MissingError(f"{NAME}: {self._name} could not be run ({last_line(fault)}).") from fault
        return outputs

    def told(self, found: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        outputs = joined(found, self._names)
        return outputs | {spec.name: real(outputs[spec.name], spec) for spec in self._real}


def as_floats(spec: TensorSpec) -> TensorSpec:
    """A tensor as the caller has it: float32, but for whole numbers."""
    return spec if spec.dtype == "int32" else TensorSpec(spec.name, spec.shape, "float32")


def stored(value: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Real numbers as a tensor holds them: rounded to the nearest step and cut off at the ends of its type."""
    if spec.scale is None or spec.zero_point is None:
        return value.astype(spec.dtype, copy=False)
    least, most, dtype = _whole_numbers(spec.dtype)
    steps = np.divide(value, spec.scale, dtype=np.float32)
    np.rint(steps, out=steps)
    steps += spec.zero_point
    np.maximum(steps, least, out=steps)
    np.minimum(steps, most, out=steps)
    return steps.astype(dtype)


@cache
def _whole_numbers(dtype: str) -> tuple[int, int, np.dtype[Any]]:
    """Ends of an integer type, and numpy's name for it: to look them up takes longer than all else of `stored`."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max), np.dtype(dtype)


def real(value: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """The real numbers that a tensor stands for."""
    if spec.scale is None or spec.zero_point is None:
        return value.astype(as_floats(spec).dtype, copy=False)
    steps = np.subtract(value, spec.zero_point, dtype=np.float32)
    steps *= spec.scale
    return steps


def open_engine(bundle: Bundle, precision: str, threads: int | None, cache: Path | None) -> TfliteEngine:
    """Read and check the graphs of `precision` (see `runtimes.backends.open_engine`); `cache` has no use here."""
    count = threads or usable_cores()
    interpreters: dict[str, Any] = {}  # by digest of the file: what was read and verified once is not read again

    def load(graph: str) -> LoadedGraph:
        record = bundle.record(graph, NAME, precision)
        lanes = lanes_of(bundle, record, count)
        if lanes > 1:
            data = only_file(bundle, record, NAME, ".tflite")
            return Lanes([_Graph(record, _interpreter(data, 1, record, bundle)) for _ in range(lanes)])
        digest = record.files[0].sha256
        if digest not in interpreters or len(record.files) > 1:
            interpreters[digest] = _interpreter(only_file(bundle, record, NAME, ".tflite"), count, record, bundle)
        return _Graph(record, interpreters[digest])

    return TfliteEngine(precision, count, load)


def _interpreter(data: bytes, threads: int, record: GraphRecord, bundle: Bundle) -> Any:
    try:
        return Interpreter(model_content=data, num_threads=threads)
    except (ImportError, AttributeError) as fault:  # tflite-runtime was built for numpy 1, and finds out only now
        raise MissingError(
            f'{NAME}: tflite-runtime needs numpy below 2 ({fault}): pip install "avgn[tflite]"'
        ) from fault
    except (RuntimeError, ValueError) as fault:
        if "find op" in str(fault):
            raise MissingError(
                f"{NAME}: {record.graph} holds an operator that this version lacks ({last_line(fault)}); update it."
            ) from fault
        raise InputError(f"{bundle.path}: {NAME} cannot read {record.graph} ({last_line(fault)}).") from fault


def _runner(record: GraphRecord, interpreter: Any) -> Any:
    """The runner of a graph's signature; ProofError where its tensors are not those of the manifest."""
    if record.graph not in interpreter.get_signature_list():
        raise ProofError(f"{record.graph}: the {NAME} file has no signature of that name; export it again.")
    runner = interpreter.get_signature_runner(record.graph)
    for specs, details in (
        (record.inputs, runner.get_input_details()),
        (record.outputs, runner.get_output_details()),
    ):
        tensors = {name: (tuple(map(int, each["shape"])), each["dtype"]) for name, each in details.items()}
        check_graph(NAME, record.graph, specs, tensors)
        for spec in specs:
            _check_scale(record.graph, spec, details[spec.name]["quantization"])
    return runner


def _check_scale(graph: str, spec: TensorSpec, found: tuple[float, int]) -> None:
    if spec.scale is None:
        return
    if np.float32(spec.scale) != np.float32(found[0]) or spec.zero_point != found[1]:
        raise ProofError(
            f"{graph}: {spec.name} has the scale {found[0]:g} and the zero point {found[1]} in the {NAME} file, "
            f"{spec.scale:g} and {spec.zero_point} in the manifest; export it again."
        )
