"""ONNX Runtime: on TensorRT or CUDA where its build has them (Jetson), else on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError, MissingError
from runtimes.backends import Arrays, check_inputs
from runtimes.backends.checks import check_graph, last_line, only_file
from runtimes.backends.lanes import Lanes, lanes_of
from runtimes.backends.loaded import GraphEngine, LoadedGraph, joined
from runtimes.machine import usable_cores

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord

NAME = "onnx"
PREFERRED = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
# Each graph has threads of its own. Left to spin after a call, those of `glance` would take the cores from `focus`.
SPINNING = "0"
UNREADABLE = ("InvalidProtobuf", "InvalidArgument", "InvalidGraph", "NoModel")
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


class OnnxEngine(GraphEngine[LoadedGraph]):
    """One session a graph; the four of a decision at once, others when first run.

    On the CPU a graph that a decision calls several times has one thread, and is called from several.
    """

    backend = NAME

    @property
    def provider(self) -> str:
        """What really computes, such as CUDAExecutionProvider."""
        select = self._graphs["select"]
        assert isinstance(select, _Graph), "a decision calls it once"
        return str(select.session.get_providers()[0])


class _Graph(LoadedGraph):
    """A session."""

    def __init__(self, record: GraphRecord, session: Any) -> None:
        self.session = session
        self._record = record
        self._names = [spec.name for spec in record.outputs]
        for specs, ports in ((record.inputs, session.get_inputs()), (record.outputs, session.get_outputs())):
            found = {port.name: (tuple(port.shape), TYPES.get(port.type, port.type)) for port in ports}
            check_graph(NAME, record.graph, specs, found)

    def ready(self, inputs: Arrays) -> Arrays:
        check_inputs(self._record.graph, self._record.inputs, inputs)
        return {name: np.ascontiguousarray(value) for name, value in inputs.items()}

    def call(self, ready: Arrays) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self.session.run(self._names, ready)
        except Exception as fault:  # its exceptions have no base of their own
            raise MissingError(f"{NAME}: {self._record.graph} could not be run ({last_line(fault)}).") from fault
        return outputs

    def told(self, found: Sequence[list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        return joined([dict(zip(self._names, outputs, strict=True)) for outputs in found])


def open_engine(bundle: Bundle, precision: str, threads: int | None, cache: Path | None) -> OnnxEngine:
    """Read, check and prepare the graphs of `precision` (see `runtimes.backends.open_engine`).

    With a `cache` folder TensorRT keeps its engines there; building one takes minutes.
    """
    import onnxruntime

    count = threads or usable_cores()

    def load(graph: str) -> LoadedGraph:
        record = bundle.record(graph, NAME, precision)
        data = only_file(bundle, record, NAME, ".onnx")
        chosen = providers(onnxruntime.get_available_providers(), precision, _engines(cache, record.files[0].sha256))
        lanes = lanes_of(bundle, record, count) if chosen[0][0] == PREFERRED[2] else 1
        try:
            how = _options(1 if lanes > 1 else count)
            session = onnxruntime.InferenceSession(data, how, providers=chosen)
            return Lanes([_Graph(record, session) for _ in range(lanes)]) if lanes > 1 else _Graph(record, session)
        except Exception as fault:  # its exceptions have no base of their own
            if type(fault).__name__ in UNREADABLE:
                raise InputError(f"{bundle.path}: {NAME} cannot read {graph} ({last_line(fault)}).") from fault
            if type(fault).__module__.startswith("onnxruntime"):
                raise MissingError(f"{NAME}: {graph} cannot be prepared here ({last_line(fault)}).") from fault
            raise

    return OnnxEngine(precision, count, load)


def providers(available: list[str], precision: str, engines: Path | None) -> list[tuple[str, dict[str, str]]]:
    """Those of PREFERRED that are there, best first, with their options; `engines` is where TensorRT keeps its own.

    int8 is for the CPU alone: TensorRT does not read uint8 activations, CUDA has no integer kernels for them, and both
    would compute in float without a word.
    """
    if precision == "int8":
        return [(PREFERRED[2], {})]
    tensorrt = {"trt_fp16_enable": str(precision == "fp16")}
    if engines is not None:
        place = str(engines)
        tensorrt |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": place}
        tensorrt |= {"trt_timing_cache_enable": "True", "trt_timing_cache_path": place}
    # TF32, the default of CUDA, keeps 10 bits of the mantissa: that would not be the fp32 that was proven
    options = {PREFERRED[0]: tensorrt, PREFERRED[1]: {"use_tf32": "0"}, PREFERRED[2]: {}}
    return [(name, options[name]) for name in PREFERRED if name in available]


def _engines(cache: Path | None, digest: str) -> Path | None:
    """A folder for this very file: engines are named by the graph's shape, so those of other weights would be taken."""
    if cache is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)  # ONNX Runtime makes the last part only
    return cache / f"tensorrt-{digest[:16]}"


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", SPINNING)
    options.log_severity_level = 3  # errors; the rest is said by exceptions
    return options
