"""The device trees of tests/data/jetson, written below a folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from runtimes.profile.sensors.tree import Tree

DATA = Path(__file__).parents[2] / "data" / "jetson"


@cache
def devices():
    return json.loads((DATA / "device_trees.json").read_text(encoding="utf-8"))


def lines():
    return [json.loads(line) for line in (DATA / "tegrastats_lines.jsonl").read_text(encoding="utf-8").splitlines()]


def expected(device):
    return json.loads(devices()[device]["EXPECT.json"])


def write(folder: Path, files: dict[str, str]) -> Tree:
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="")
    return Tree(folder)


def tree_of(folder: Path, device: str) -> Tree:
    return write(folder, devices()[device])
