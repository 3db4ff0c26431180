"""OpenVINO on the CPU."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from numpy.typing import NDArray

from avgn.contract import patch_batch
from avgn.errors import InputError, MissingError, ProofError
from runtimes.backends import Arrays, check_inputs
from runtimes.backends.checks import last_line
from runtimes.backends.loaded import GraphEngine, LoadedGraph, joined
from runtimes.backends.openvino_batches import PATIENCE, batch_of, multiply
from runtimes.backends.openvino_operators import operators
from runtimes.backends.operators import Operator

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord, TensorSpec

NAME = "openvino"
# Left to itself the CPU plugin computes in bfloat16 where it can, and takes "f16" for bfloat16 on x86 (relative error
# 1e-2). Only ARM has kernels that are truly fp16. What int8 graphs keep in float stays float32.
FP16_MACHINES = ("aarch64", "arm64")


class OpenVinoEngine(GraphEngine["_Graph"]):
    """One compiled model a graph; the four of a decision at once, others when first run.

    Of a graph that a decision calls several times, the calls run side by side, each on few threads: a small graph
    leaves most of a second thread unused.
    """

    backend = NAME

    def __init__(self, precision: str, load: Callable[[str], _Graph], count: Callable[[str], _Graph]) -> None:
        super().__init__(precision, 0, load)
        self._count = count
        self.threads = max(graph.threads for graph in self._graphs.values())

    def buffers(self, graph: str, count: int) -> list[dict[str, NDArray[Any]]]:
        """`count` sets of input arrays, each with an infer request of its own: running one binds nothing anew."""
        return self._graph(graph).buffers(count)

    def in_batches(self, graph: str) -> None:
        """Do not wait for many clips: compile batches of `graph` now, for all of its last `buffers` at once."""
        self._graph(graph).in_batches()

    def operators(self, graph: str, calls: int) -> tuple[Operator, ...]:
        """Mean time of each operator over `calls` runs of a copy of `graph` that counts (see `backends.operators`)."""
        return self._count(graph).operators(self._graph(graph).inputs(), calls)


class _Graph(LoadedGraph):
    """A compiled graph: an infer request for each set of `buffers`, and as many for others as are run at once.

    All `buffers` at once are run in batches, once that has happened often enough to pay for compiling them.
    """

    def __init__(self, record: GraphRecord, compile_for: Callable[[int], openvino.CompiledModel]) -> None:
        compiled = compile_for(1)
        self._compile_for = compile_for
        self._streams = int(compiled.get_property("NUM_STREAMS"))
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self._record, self._compiled = record, compiled
        self._first = record.inputs[0].name
        self._spares = [_Request(record, compiled)]
        self._own: dict[int, _Request] = {}  # by the identity of the first array, which the request keeps alive
        self._row: list[_Request] = []  # those of the last `buffers`, in a row
        self._inputs: dict[str, NDArray[Any]] = {}  # theirs, one after the other along the first axis
        self._outputs: dict[str, NDArray[Any]] = {}
        self._batches: list[_Request] = []  # what runs all of the row at once
        self._whole = 0  # times that all of the row were run at once

    def ready(self, inputs: Arrays) -> _Request:
        return self.ready_each([inputs])[0]

    def ready_each(self, sets: Sequence[Arrays]) -> list[_Request]:
        """A request for each set, none twice: that of a buffer, or a spare one."""
        found: dict[int, _Request] = {}
        spares = 0
        for inputs in sets:
            request = self._own.get(id(inputs.get(self._first)))
            if request is None or id(request) in found:
                if spares == len(self._spares):
                    self._spares.append(_Request(self._record, self._compiled))
                request, spares = self._spares[spares], spares + 1
            request.bind(inputs)
            found[id(request)] = request
        requests = list(found.values())
        whole = requests == self._row and all(request.at_home for request in requests)
        return self._whole_row() if whole else requests

    def _whole_row(self) -> list[_Request]:
        """What runs all of the row, which is bound: requests of several each, or the row's own."""
        self._whole += 1
        if self._whole == PATIENCE:
            self.in_batches()
        return self._batches

    def in_batches(self) -> None:
        """From now on run all of the row in batches, where they can be had; it takes the time of compiling."""
        self._batches, self._whole = self._made_in_batches(batch_of(len(self._row), self._streams)), PATIENCE

    def _made_in_batches(self, size: int) -> list[_Request]:
        """Requests on the row's memory, `size` snippets each; the row's own where the graph cannot be had so."""
        if size == 1:
            return self._row
        record = replace(
            self._record,
            inputs=tuple(_several(spec, size) for spec in self._record.inputs),
            outputs=tuple(_several(spec, size) for spec in self._record.outputs),
        )
        parts = zip(*(_cut(whole, len(self._row) // size) for whole in (self._outputs, self._inputs)), strict=True)
        try:
            compiled = self._compile_for(size)
            return [_Request(record, compiled, outputs, inputs) for outputs, inputs in parts]
        except (InputError, MissingError, ProofError):  # inner shapes of its own; or the file has gone since
            return self._row

    def call(self, ready: _Request) -> _Request:
        ready.infer()
        return ready

    def call_each(self, ready: Sequence[_Request]) -> list[_Request]:
        """One after the other, or side by side where the graph was compiled for that."""
        if min(self._streams, len(ready)) < 2:
            return [self.call(request) for request in ready]
        try:
            side_by_side([request.request for request in ready])
        except RuntimeError as fault:
            raise _failed(self._record.graph, fault) from fault
        return list(ready)

    def told(self, found: Sequence[_Request]) -> dict[str, NDArray[Any]]:
        """What lies in a row is copied at once: other cores wrote it, and piece by piece that takes twice as long."""
        each = list(found)
        if each in (self._row, self._batches):
            return {name: whole.copy() for name, whole in self._outputs.items()}
        return joined([request.outputs for request in each])

    def inputs(self) -> dict[str, NDArray[Any]]:
        """Copies of some inputs that were run: of a buffer, or the last others."""
        return next(iter(self._own.values()), self._spares[0]).inputs()

    def operators(self, inputs: Arrays, calls: int) -> tuple[Operator, ...]:
        """Of a graph that was compiled to count."""
        self._spares[0].bind(inputs)
        return operators(self._compiled, self._spares[0].request, calls)

    def buffers(self, count: int) -> list[dict[str, NDArray[Any]]]:
        self._inputs, self._outputs = (
            {spec.name: np.zeros(_several(spec, count).shape, spec.dtype) for spec in specs}
            for specs in (self._record.inputs, self._record.outputs)
        )
        inputs, outputs = _cut(self._inputs, count), _cut(self._outputs, count)
        self._row = [_Request(self._record, self._compiled, *parts) for parts in zip(outputs, inputs, strict=True)]
        self._batches, self._whole = self._row, 0
        self._own |= {id(arrays[self._first]): request for arrays, request in zip(inputs, self._row, strict=True)}
        return inputs


class _Request:
    """An infer request whose tensors are numpy arrays: inputs are the caller's own; copy the `outputs`."""

    def __init__(
        self,
        record: GraphRecord,
        compiled: openvino.CompiledModel,
        outputs: Arrays | None = None,
        inputs: Arrays | None = None,
    ) -> None:
        """On the caller's `outputs`, or its own; `at_home` where those bound are the very arrays in `inputs`."""
        self.name = record.graph
        self.specs = record.inputs
        self.request = compiled.create_infer_request()
        taken, given = _ports(record, record.inputs, compiled.inputs), _ports(record, record.outputs, compiled.outputs)
        self._slots = [_Slot(spec.name, spec.shape, np.dtype(spec.dtype), taken[spec.name]) for spec in record.inputs]
        self.outputs = outputs or {spec.name: np.zeros(spec.shape, spec.dtype) for spec in record.outputs}
        for name, array in self.outputs.items():
            self.request.set_output_tensor(given[name], openvino.Tensor(array, shared_memory=True))
        self._home = inputs
        self.at_home = False
        if inputs is not None:
            self.bind(inputs)

    def bind(self, inputs: Arrays) -> None:
        """Check the inputs, and bind those that are not bound yet."""
        if len(inputs) != len(self._slots):
            check_inputs(self.name, self.specs, inputs)
        for slot in self._slots:
            value = inputs.get(slot.name)
            if value is slot.bound is not None:
                continue
            if type(value) is not np.ndarray or value.shape != slot.shape or value.dtype != slot.dtype:
                check_inputs(self.name, self.specs, inputs)
            else:
                self._bind(slot, value)

    def infer(self) -> None:
        try:
            self.request.infer(share_outputs=True)  # outputs are bound above: no copies of the engine's own
        except RuntimeError as fault:
            raise _failed(self.name, fault) from fault

    def inputs(self) -> dict[str, NDArray[Any]]:
        """Copies of what is bound; zeros where nothing is yet."""
        return {
            slot.name: np.zeros(slot.shape, slot.dtype) if slot.memory is None else slot.memory.copy()
            for slot in self._slots
        }

    def _bind(self, slot: _Slot, value: NDArray[Any]) -> None:
        """Make `value` the input's memory. An array given again and again (a reused buffer) is bound only once."""
        shared = value.flags.c_contiguous and value.flags.writeable
        memory = value if shared else np.array(value, order="C")
        self.request.set_input_tensor(slot.index, openvino.Tensor(memory, shared_memory=True))
        slot.memory, slot.bound = memory, value if shared else None
        self.at_home = self._home is not None and all(each.bound is self._home[each.name] for each in self._slots)


class _Slot:
    """An input: what it must be, the `memory` that the request reads (it owns none), and whose array that is."""

    __slots__ = ("bound", "dtype", "index", "memory", "name", "shape")

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], index: int) -> None:
        self.name, self.shape, self.dtype, self.index = name, shape, dtype, index
        self.memory: NDArray[Any] | None = None
        self.bound: NDArray[Any] | None = None


def open_engine(bundle: Bundle, precision: str, threads: int | None, cache: Path | None) -> OpenVinoEngine:
    """Read, check and compile the graphs of `precision` (see `runtimes.backends.open_engine`)."""
    core = openvino.Core()
    if cache is not None:
        core.set_property({"CACHE_DIR": str(cache)})

    patches = patch_batch(bundle.record("focus", NAME, precision).inputs)
    several = {"glance": True, "focus": bundle.manifest.config.chosen > patches}  # calls of a decision

    def load(graph: str, counting: bool = False) -> _Graph:
        record = bundle.record(graph, NAME, precision)
        # each stream has counters of its own, so what is counted runs in one
        how = options(precision, threads, several.get(graph, False) and not counting)
        how |= {"PERF_COUNT": True} if counting else {}
        return _Graph(record, lambda size: _compile(core, bundle, record, how, size))

    return OpenVinoEngine(precision, load, lambda graph: load(graph, counting=True))


def options(precision: str, threads: int | None, several: bool = False) -> dict[str, Any]:
    """How the graphs of a `precision` are compiled for the CPU; `several`: for calls side by side, not one alone."""
    fp16 = precision == "fp16" and platform.machine() in FP16_MACHINES
    hint = "THROUGHPUT" if several and threads != 1 else "LATENCY"
    found: dict[str, Any] = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f16" if fp16 else "f32"}
    return found if threads is None else found | {"INFERENCE_NUM_THREADS": threads}


def side_by_side(requests: Sequence[Any]) -> None:
    """Start all infer requests and wait for all; then raises RuntimeError where one failed."""
    fault: RuntimeError | None = None
    for step in ("start_async", "wait"):
        for request in requests:
            try:
                getattr(request, step)()
            except RuntimeError as found:
                fault = found
    if fault is not None:
        raise fault


def _failed(graph: str, fault: RuntimeError) -> MissingError:
    return MissingError(f"{NAME}: {graph} could not be run ({last_line(fault)}).")


def _compile(
    core: openvino.Core, bundle: Bundle, record: GraphRecord, options: dict[str, Any], size: int
) -> openvino.CompiledModel:
    """For `size` times as much as the file's graph takes."""
    files = bundle.read(record)
    parts = {Path(name).suffix: data for name, data in files.items()}
    if set(parts) != {".xml", ".bin"}:
        raise InputError(f"{bundle.path}: {record.graph} for {NAME} must be one .xml and one .bin file.")
    try:
        model = core.read_model(parts[".xml"], parts[".bin"])
    except RuntimeError as fault:
        raise InputError(f"{bundle.path}: {NAME} cannot read {record.graph} ({last_line(fault)}).") from fault
    try:
        if size > 1:
            multiply(model, size)
        return core.compile_model(model, "CPU", options)
    except RuntimeError as fault:
        raise MissingError(f"{NAME}: {record.graph} cannot be compiled here ({last_line(fault)}).") from fault


def _several(spec: TensorSpec, size: int) -> TensorSpec:
    return replace(spec, shape=(size * spec.shape[0], *spec.shape[1:]))


def _cut(wholes: Arrays, count: int) -> list[dict[str, NDArray[Any]]]:
    """Arrays by name, each in `count` equal parts along its first axis: no copies."""
    parts = {name: np.split(whole, count) for name, whole in wholes.items()}
    return [{name: each[place] for name, each in parts.items()} for place in range(count)]


def _ports(record: GraphRecord, specs: Sequence[TensorSpec], ports: Sequence[Any]) -> dict[str, int]:
    """Index of each tensor in the model; ProofError where the model's shapes or types are not the manifest's."""
    found = {name: index for index, port in enumerate(ports) for name in port.names}
    for spec in specs:
        port = ports[found[spec.name]] if spec.name in found else None
        if port is None or not port.partial_shape.is_static:
            raise ProofError(
                f"{record.graph}: the {NAME} graph has no tensor {spec.name} of a fixed shape; export it again."
            )
        actual = (tuple(port.shape), port.element_type.to_dtype())
        if actual != (spec.shape, np.dtype(spec.dtype)):
            raise ProofError(
                f"{record.graph}: {spec.name} is {actual[1]} {list(actual[0])} in the {NAME} graph, "
                f"{spec.dtype} {list(spec.shape)} in the manifest; export it again."
            )
    return {spec.name: found[spec.name] for spec in specs}
