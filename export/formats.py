"""The formats a run can be exported to, as a table, and what can be checked before any work is done.

A row says what a format needs, what it can do, and what it refuses and why. The converters are `export/to_NAME.py`.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from avgn.errors import InputError, MissingError, UsageError
from avgn.extras import import_extra, install_line, version_of

if TYPE_CHECKING:
    from export.common import Target

_ROOM = 8  # how many times the run's weights an export needs on disk, scratch files included


@dataclass(frozen=True)
class Format:
    """One row: `needs` are the modules imported, `pairs` versions that must hold as {package: prefix}."""

    name: str
    extra: str
    needs: tuple[str, ...]
    engine: str
    precisions: tuple[str, ...]
    files: str
    refuses: Mapping[str, str] = field(default_factory=dict)  # a precision, or "batch" -> why not
    pairs: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Where its converter lies."""
        return f"export.to_{self.name}"

    def targets(self) -> Mapping[str, Target]:
        """Its converters by precision. Raises MissingError where its libraries are not installed."""
        targets: Mapping[str, Target] = import_extra(self.module, self.extra, f"export to {self.name}").TARGETS
        return targets


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "openvino", "export", ("torch", "openvino"), "OpenVINO", ("fp32", "fp16", "int8"), ".xml and .bin a graph"
        ),
        Format(
            "tflite",
            "tflite-export",
            ("torch", "litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
            "LiteRT",
            ("fp32", "fp16", "int8"),
            "a .tflite a stage, with a signature a graph",
            pairs={"litert-torch": "0.10"},
        ),
        Format(
            "coreml",
            "export,coreml",
            ("torch", "coremltools"),
            "Core ML",
            ("fp32", "fp16", "int8"),
            "an .mlpackage a graph",
            {"batch": "its patch is an image, and an image input holds one picture; call focus once a patch"},
        ),
        Format(
            "onnx",
            "export,onnx",
            ("torch", "onnx", "onnxscript", "onnxruntime"),
            "ONNX Runtime",
            ("fp32", "fp16", "int8"),
            ".onnx a graph",
        ),
        Format(
            "executorch",
            "executorch",
            ("torch", "executorch"),
            "ExecuTorch",
            ("fp32", "int8"),
            ".pte a stage, the graphs are its methods",
            {"fp16": "XNNPACK's files keep the weights of fp16 graphs in fp32, so nothing would get smaller"},
            pairs={"executorch": "1.4.1", "torch": "2.13.0"},
        ),
        Format(
            "executorch_coreml",
            "executorch,coreml",
            ("torch", "executorch", "coremltools"),
            "ExecuTorch's Core ML delegate",
            ("fp32",),
            ".pte a stage, for apps on Apple's systems; no backend here runs them",
            {"fp16": "it would round whole graphs; coreml keeps the first convolutions in fp32, as it must"},
            pairs={"executorch": "1.4.1", "torch": "2.13.0"},
        ),
    )
}


def check_format(name: str, precisions: Sequence[str], batch: int, weights: int, out: Path) -> Format:
    """All that costs nothing: the format, its precisions, what is installed, versions that pair, room on the disk.

    `weights` are the bytes of the run's weights. Raises UsageError (unknown or refused), MissingError (not installed,
    or versions that do not fit together) and InputError (too little room), each with what to do.
    """
    if name not in FORMATS:
        raise UsageError(f"format {name!r}: there are {', '.join(FORMATS)}.")
    row = FORMATS[name]
    for precision in precisions:
        if precision not in row.precisions:
            why = row.refuses.get(precision, f"{row.engine} has {', '.join(row.precisions)} here")
            raise UsageError(f"precision {precision!r}: {name} does not do it: {why}.")
    if batch > 1 and "batch" in row.refuses:
        raise UsageError(f"batch {batch}: {name} does not do it: {row.refuses['batch']}.")
    absent = [module for module in row.needs if not _found(module)]
    if absent:
        raise MissingError(f"export to {name} needs {absent[0]}, which is missing: {install_line(row.extra)}")
    for package, prefix in row.pairs.items():
        held = version_of(package) or "none"
        if not held.startswith(prefix):
            raise MissingError(
                f"export to {name} was made for {package} {prefix}, and {held} is installed: "
                f'pip install "{package}=={prefix}" -c constraints.txt'
            )
    free = shutil.disk_usage(_existing(out)).free
    if free < _ROOM * weights:
        raise InputError(f"{out}: {_ROOM * weights >> 20} MiB are needed there, {free >> 20} are free; make room.")
    return row


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is not there
        return False
    finally:
        importlib.invalidate_caches()


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
