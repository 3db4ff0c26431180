"""How much of a bundle's int8 variant is int8, read from its files again: a manifest says what was asked and found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from avgn.bundle import Bundle
from avgn.contract import HEAVY, STAGES
from avgn.errors import MissingError
from avgn.manifest import GraphRecord

Files = Mapping[str, bytes]


def int8_shares(bundle: Bundle, backend: str) -> dict[str, float]:
    """The part (0..1) of the multiply-accumulates done in int8, of each graph of a backend's int8 variant that has any.

    Raises MissingError for formats of which the files cannot be read here, and what damaged files raise.
    """
    if backend not in SHARES:
        raise MissingError(f"{backend}: its files cannot be read back here.")
    records = [bundle.record(graph, backend, "int8") for graph in STAGES]
    records = [record for record in records if record.graph in HEAVY or record.found == "int8"]
    return {record.graph: SHARES[backend](record, bundle.read(record)) for record in records}


def _openvino(record: GraphRecord, files: Files) -> float:
    from export.to_openvino import int8_share

    return int8_share({Path(name).suffix: data for name, data in files.items()})


def _onnx(record: GraphRecord, files: Files) -> float:
    import onnx

    from export.onnx_file import executed_share, products

    (data,) = files.values()
    return executed_share(data, products(onnx.load_model_from_string(data)))


def _tflite(record: GraphRecord, files: Files) -> float:
    from export.tflite_file import inspect

    (data,) = files.values()
    return inspect(data)[record.graph].share("int8")


def _executorch(record: GraphRecord, files: Files) -> float:
    from export.pte import int8_macs, read_pte

    (data,) = files.values()
    return int8_macs(read_pte(data), record.graph) / max(1, record.macs)


def _coreml(record: GraphRecord, files: Files) -> float:
    from export.mil.precision import int8_share, macs_by_kind
    from export.mil.program import read

    with tempfile.TemporaryDirectory() as scratch:
        for name, data in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return int8_share(macs_by_kind(read(next(Path(scratch).iterdir()))[1]))


SHARES: dict[str, Callable[[GraphRecord, Files], float]] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "tflite": _tflite,
    "executorch": _executorch,
    "coreml": _coreml,
}
