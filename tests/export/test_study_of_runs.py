"""`avgn study` on a run in PyTorch: choices of more snippets than the run's own."""

import json

import numpy as np
import pytest
from rich.console import Console
from small import SMALL

from avgn.cli import run as avgn
from avgn.data.scenes import SceneRecord
from avgn.errors import UsageError
from avgn.schema import plain
from avgn.training.conduct import Job, conduct
from avgn.training.study import METHOD
from clips import write_clip

RECORD = SceneRecord("clip.mp4", "a", "seen", 7, "test", 4.0, 64, 48, 15, (0.5, 3.0), (), (), 0.0, ())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "scenes"
    folder.mkdir()
    write_clip(folder / RECORD.file, RECORD.duration, size=(64, 48))
    (folder / "scenes.jsonl").write_text(json.dumps(plain(RECORD)) + "\n")
    return folder


def test_more_snippets_than_the_runs_own(run, scenes, tmp_path, capsys):
    assert avgn([*map(str, ["study", "--data", scenes, "--run", run, "--out", tmp_path, "--k", 6, "--json"])]) == 0
    rows = json.loads(capsys.readouterr().out)["sets"]["scenes"]
    wanted = {f"{way}k={k}" for way in ("", "uniform-centre ") for k in (1, 3, 4, 6)}
    assert {name for name in rows if "k=" in name} == wanted
    costs = [rows[name]["macs"] for name in ("k=1", METHOD, "k=3", "k=4", "k=6")]
    each = np.diff(costs)
    assert SMALL.chosen == 2 and each[3] == pytest.approx(2 * each[2], rel=0.05) and (each > 0).all()


def test_without_a_run_there_is_nothing_to_decide_on_more_with(scenes, tmp_path):
    with pytest.raises(UsageError, match="up to 4 snippets"):
        conduct(Job((scenes,), tmp_path, (tmp_path / "only.avgn",), most=4), lambda *_: None, Console(quiet=True))
