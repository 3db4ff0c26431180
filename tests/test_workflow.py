"""What a newcomer does, one command after the other: scenes, train, export, evaluate, classify, info."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from avgn.cli import run

sys.path.insert(0, str(Path(__file__).parent / "avgn" / "data"))
from drawn_material import draw_material

PRESET = """
[model]
snippets = 4
chosen = 2
frame = { encoder = "mobilenet_v2", size = 32 }
saliency = { width = 32, layers = 1, heads = 2 }
patch = { size = 32, short_side = 48, heads = 2, width = 16 }
focus = { encoder = "efficientnet_lite0", pixels = "lite" }

[training]
steps = 2
batch = 2
warm_up = 1
warm_up_batch = 2
ramp = 1
precision = "32-true"
losses = { true_saliency = 1.0, true_place = 0.5 }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    draw_material(folder / "material", files=6)
    (folder / "tiny.toml").write_text(PRESET)
    return folder


def answer(capsys, *arguments):
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_from_material_to_a_decision(place, capsys):
    scenes, bundle, trained = place / "scenes", place / "bundles" / "mine.avgn", place / "run"
    material = ("--material", place / "material")
    rendered = answer(capsys, "scenes", *material, "--out", scenes, "--split", "test", "--clips", "3")
    assert rendered["labels"] == ["amber", "blue", "green", "red"]
    preset = ("--preset", place / "tiny.toml", "--data", place / "material")
    assert answer(capsys, "train", *preset, "--out", trained)["labels"] == rendered["labels"]
    clips = sorted(scenes.glob("*.mp4"))
    proof = answer(capsys, "export", "--run", trained, "--out", bundle, *(f"--clips={clip}" for clip in clips))
    assert proof[0]["proof"]["whole"]["same_labels"] == 3
    decisions = answer(capsys, "classify", *clips, "--bundle", bundle)
    assert all(decision["label"] in rendered["labels"] for decision in decisions)
    found = answer(capsys, "evaluate", "--data", scenes, "--bundle", bundle, "--record", "drawn")
    assert found["clips"] == 3
    assert set(found["by_kind"]) == {"both", "heard", "seen"}
    eager = answer(capsys, "evaluate", "--data", scenes, "--run", trained)
    assert (eager["top1"], eager["saliency_ap"]) == (found["top1"], found["saliency_ap"])
    told = answer(capsys, "info", bundle)
    assert told["variants"] == [["openvino", "fp32"]]
    assert [(row["data"], row["split"], row["top1"]) for row in told["manifest"]["accuracy"]] == [
        ("drawn", "test", found["top1"])
    ]
    assert run(["evaluate", "--data", str(scenes), "--bundle", str(bundle)]) == 0
    assert "saliency AP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "--data", "nowhere", "--out", "run"], 3),
        (["train", "--data", "material", "--out", "run", "--preset", "nothing"], 2),
        (["train", "--data", "material", "--out", "run", "--steps", "0"], 2),
        (["scenes", "--material", "material", "--out", "made", "--split", "most"], 2),
        (["scenes", "--material", "nowhere", "--out", "made"], 3),
        (["export", "--run", "nowhere", "--out", "a.avgn"], 3),
        (["export", "--out", "a.avgn", "--to", "abacus"], 2),
        (["evaluate", "--data", "nowhere", "--run", "a", "--bundle", "b"], 2),
        (["evaluate", "--data", "nowhere", "--run", "nowhere"], 3),
        (["evaluate", "--data", "nowhere", "--record", "a", "--k", "1"], 2),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(place, capsys, monkeypatch, arguments, code):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert run(arguments) == code
    complaint = capsys.readouterr().err
    assert complaint.startswith("avgn: ") or "\navgn: " in complaint
    assert "Traceback" not in complaint
    assert sorted(place.rglob("*")) == before
