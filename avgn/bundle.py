"""The deployable: a folder `NAME.avgn` with `manifest.json` and one folder of graphs for each backend and precision.

No engine gets a byte from here that was not hashed first: `Bundle.read` returns the very bytes whose SHA-256 the
manifest holds. docs/formats.md describes the format, and the threats it was made against.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from avgn.contract import STAGES
from avgn.errors import InputError, ProofError
from avgn.files import interrupted, replace_folder
from avgn.manifest import (
    GRAPHS,
    MAX_FILE,
    MAX_MANIFEST,
    Accuracy,
    FileRecord,
    GraphRecord,
    Manifest,
    Parity,
    Source,
    TensorSpec,
    check_record,
    contract,
    manifest_bytes,
    parse_manifest,
)

__all__ = [
    "GRAPHS",
    "Accuracy",
    "Bundle",
    "BundleWriter",
    "FileRecord",
    "GraphRecord",
    "Manifest",
    "Parity",
    "Source",
    "TensorSpec",
    "contract",
    "default_bundle",
    "open_bundle",
]

MANIFEST = "manifest.json"
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Bundle:
    """An open bundle: a manifest that was checked, and files that are checked when they are read."""

    path: Path
    manifest: Manifest
    _text: bytes = field(repr=False)

    def variants(self) -> list[tuple[str, str]]:
        """(backend, precision) of all that can decide (glance, select, focus and classify are there), as listed."""
        held: dict[tuple[str, str], set[str]] = {}
        for record in self.manifest.graphs:
            held.setdefault((record.backend, record.precision), set()).add(record.graph)
        return [variant for variant, graphs in held.items() if graphs.issuperset(STAGES)]

    def record(self, graph: str, backend: str, precision: str) -> GraphRecord:
        """The record of one graph; InputError where the bundle does not hold it."""
        for record in self.manifest.graphs:
            if (record.graph, record.backend, record.precision) == (graph, backend, precision):
                return record
        held = ", ".join(record.title for record in self.manifest.graphs) or "nothing"
        raise InputError(f"{self.path}: holds no {graph} ({backend} {precision}); it holds {held}.")

    def read(self, record: GraphRecord) -> dict[str, bytes]:
        """The files of a graph by their names inside the variant's folder: the very bytes that were hashed.

        Raises ProofError for a file whose size or SHA-256 is not the manifest's, InputError for one that cannot be
        read or is not a plain file inside the bundle.
        """
        return {file.path.removeprefix(f"{record.folder}/"): self._verified(file) for file in record.files}

    def verify(self) -> None:
        """Read every file once, for the sake of the errors of `read`."""
        for record in self.manifest.graphs:
            self.read(record)

    def digest(self) -> str:
        """SHA-256 of manifest.json, which holds the SHA-256 of every file: one number for the whole bundle."""
        return hashlib.sha256(self._text).hexdigest()

    def _verified(self, file: FileRecord) -> bytes:
        data = _read(self.path, file.path, MAX_FILE, exactly=file.size)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise ProofError(
                f"{self.path / file.path}: its SHA-256 is not the manifest's, so the file was changed or damaged; "
                "get or export the bundle again."
            )
        return data


def open_bundle(path: str | Path) -> Bundle:
    """Open the bundle at `path`: read and check the manifest, and that every file is there with its size.

    Digests are checked when a file is read. Raises InputError (no bundle, invalid manifest, links and other things
    that are not plain files) and ProofError (a size that differs, graphs of another run or precision than claimed).
    """
    path = Path(path)
    if not _is_folder(path):
        waiting = interrupted(path)
        hint = f"an interrupted write left it at {waiting}, rename that back" if waiting else "check the path"
        raise InputError(f"{str(path)!r}: is not a bundle (a folder with {MANIFEST}); {hint}.")
    text = _read(path, MANIFEST, MAX_MANIFEST)
    manifest = parse_manifest(text, str(path / MANIFEST))
    for record in manifest.graphs:
        for file in record.files:
            _check_size(path / file.path, _plain_file(path, file.path), file.size)
    return Bundle(path, manifest, text)


def default_bundle() -> Path:
    """Where the bundle that ships with the package lies."""
    return Path(__file__).resolve().parent / "models" / "default.avgn"


class BundleWriter:
    """Writes a bundle: everything appears at once when the `with` ends cleanly, and nothing on an error.

    `manifest` is the head: its `graphs` are not used. A bundle of the same run at `path` keeps its graphs, except those
    added anew; with them stay its tools, and the accuracy of backends and precisions that nothing was added to. The
    rest comes from the head. Raises ProofError for a bundle of another run, InputError for one with other labels or
    another configuration and for what is not a bundle, or cannot be written.
    """

    def __init__(self, path: str | Path, manifest: Manifest) -> None:
        self.path = Path(path)
        self._head = replace(manifest, graphs=())
        self._added: dict[str, GraphRecord] = {}
        self._files: dict[str, FileRecord] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = stack.enter_context(replace_folder(self.path))
            self._old = self._existing()
            self._stack = stack.pop_all()
        return self

    def add(self, record: GraphRecord, files: Mapping[str, bytes]) -> None:
        """Write a graph's files, named inside the variant's folder; `record.files` is filled in from them.

        Graphs of one variant may share a file: it is added with each of them.
        Raises InputError (names, sizes, tensors that the configuration does not fit) and ProofError (another run, or
        another precision found than claimed), as opening the bundle would.
        """
        if record.title in self._added:
            raise InputError(f"{self.path}: {record.title} was added twice.")
        try:
            entries = tuple(
                FileRecord(f"{record.folder}/{name}", len(data), hashlib.sha256(data).hexdigest())
                for name, data in files.items()
            )
        except ValueError as fault:
            raise InputError(f"{self.path}: {record.title}: {fault}.") from fault
        record = replace(record, files=entries)
        check_record(self._head, record, str(self.path))
        for entry, data in zip(entries, files.values(), strict=True):
            if self._files.setdefault(entry.path, entry) != entry:
                raise InputError(f"{self.path}: {entry.path} was added before, with another content.")
            _write(self._folder / entry.path, data)
        self._added[record.title] = record

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, fault, trace)
            return
        with self._stack:
            self._finish()

    def _existing(self) -> Bundle | None:
        if not self.path.exists() or not any(self.path.iterdir()):
            return None
        old, head = open_bundle(self.path), self._head
        if old.manifest.run != head.run:
            raise ProofError(
                f"{self.path}: holds graphs of another training run ({old.manifest.run}) than {head.run}; "
                "choose another path."
            )
        if (old.manifest.labels, old.manifest.config) != (head.labels, head.config):
            raise InputError(f"{self.path}: has other labels or another configuration; choose another path.")
        return old

    def _finish(self) -> None:
        manifest = self._merged()
        text = manifest_bytes(manifest)
        parse_manifest(text, str(self.path / MANIFEST))
        if self._old:
            for record in manifest.graphs:
                if record.title not in self._added:
                    for name, data in self._old.read(record).items():
                        _write(self._folder / record.folder / name, data)
        before = self._old._text if self._old else None
        if before != (_read(self.path, MANIFEST, MAX_MANIFEST) if (self.path / MANIFEST).exists() else None):
            raise InputError(f"{self.path}: was changed by someone else in the meantime; run this again.")
        _write(self._folder / MANIFEST, text)

    def _merged(self) -> Manifest:
        """The head with the old bundle's graphs, and what was added in their place or after them."""
        if self._old is None:
            return replace(self._head, graphs=tuple(self._added.values()))
        old, new = self._old.manifest, self._head.accuracy
        graphs = {record.title: record for record in old.graphs} | self._added
        touched = {(record.backend, record.precision) for record in self._added.values()}
        rows = {_measurement(row): row for row in _rows(old.accuracy) if _measurement(row)[:2] not in touched}
        rows |= {_measurement(row): row for row in _rows(new)}
        accuracy = tuple(rows.values()) or new
        return replace(self._head, graphs=tuple(graphs.values()), accuracy=accuracy, tools=old.tools | self._head.tools)


def record_accuracy(bundle: Bundle, row: Accuracy) -> None:
    """Write a measurement into the bundle's manifest, in place of an older one of the same variant, data and split."""
    with BundleWriter(bundle.path, replace(bundle.manifest, accuracy=(row,))):
        pass


def _rows(accuracy: tuple[Accuracy, ...] | str) -> tuple[Accuracy, ...]:
    return () if isinstance(accuracy, str) else accuracy


def _measurement(row: Accuracy) -> tuple[str, str, str, str]:
    return row.backend, row.precision, row.data, row.split


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def _read(root: Path, relative: str, most: int, exactly: int | None = None) -> bytes:
    """The bytes of a plain file inside `root`, `most` at most; ProofError where they are not `exactly` so many.

    A file that is swapped between the checks and the reading gains nothing: only the bytes returned are used.
    """
    place = root / relative
    size = _plain_file(root, relative)
    if exactly is not None:
        _check_size(place, size, exactly)
    if size > most:
        raise InputError(f"{place}: is larger than {most} bytes; this is not part of a bundle.")
    try:
        with os.fdopen(os.open(place, _OPEN), "rb") as stream:
            data = stream.read(size + 1)
    except OSError as fault:
        raise InputError(f"{place}: cannot be read ({fault.strerror}); check its permissions.") from fault
    _check_size(place, len(data), size)
    return data


def _plain_file(root: Path, relative: str) -> int:
    """Size of a file that is reached through real folders of `root` and is a regular file; InputError else."""
    place = root
    parts = relative.split("/")
    for part in parts:
        place = place / part
        try:
            found = place.lstat()
        except OSError as fault:
            raise InputError(f"{place}: cannot be read ({fault.strerror}); the bundle is not complete.") from fault
        if stat.S_ISLNK(found.st_mode):
            raise InputError(f"{place}: is a link; a bundle holds plain files only.")
        if not stat.S_ISDIR(found.st_mode) and place != root / relative:
            raise InputError(f"{place}: is not a folder; the bundle is damaged.")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{place}: is not a regular file; a bundle holds plain files only.")
    return found.st_size


def _check_size(place: Path, size: int, expected: int) -> None:
    if size != expected:
        raise ProofError(f"{place}: has {size} bytes, not {expected}; the file was cut off or changed, get it again.")
