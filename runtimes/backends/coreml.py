"""Core ML on macOS, through coremltools. Not run by this project's tests: they run where Core ML does not.

On a phone the same `.mlpackage` files are used without Python: docs/mobile.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError, MissingError, ProofError
from avgn.extras import import_extra
from runtimes.backends import Arrays, check_inputs
from runtimes.backends.loaded import GraphEngine, LoadedGraph, joined

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord, TensorSpec

NAME = "coreml"


class CoreMlEngine(GraphEngine["CoreMlGraph"]):
    """One model a graph; the four of a decision are loaded at once, others when first run."""

    backend = NAME

    def __init__(self, precision: str, load: Callable[[str], CoreMlGraph]) -> None:
        super().__init__(precision, os.cpu_count() or 1, load)  # threads are Core ML's own choice, on whatever unit


class CoreMlGraph(LoadedGraph):
    """A loaded `model` (coremltools.models.MLModel) behind the contract; `keep` lives as long as it."""

    def __init__(self, record: GraphRecord, model: Any, keep: object = None) -> None:
        check_description(record, model.get_spec().description)
        self._record, self._model, self._keep = record, model, keep

    def ready(self, inputs: Arrays) -> dict[str, Any]:
        """As Core ML takes them: pictures are handed over as such."""
        check_inputs(self._record.graph, [given_as_float(spec) for spec in self._record.inputs], inputs)
        return {spec.name: _handed(spec, inputs[spec.name]) for spec in self._record.inputs}

    def call(self, ready: dict[str, Any]) -> dict[str, Any]:
        """`predict`."""
        try:
            found: dict[str, Any] = self._model.predict(ready)
        except RuntimeError as fault:
            raise MissingError(f"{NAME}: {self._record.graph} could not be run ({fault}).") from fault
        return found

    def told(self, found: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
        """As float32."""
        specs = self._record.outputs
        return joined(
            [{spec.name: np.asarray(one[spec.name], np.float32).reshape(spec.shape) for spec in specs} for one in found]
        )


def open_engine(bundle: Bundle, precision: str, threads: int | None, cache: Path | None) -> CoreMlEngine:
    """Read, check and compile the graphs of `precision` (see `runtimes.backends.open_engine`).

    Core ML chooses its threads and keeps its own cache of compiled models: `threads` and `cache` are not used.
    """
    if sys.platform != "darwin":
        raise MissingError(f"backend {NAME}: Core ML runs on macOS, iOS and their kin only, not on this machine.")
    models = import_extra("coremltools.models", "coreml", f"backend {NAME}")
    import_extra("PIL.Image", "coreml", f"backend {NAME}")

    def load(graph: str) -> CoreMlGraph:
        record = bundle.record(graph, NAME, precision)
        folder = TemporaryDirectory(prefix="avgn-")
        package = write_package(bundle, record, Path(folder.name))
        try:
            return CoreMlGraph(record, models.MLModel(str(package)), folder)
        except RuntimeError as fault:
            raise MissingError(f"{NAME}: {graph} cannot be compiled here ({fault}).") from fault

    return CoreMlEngine(precision, load)


def write_package(bundle: Bundle, record: GraphRecord, folder: Path) -> Path:
    """The graph's verified bytes as a package inside `folder`: Core ML reads paths, not bytes."""
    files = bundle.read(record)
    roots = {name.split("/")[0] for name in files}
    if len(roots) != 1 or not roots.copy().pop().endswith(".mlpackage"):
        raise InputError(f"{bundle.path}: {record.graph} for {NAME} must be one .mlpackage folder.")
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / roots.pop()


def check_description(record: GraphRecord, description: Any) -> None:
    """ProofError unless the model's inputs and outputs (a protobuf ModelDescription) are the manifest's."""
    for specs, features in ((record.inputs, description.input), (record.outputs, description.output)):
        found = {feature.name: _shape_of(feature.type) for feature in features}
        wanted = {spec.name: (spec.shape, "picture" if is_picture(spec) else spec.dtype) for spec in specs}
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                raise ProofError(
                    f"{record.graph}: {name} is {_told(found.get(name))} in the {NAME} graph, "
                    f"{_told(wanted.get(name))} in the manifest; export it again."
                )


def is_picture(spec: TensorSpec) -> bool:
    """Whether Core ML takes this input as an image: 8-bit RGB of 0..255, scaled to 0..1 inside the graph."""
    return spec.dtype == "uint8"


def given_as_float(spec: TensorSpec) -> TensorSpec:
    """The input as the host has it: numbers of 0..1 also where the graph takes a picture."""
    return replace(spec, dtype="float32", scale=None, zero_point=None) if is_picture(spec) else spec


def picture(spec: TensorSpec, value: NDArray[Any]) -> NDArray[np.uint8]:
    """[1,3,H,W] RGB in 0..1 as 8-bit [H,W,3]: exact for what came from an 8-bit picture."""
    steps = np.rint(value[0] / np.float32(spec.scale)).clip(0, 255)
    return np.ascontiguousarray(steps.astype(np.uint8).transpose(1, 2, 0))


def _handed(spec: TensorSpec, value: NDArray[Any]) -> Any:
    if not is_picture(spec):
        return np.array(value)
    from PIL import Image

    return Image.fromarray(picture(spec, value))


def _shape_of(kind: Any) -> tuple[tuple[int, ...], str]:
    if kind.WhichOneof("Type") == "imageType":
        order = kind.imageType.ColorSpace.Name(kind.imageType.colorSpace)
        return (1, 3, kind.imageType.height, kind.imageType.width), "picture" if order == "RGB" else f"{order} picture"
    array = kind.multiArrayType
    return tuple(array.shape), array.ArrayDataType.Name(array.dataType).lower()


def _told(found: tuple[tuple[int, ...], str] | None) -> str:
    return f"{found[1]} {list(found[0])}" if found else "not there"
