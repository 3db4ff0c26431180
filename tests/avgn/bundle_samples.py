"""Small bundles whose graphs are any bytes: what the tests of manifests and bundles start from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from avgn.bundle import BundleWriter
from avgn.config import Config, FrameConfig, PatchConfig, SaliencyConfig, SoundConfig
from avgn.manifest import GRAPHS, GraphRecord, Manifest, Parity, Source, contract

LOCAL = 7
TINY = Config(
    snippets=3,
    chosen=2,
    classes=2,
    frame=FrameConfig(size=32),
    sound=SoundConfig(rate=16_000, window=400, hop=160, fft=512, mels=8, high_hz=8_000.0, frames=32),
    saliency=SaliencyConfig(width=16, layers=1),
    patch=PatchConfig(size=32, short_side=48, width=8),
)


def head(config: Config = TINY, **changes: Any) -> Manifest:
    labels = tuple(f"label {index}" for index in range(config.classes))
    values = {
        "format": 1,
        "name": "tiny",
        "run": "run-a",
        "created": "2026-01-02T03:04:05+00:00",
        "labels": labels,
        "config": config,
        "graphs": (),
        "accuracy": "not run: a sample",
        "tools": {"maker": "1.0"},
        "sources": (Source("weights", "https://example.org", "CC0-1.0"),),
    }
    return Manifest(**(values | changes))


def record(graph: str, backend: str = "openvino", precision: str = "fp32", **changes: Any) -> GraphRecord:
    config, local = changes.pop("config", TINY), changes.pop("local", LOCAL)
    inputs, outputs = contract(config, graph, local)
    values = {"run": "run-a", "macs": 10, "files": (), "found": precision, "parity": Parity(3, 1e-6, 1e-7, 120.0)}
    return GraphRecord(graph, backend, precision, inputs=inputs, outputs=outputs, **(values | changes))


def graph_files(graph: str, salt: str = "") -> dict[str, bytes]:
    return {f"{graph}.xml": f"<net {graph} {salt}/>".encode(), f"{graph}.bin": bytes(range(16)) + salt.encode()}


def write_sample(path: Path, backend: str = "openvino", precision: str = "fp32", salt: str = "") -> Path:
    with BundleWriter(path, head()) as writer:
        for graph in GRAPHS:
            writer.add(record(graph, backend, precision), graph_files(graph, salt))
    return path


def read_table(path: Path) -> dict[str, Any]:
    return json.loads((path / "manifest.json").read_text(encoding="utf-8"))


def write_table(path: Path, table: object) -> None:
    (path / "manifest.json").write_text(json.dumps(table), encoding="utf-8")


def tree(path: Path) -> dict[str, str]:
    """Every file below `path` with its SHA-256."""
    return {
        str(place.relative_to(path)): hashlib.sha256(place.read_bytes()).hexdigest()
        for place in path.rglob("*")
        if place.is_file()
    }


def listing(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())
