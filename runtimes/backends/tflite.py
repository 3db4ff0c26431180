"""LiteRT (TensorFlow Lite) on the CPU with XNNPACK: ai-edge-litert, or tflite-runtime where only that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

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
    """A signature, which takes and gives floats whatever it computes in."""

    def __init__(self, record: GraphRecord, interpreter: Any) -> None:
        self._record = record
        self._names = [spec.name for spec in record.outputs]
        self._runner = _runner(record, interpreter)

    def ready(self, inputs: Arrays) -> Arrays:
        check_inputs(self._record.graph, self._record.inputs, inputs)
        return inputs

    def call(self, ready: Arrays) -> Arrays:
        """The engine's own call of a signature, which copies inputs in and outputs out."""
        try:
            outputs: Arrays = self._runner(**ready)
        except (RuntimeError, ValueError) as fault:
            raise MissingError(f"{NAME}: {self._record.graph} could not be run ({last_line(fault)}).") from fault
        return outputs

    def told(self, found: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        return joined(found, self._names)


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
            if spec.scale is not None:
                raise ProofError(
                    f"{record.graph}: {spec.name} is {spec.dtype} in the {NAME} file, which an app would have to round "
                    f"by itself; export it again."
                )
    return runner
