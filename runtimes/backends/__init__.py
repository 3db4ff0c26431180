"""Engines that run a bundle's graphs. One small module each, one contract, one row in BACKENDS."""

from __future__ import annotations

import functools
import importlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError, MissingError, UsageError
from avgn.extras import install_line
from runtimes.stored_bench import measured

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord, TensorSpec

Arrays = Mapping[str, NDArray[Any]]
SYSTEM = {"Darwin": "macOS"}.get(platform.system(), platform.system())


class Engine(Protocol):
    """The graphs of one backend and precision. One caller at a time."""

    backend: str
    precision: str

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run `graph` once: arrays by name as the manifest says, both ways; outputs are the caller's own copies.

        Raises InputError for a name, shape or dtype that is not the manifest's.
        """
        ...


class LoadedEngine(Engine, Protocol):
    """An engine with a bundle's graphs."""

    @property
    def threads(self) -> int:
        """How many threads it computes with."""
        ...

    def asked(self, graph: str, sets: Sequence[Arrays]) -> Callable[[], list[Any]]:
        """The engine's own calls of `graph` on these sets of inputs and nothing else: the yardstick of `bench`.

        All that is ours is done before and after; InputError as of `run`.
        """
        ...

    def told(self, graph: str, found: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """What these calls gave, as `run` gives it, joined along the first axis."""
        ...

    def bare(self, graph: str) -> Callable[[], object]:
        """The engine's own call on what it was last given, again and again."""
        ...


@dataclass(frozen=True)
class Backend:
    """A row of BACKENDS: `module` has `open_engine(bundle, precision, threads, cache)`; it imports `needs`.

    `instead` is a module that does in place of `needs`, `system` the only one that it runs on.
    """

    name: str
    module: str
    extra: str | None
    needs: tuple[str, ...]
    instead: str | None = None
    system: str | None = None

    @property
    def installed(self) -> bool:
        """Whether this is its system and everything it imports can be found."""
        whole = all(find_spec(name) is not None for name in self.needs)
        return self.at_home and (whole or (self.instead is not None and find_spec(self.instead) is not None))

    @property
    def at_home(self) -> bool:
        """Whether it could run on this system."""
        return self.system in (None, SYSTEM)


BACKENDS = {
    row.name: row
    for row in (
        Backend("openvino", "runtimes.backends.openvino", None, ("openvino",)),
        Backend("tflite", "runtimes.backends.tflite", "tflite", ("ai_edge_litert",), "tflite_runtime"),
        Backend("coreml", "runtimes.backends.coreml", "coreml", ("coremltools", "PIL"), system="macOS"),
        Backend("onnx", "runtimes.backends.onnx", "onnx", ("onnxruntime",)),
        Backend("executorch", "runtimes.backends.executorch", "executorch", ("executorch", "torch")),
    )
}


def why_absent(backend: str) -> str:
    """Why nothing on this machine runs graphs of `backend`; empty where something does."""
    row = BACKENDS.get(backend)
    if row is None:
        return "avgn has no runtime for it"
    if not row.at_home:
        return f"needs {row.system}"
    return "" if row.installed else f"not installed: {install_line(row.extra)}"


def open_engine(
    bundle: Bundle,
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
) -> LoadedEngine:
    """Load the graphs of one of the bundle's variants.

    `auto` is what `avgn bench` found fastest on this machine, if it timed all of the bundle's variants that are
    installed (and of the `precision`, if given); else the first of these in the manifest. `cache` is a folder for
    compiled graphs (quicker starts). Raises UsageError for a variant that the bundle lacks, MissingError for an engine
    that is not installed, ProofError for damaged files.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads: {threads} makes no sense, give 1 or more.")
    times = measured(bundle.digest(), threads) if backend == "auto" else {}
    name, found = choose_variant(bundle.variants(), backend, precision, times)
    row = BACKENDS.get(name)
    if row is None:
        raise MissingError(
            f"backend {name}: this version of avgn cannot run it (an app may, docs/mobile.md); "
            f"choose another with --backend, or export to one of {', '.join(BACKENDS)}."
        )
    if not row.at_home:
        raise MissingError(f"backend {name} runs on {row.system} only; choose another with --backend.")
    if not row.installed:
        raise MissingError(f"backend {name} is not installed: {install_line(row.extra)}")
    try:
        module = importlib.import_module(row.module)
    except ImportError as fault:
        raise MissingError(f"backend {name} cannot be loaded ({fault}): {install_line(row.extra)}") from fault
    engine: LoadedEngine = module.open_engine(bundle, found, threads, cache)
    return engine


def choose_variant(
    variants: Sequence[tuple[str, str]],
    backend: str,
    precision: str | None,
    times: Mapping[tuple[str, str], float] | None = None,
) -> tuple[str, str]:
    """Which of the bundle's `variants` is meant; UsageError lists them where none fits.

    `times` of a bench decide for `auto`, if none of those that could be taken is missing in them.
    """
    listed = ", ".join(f"{name} {kind}" for name, kind in variants) or "no complete variant"
    fits = [(name, kind) for name, kind in variants if backend in ("auto", name) and precision in (None, kind)]
    if not fits:
        wanted = " ".join(word for word in (backend, precision) if word not in ("auto", None))
        raise UsageError(f"{wanted or 'auto'}: the bundle does not have it; it has {listed}.")
    if backend != "auto":
        return fits[0]
    runs = [(name, kind) for name, kind in fits if name in BACKENDS and BACKENDS[name].installed]
    if times and runs and all(variant in times for variant in runs):
        return min(runs, key=lambda variant: times[variant])
    return (runs or fits)[0]


def input_buffers(engine: Engine, record: GraphRecord, count: int = 1) -> list[dict[str, NDArray[Any]]]:
    """`count` sets of zeroed input arrays of a graph, to be filled again and again: the engine's own where it has some.

    They are float32 but for whole numbers: Core ML, which wants pictures, converts by itself.
    """
    if hasattr(engine, "buffers"):
        made: list[dict[str, NDArray[Any]]] = engine.buffers(record.graph, count)
        return made
    kinds = {spec.name: np.int32 if spec.dtype == "int32" else np.float32 for spec in record.inputs}
    return [{spec.name: np.zeros(spec.shape, kinds[spec.name]) for spec in record.inputs} for _ in range(count)]


_dtype = functools.cache(np.dtype)  # a name that numpy has to look up costs more than all else of a check


def check_inputs(graph: str, specs: Sequence[TensorSpec], inputs: Arrays) -> None:
    """Raise InputError unless `inputs` are exactly the arrays that `specs` ask for."""
    if len(inputs) != len(specs):
        raise _other_names(graph, specs, inputs)
    for spec in specs:
        value = inputs.get(spec.name)
        if isinstance(value, np.ndarray) and value.shape == spec.shape and value.dtype == _dtype(spec.dtype):
            continue
        if spec.name not in inputs:
            raise _other_names(graph, specs, inputs)
        if not isinstance(value, np.ndarray):
            raise InputError(f"{graph}: {spec.name} must be a numpy array, found {type(value).__name__}.")
        found = f"{value.dtype} {list(value.shape)}"
        raise InputError(f"{graph}: {spec.name} must be {spec.dtype} {list(spec.shape)}, found {found}.")


def _other_names(graph: str, specs: Sequence[TensorSpec], inputs: Arrays) -> InputError:
    names = ", ".join(spec.name for spec in specs)
    return InputError(f"{graph}: expected the inputs {names}; found {', '.join(inputs) or 'none'}.")
