"""What the tests of whole exports share: a run of the small network, and a clip with picture, sound, or both."""

import sys
from pathlib import Path

import pytest

from avgn.network.checkpoint import new_run, save_run
from clips import write_clip

sys.path.append(str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, network


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_run(folder, network(), new_run(SMALL, tuple("abcde")))
    return folder


@pytest.fixture(scope="package")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "both.mp4", 3.0)
    write_clip(folder / "seen.mp4", 2.0, sound=None)
    write_clip(folder / "heard.mp4", 2.0, size=None)
    return [folder / "both.mp4", folder / "seen.mp4", folder / "heard.mp4"]
