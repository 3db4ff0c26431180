"""What a bundle says about itself: `manifest.json` as frozen dataclasses, read and written.

A class checks what it can see alone and raises ValueError (InputError, with the path of the key, through
`parse_manifest`); `check` compares the records with each other and with the configuration. docs/formats.md describes
every key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from avgn.config import Config
from avgn.contract import GRAPHS, HEAVY, TensorSpec, check_tensors, contract, local_width, patch_batch
from avgn.errors import InputError, ProofError
from avgn.files import parse_json
from avgn.schema import build, plain

__all__ = [
    "FORMAT",
    "GRAPHS",
    "Accuracy",
    "FileRecord",
    "GraphRecord",
    "Manifest",
    "Parity",
    "Source",
    "TensorSpec",
    "check_record",
    "contract",
    "manifest_bytes",
    "parse_manifest",
]

FORMAT = 1
MAX_FILE = 1 << 30  # bytes of one file
MAX_MANIFEST = 4 << 20  # bytes of manifest.json
_EXACTER = {"int8": ("fp16", "fp32"), "fp16": ("fp32",)}  # what a light graph may be instead
NOT_RUN = "not run: "

_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# Control characters, line and paragraph separators, direction overrides, lone surrogates: they would let a manifest
# write over the terminal it is shown on, or could not be written back as UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class FileRecord:
    """One file: its path from the bundle's folder with '/', its bytes and their SHA-256 in lower-case hex."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not all(_PART.fullmatch(part) for part in self.path.split("/")):
            raise ValueError(
                f"path {self.path!r:.200} must be relative, of parts of letters, digits, '_', '-' and '.' "
                "that do not begin with '-' or '.', joined by '/'"
            )
        if not 0 <= self.size <= MAX_FILE:
            raise ValueError(f"{self.path}: size must lie in 0..{MAX_FILE} bytes")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.path}: sha256 must be 64 lower-case hex digits")


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs lie from PyTorch eager on real clips; all finite (cap psnr_db for equal outputs)."""

    clips: int
    max_error: float
    relative_rms: float
    psnr_db: float

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError("clips must be at least 1")
        if not all(map(math.isfinite, (self.max_error, self.relative_rms, self.psnr_db))):
            raise ValueError("max_error, relative_rms and psnr_db must be finite")
        if self.max_error < 0 or self.relative_rms < 0:
            raise ValueError("max_error and relative_rms must not be negative")


@dataclass(frozen=True)
class GraphRecord:
    """One graph for one backend at one precision; its files lie in the folder `backend-precision`.

    `found` is the precision that inspection of the file found: that of the variant, but for the light graphs (all but
    glance and focus), which may be more exact. Graphs may share a file. `macs` are the multiply-accumulates of one
    call, `run` is the training run that the weights come from, `parity` a measurement or "not run: <why>".
    """

    graph: str
    backend: str
    precision: str
    run: str
    macs: int
    files: tuple[FileRecord, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    found: str
    parity: Parity | str

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS:
            raise ValueError(f"graph {self.graph!r:.60} is not one of {', '.join(GRAPHS)}")
        for name in ("backend", "precision"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)!r:.60} must be lower-case letters, digits and '_'")
        if self.macs < 0:
            raise ValueError("macs must not be negative")
        outside = [file.path for file in self.files if not file.path.startswith(f"{self.folder}/")]
        if outside:
            raise ValueError(f"path {outside[0]!r} does not lie in {self.folder}/")
        _measured_or_said_why("parity", self.parity)

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Inputs and outputs together."""
        return self.inputs + self.outputs

    @property
    def folder(self) -> str:
        """Folder of the files inside the bundle, such as `openvino-int8`."""
        return f"{self.backend}-{self.precision}"

    @property
    def title(self) -> str:
        """The record as error messages name it, such as `focus (openvino int8)`."""
        return f"{self.graph} ({self.backend} {self.precision})"


@dataclass(frozen=True)
class Accuracy:
    """Top-1 (share of 1) of one backend and precision on a data set's split, with a bootstrap 95 % interval."""

    backend: str
    precision: str
    data: str
    split: str
    clips: int
    top1: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError("clips must be at least 1")
        if not all(0 <= value <= 1 for value in (self.top1, self.low, self.high)) or self.low > self.high:
            raise ValueError("top1, low and high must lie in 0..1, and low must not exceed high")


@dataclass(frozen=True)
class Source:
    """Where something in the bundle comes from (weights, data), and under which licence."""

    what: str
    where: str
    licence: str


@dataclass(frozen=True)
class Manifest:
    """All of `manifest.json`; `created` is a time in ISO 8601, `tools` maps tool names to versions."""

    format: int
    name: str
    run: str
    created: str
    labels: tuple[str, ...]
    config: Config
    graphs: tuple[GraphRecord, ...]
    accuracy: tuple[Accuracy, ...] | str
    tools: dict[str, str]
    sources: tuple[Source, ...]
    exit_confidence: float | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format} is not known; this version reads format {FORMAT}")
        if not self.name.strip() or not self.run.strip():
            raise ValueError("name and run must not be empty")
        if len(self.labels) != self.config.classes:
            raise ValueError(f"{len(self.labels)} labels for config.classes = {self.config.classes}")
        if not all(label.strip() for label in self.labels):
            raise ValueError("a label is empty")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label appears twice")
        if self.exit_confidence is not None and not 0 < self.exit_confidence <= 1:
            raise ValueError("exit_confidence must lie above 0 and at most at 1")
        _measured_or_said_why("accuracy", self.accuracy)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of `manifest.json`: the same for the same data, keys in declared order, a newline at the end."""
    try:
        return json.dumps(plain(manifest), indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    except (TypeError, ValueError) as fault:
        raise InputError(f"manifest of {manifest.name!r}: cannot be written as JSON ({fault}).") from fault


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read and check the bytes of a manifest; errors begin with `where`.

    Raises InputError for what is not a valid manifest and ProofError for graphs of another training run or of another
    precision than they claim.
    """
    if len(data) > MAX_MANIFEST:
        raise InputError(f"{where}: is larger than {MAX_MANIFEST} bytes; this is not a manifest.")
    table = parse_json(data, where, depth=16)
    _check_strings(table, where)
    if isinstance(table, dict) and type(table.get("format")) is int and table["format"] != FORMAT:
        raise InputError(f"{where}: format {table['format']} is not known (this version reads {FORMAT}); update avgn.")
    try:
        manifest = build(Manifest, table, f"{where}: manifest")
    except ArithmeticError as fault:
        raise InputError(f"{where}: manifest.config holds numbers that do not fit together ({fault}).") from fault
    check(manifest, where)
    return manifest


def check(manifest: Manifest, where: str) -> None:
    """Compare the records with each other, the run, the claimed precision and the configuration (errors as above)."""
    for record in manifest.graphs:
        check_record(manifest, record, where)
    _no_twins(where, "graph", [record.title for record in manifest.graphs])
    _no_twins(where, "file", _paths(manifest))
    widths = {width: record.title for record in manifest.graphs if (width := local_width(record.tensors))}
    if len(widths) > 1:
        told = ", ".join(f"{title} {width}" for width, title in widths.items())
        raise InputError(f"{where}: the width of `local` differs between graphs ({told}); export them together.")


def check_record(manifest: Manifest, record: GraphRecord, where: str) -> None:
    """Check one record against its manifest's run and configuration."""
    if record.run != manifest.run:
        raise ProofError(
            f"{where}: {record.title} comes from another training run ({record.run}) than the bundle "
            f"({manifest.run}); export all graphs from one run."
        )
    fits = (record.precision,) if record.graph in HEAVY else (record.precision, *_EXACTER.get(record.precision, ()))
    if record.found not in fits:
        raise ProofError(
            f"{where}: {record.title} claims {record.precision}, but the file was found to be {record.found}; "
            "quantise it again, or record it as what it is."
        )
    if not record.files:
        raise InputError(f"{where}: {record.title} has no files.")
    batch = patch_batch(record.inputs)
    most = manifest.config.chosen
    if not 1 <= batch <= most:
        raise InputError(f"{where}: {record.title} takes {batch} patches a call; 1 to {most} make sense.")
    inputs, outputs = contract(manifest.config, record.graph, local_width(record.tensors) or 1, batch)
    check_tensors(f"{where}: {record.title}: input", record.inputs, inputs)
    check_tensors(f"{where}: {record.title}: output", record.outputs, outputs)


def _measured_or_said_why(name: str, value: object) -> None:
    if isinstance(value, str) and not (value.startswith(NOT_RUN) and value.removeprefix(NOT_RUN).strip()):
        raise ValueError(f"{name} must be a measurement, or {NOT_RUN!r} and the reason")


def _paths(manifest: Manifest) -> list[str]:
    """All paths, those that graphs of one variant share only once. Letter case is ignored, as some file systems do."""
    shared = {(record.folder, file) for record in manifest.graphs for file in set(record.files)}
    twins = [file.path.lower() for record in manifest.graphs for file in record.files if record.files.count(file) > 1]
    return [file.path.lower() for _, file in sorted(shared, key=lambda pair: pair[1].path)] + twins


def _no_twins(where: str, what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where}: the {what} {name} is listed twice.")
        seen.add(name)


def _check_strings(table: Any, where: str) -> None:
    for text in _strings(table):
        if _UNSAFE.search(text):
            raise InputError(f"{where}: {text!a:.60} holds control characters; remove them.")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
