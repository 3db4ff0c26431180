"""A study of a tiny bundle on two written clips, its figures against numpy by hand, and the page."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from test_ablations import RECORD

import clips
import tiny
from avgn.cli import run
from avgn.errors import InputError
from avgn.schema import plain
from avgn.training.evaluation import ClipResult
from avgn.training.study import METHOD, Answer, Store, shifted_ways, ways
from avgn.training.study_figures import CLAIMS, make_row, verdicts
from avgn.training.study_page import NOT_RUN, Study, page


def result(right, kind="both", ap=math.nan, hits=(), macs=10):
    return ClipResult(kind, 0, (0.7, 0.3) if right else (0.3, 0.7), ap, hits, macs, 1.0)


def test_every_way_is_called_differently_and_the_method_comes_first():
    names = [way.name for way in ways(4)]
    assert names[0] == METHOD and len(set(names)) == len(names)
    assert {"k=1", "k=3", "uniform-centre k=2", "glance-alone"} <= set(names) and "k=4" not in names
    assert {way.name for way in shifted_ways(4)} < set(names)


def test_a_store_keeps_what_is_whole(tmp_path):
    path = tmp_path / "answers.jsonl"
    first, second = (Answer.of(f"{n}.mp4", METHOD, result(True, ap=0.5, hits=(True, False))) for n in range(2))
    Store(path).add([first])
    with path.open("a") as file:
        file.write(json.dumps(plain(second))[:40])  # killed while writing
    store = Store(path)
    assert store.holds("0.mp4", METHOD) and not store.holds("1.mp4", METHOD)
    store.add([second])
    kept = Store(path).results(METHOD, ["1.mp4", "0.mp4"])
    assert [replace(one, milliseconds=1.0) for one in kept] == [result(True, ap=0.5, hits=(True, False))] * 2
    assert Store(path).results(METHOD, ["0.mp4", "2.mp4"]) is None
    path.write_text("{}\n")
    with pytest.raises(InputError, match=r"answers\.jsonl:1"):
        Store(path)


def test_figures_by_hand():
    """Two runs on four clips: means over runs, differences paired clip by clip."""
    method = [[result(r, ap=0.5) for r in (1, 1, 0, 1)], [result(r, ap=1.0) for r in (1, 0, 0, 1)]]
    other = [[result(r) for r in (0, 1, 0, 1)], [result(r) for r in (0, 0, 0, 1)]]
    row = make_row("other", other, method)
    assert (row.runs, row.least, row.most) == (2, 0.25, 0.5)
    assert row.whole.top1.value == pytest.approx(3 / 8) and row.whole.gain.value == pytest.approx(-2 / 8)
    assert row.whole.saliency_ap is None
    assert make_row(METHOD, method, method).whole.saliency_ap.value == pytest.approx(0.75)
    same = make_row(METHOD, method, method).whole.gain
    assert same.value == same.low == same.high == 0


def test_patch_hits_are_counted_patch_by_patch():
    found = make_row(
        METHOD, [[result(1, hits=(True,)), result(1, hits=(False, False, False)), result(1)]], [[result(1)] * 3]
    )
    assert found.whole.patch_hit.value == pytest.approx(1 / 4)


def test_intervals_of_paired_differences_are_those_of_a_mean():
    random = np.random.default_rng(0)
    method = [result(value) for value in random.random(400) < 0.7]
    other = [replace(one, probabilities=(0.3, 0.7)) if random.random() < 0.2 else one for one in method]
    gain = make_row("other", [other], [method]).whole.gain
    each = np.array([b.right - float(a.right) for a, b in zip(method, other, strict=True)])
    spread = 1.96 * each.std() / 20
    assert (gain.low, gain.high) == pytest.approx((gain.value - spread, gain.value + spread), abs=0.01)


def test_claims_say_what_was_found_and_how_sure_it_is():
    method, worse = [result(True)] * 50, [result(False)] * 25 + [result(True)] * 25
    rows = {METHOD: make_row(METHOD, [method], [method])}
    rows |= {"frames-uniform": make_row("frames-uniform", [worse], [method])}
    rows |= {"frames-random": make_row("frames-random", [method], [method])}
    rows |= {"frames-deaf": make_row("frames-deaf", [[result(False), *method[1:]]], [method])}
    told = {verdict.says: verdict.told for verdict in verdicts(rows)}
    assert told["Frames by AV-TeST beat evenly spread ones."] == "holds"
    assert told["Frames by AV-TeST beat random ones."] == "does not hold"
    assert told["AV-TeST needs the sound to choose."] == "open (the estimate reaches it)"
    assert told["Sound is worth 5 points on `both`."] == NOT_RUN
    assert len(told) == len(CLAIMS)


def test_a_page_without_answers_claims_nothing():
    text = page(Study("Written by hand.", (), 4, ways(4), (), {}))
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ways(4)) and all(line.count(NOT_RUN) == 1 for line in rows)
    assert not any(line.rstrip("|").rstrip()[-1].isdigit() for line in rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    tiny.tiny_bundle(folder)
    for name, count in (("scenes", 2), ("louder", 1)):
        records = [replace(RECORD, file=f"{seed}.mp4", seed=seed) for seed in range(count)]
        for record in records:
            (folder / name).mkdir(exist_ok=True)
            clips.write_clip(folder / name / record.file, 4.0, size=(64, 48))
        (folder / name / "scenes.jsonl").write_text("".join(json.dumps(plain(record)) + "\n" for record in records))
    return folder


def studied(place, capsys, *more):
    sets = [part for name in ("scenes", "louder") for part in ("--data", place / name)]
    arguments = ["study", *sets, "--bundle", place / "tiny.avgn", "--out", place / "out", *more, "--json"]
    assert run([*map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_writes_page_plots_and_figures_and_goes_on_where_it_stopped(place, capsys):
    found = studied(place, capsys)
    assert set(found["sets"]) == {"scenes", "louder"}
    assert set(found["sets"]["scenes"]) == {way.name for way in ways(2)}
    assert found["sets"]["scenes"][METHOD]["whole"]["clips"] == 2
    text = (place / "out" / "ablations.md").read_text()
    assert "louder" in text and "(ablations-macs.png)" in text
    assert all((place / "out" / f"ablations-{name}.png").stat().st_size > 1000 for name in ("macs", "parts"))
    answers = place / "out" / "answers" / "tiny-run-openvino-scenes.jsonl"
    lines = answers.read_text().splitlines(keepends=True)
    assert len(lines) == 2 * len(ways(2))
    answers.write_text("".join(lines[:-3]))
    again = studied(place, capsys, "--also", f"twin={place / 'tiny.avgn'}")
    assert again["sets"]["scenes"].pop("twin")["whole"]["gain"]["value"] == 0
    assert again["sets"] == found["sets"]
    assert sorted(answers.read_text().splitlines(keepends=True)) == sorted(lines)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--also", "dense"), "NAME=RUN"),
        (("--train", "weak"), "--material"),
        (("--data", "scenes"), "are called 'scenes'"),
    ],
)
def test_wrong_usage_is_told(place, capsys, wrong, told):
    wrong = [str(place / part) if part == "scenes" else part for part in wrong]
    arguments = ["study", "--data", place / "scenes", "--bundle", place / "tiny.avgn", "--out", place / "other", *wrong]
    assert run([*map(str, arguments)]) == 2
    assert told in capsys.readouterr().err


def test_retrainings_are_listed(capsys):
    assert run(["study", "--data", "nowhere", "--out", "nowhere", "--train", "help"]) == 0
    assert "weak-gumbel" in capsys.readouterr().out
