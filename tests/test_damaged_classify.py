"""Damaged files through `avgn classify` itself: one line and an exit code, never a traceback, a crash or a hang."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clips import write_clip
from damage import variants
from tiny import tiny_bundle

COUNT, LIMIT_SECONDS = 120, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("damaged")
    write_clip(place / "whole.mp4", 1.5, size=(64, 48), fps=8, keys=4, rate=32000)
    data = (place / "whole.mp4").read_bytes()
    for index, (_, damaged) in enumerate(variants(data, COUNT, seed=11)):
        (place / f"{index}.mp4").write_bytes(damaged)
    return place


def test_damaged_files_get_a_decision_or_one_line(folder, tmp_path):
    """All in one call, as a user would name a folder's clips: the good ones are answered, the bad ones named."""
    names = [str(folder / f"{index}.mp4") for index in range(COUNT)]
    command = [sys.executable, "-c", "from avgn.cli import main; main()", "classify", *names]
    options = ["--json", "--bundle", str(tiny_bundle(tmp_path))]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=LIMIT_SECONDS * COUNT)
    decided = [decision["file"] for decision in json.loads(done.stdout)]
    told = [line.split(": ") for line in done.stderr.splitlines() if line.startswith("avgn: ")]
    refused = [words[1] for words in told if words[1] != "warning"]  # warnings come with a decision
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert sorted(decided + refused) == sorted(names)
    assert decided
    assert refused
