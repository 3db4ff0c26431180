"""What the engines' modules share: the one file of a graph, tensors as promised, complaints in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avgn.errors import InputError, ProofError

if TYPE_CHECKING:
    from avgn.bundle import Bundle, GraphRecord, TensorSpec


def only_file(bundle: Bundle, record: GraphRecord, engine: str, suffix: str) -> bytes:
    """The verified bytes of a graph that is one file; InputError where it is not, or ends in another `suffix`."""
    files = bundle.read(record)
    if len(files) != 1 or not next(iter(files)).endswith(suffix):
        raise InputError(f"{bundle.path}: {record.graph} for {engine} must be one {suffix} file.")
    return next(iter(files.values()))


def check_graph(
    engine: str, graph: str, specs: Sequence[TensorSpec], found: Mapping[str, tuple[tuple[int, ...], Any]]
) -> None:
    """Raise ProofError unless the tensors `found` in an engine's file (shape, dtype by name) are the manifest's."""
    for spec in specs:
        if spec.name not in found:
            raise ProofError(f"{graph}: the {engine} graph has no tensor {spec.name}; export it again.")
        shape, dtype = found[spec.name]
        if shape != spec.shape or dtype != np.dtype(spec.dtype):
            name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
            raise ProofError(
                f"{graph}: {spec.name} is {name} {list(shape)} in the {engine} graph, "
                f"{spec.dtype} {list(spec.shape)} in the manifest; export it again."
            )
    if len(found) != len(specs):
        more = ", ".join(sorted(set(found) - {spec.name for spec in specs}))
        raise ProofError(f"{graph}: the {engine} graph has tensors that the manifest lacks ({more}); export it again.")


def last_line(fault: Exception) -> str:
    """The one line of an engine's multi-line complaint that says something."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
