"""The report's table from scripted answers, what it says where something fails, and the command on a tiny bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from avgn import cli
from avgn.data.scenes import SceneRecord
from avgn.errors import InputError, MissingError
from avgn.schema import plain
from avgn.training.evaluation import ClipResult
from clips import write_clip
from quantize.report import Held, Latency, conduct, page
from quantize.report_plot import draw

COUNT = 20


def truth(number=0, label="dog"):
    name = f"clip{number}.mp4"
    return SceneRecord(name, label, "both", number, "test", 2.0, 64, 48, 15, (0.5, 1.5), (), (), 0.0, ())


SCENES = [(Path(f"clip{number}.mp4"), truth(number)) for number in range(COUNT)]


class Scripted:
    """Variants whose wrong clips are known, and how often each was asked."""

    title, labels = "scripted", ("dog", "cat")

    def __init__(self, wrong, shares=None, absent=None, failing=None):
        sizes = {"fp32": 40_000_000, "fp16": 20_000_000, "int8": 10_000_000}
        self.held = [
            Held(*variant, sizes[variant[1]], f"digest of {variant}", (absent or {}).get(variant, ""))
            for variant in wrong
        ]
        self.wrong, self.shares, self.failing = wrong, shares, failing or {}
        self.asked = dict.fromkeys(wrong, 0)

    def decider(self, variant):
        def decide(path, record, label):
            if record.seed >= self.failing.get(variant, 10**6):
                raise RuntimeError("the engine died\nof something")
            self.asked[variant] += 1
            right = record.seed not in self.wrong[variant]
            return ClipResult("both", label, (0.9, 0.1) if right else (0.1, 0.9), 0.5, (), 1, 1.0)

        return decide

    def int8_shares(self, variant):
        if self.shares is None:
            raise MissingError(f"{variant[0]}: its files cannot be read back here.")
        return self.shares

    def latencies(self, variants):
        return {variant: Latency({"fp32": 30.0, "fp16": 30.0, "int8": 10.0}[variant[1]], 50.0) for variant in variants}


WHOLE = {"glance": 0.92, "focus": 1.0}
FLOAT, INT8 = ("openvino", "fp32"), ("openvino", "int8")


def rows(trial, folder, scenes=SCENES):
    found = conduct(trial, scenes, "by hand.", folder, lambda clips, _: clips)
    return {(row.backend, row.precision): row for row in found.rows}, found


def test_a_drop_is_counted_in_points_and_everything_stands_beside_fp32(tmp_path):
    found, _ = rows(Scripted({FLOAT: {3}, INT8: {3, 4, 5}, ("onnx", "int8"): {3}}, WHOLE), tmp_path)
    row = found[INT8]
    assert row.status == "accuracy drop 10.0 points" and row.reference == "openvino fp32"
    assert row.top1.value == 0.85 and row.top1.low < 0.85 < row.top1.high
    assert row.difference.value == pytest.approx(-0.1) and row.difference.high <= 0
    assert row.agreement == 0.9 and row.size_ratio == 0.25 and row.speedup == 3
    other = found["onnx", "int8"]
    assert (other.status, other.reference, other.agreement) == ("ok", "openvino fp32", 1)
    assert other.size_ratio is None and other.speedup is None  # there is no fp32 of its own engine
    assert found[FLOAT].status == "ok"


def test_half_a_point_is_no_drop(tmp_path):
    scenes = [(Path(f"clip{number}.mp4"), truth(number)) for number in range(200)]
    found, _ = rows(Scripted({FLOAT: set(), INT8: {7}, ("onnx", "int8"): {7, 8}}, WHOLE), tmp_path, scenes)
    assert found[INT8].status == "ok" and found["onnx", "int8"].status == "accuracy drop 1.0 points"


def test_its_own_engines_fp32_is_the_reference(tmp_path):
    wrong = {FLOAT: set(), ("onnx", "fp32"): {1, 2}, ("onnx", "int8"): {1, 2}}
    found, _ = rows(Scripted(wrong, WHOLE), tmp_path)
    assert found["onnx", "int8"].reference == "onnx fp32" and found["onnx", "int8"].status == "ok"


def test_what_cannot_run_says_why_and_what_fails_loses_nothing_else(tmp_path):
    wrong = {FLOAT: set(), INT8: set(), ("coreml", "int8"): set()}
    absent = {("coreml", "int8"): "needs macOS"}
    first = Scripted(wrong, WHOLE, absent, failing={INT8: 12})
    found, report = rows(first, tmp_path)
    assert found["coreml", "int8"].status == "not run: needs macOS" and found["coreml", "int8"].int8 == WHOLE
    assert found[INT8].status == "failed: the engine died" and found[INT8].top1 is None
    assert found[FLOAT].status == "ok" and "| failed: the engine died |" in page(report)
    again = Scripted(wrong, WHOLE, absent)
    found, _ = rows(again, tmp_path)
    assert again.asked == {FLOAT: 0, INT8: COUNT - 12, ("coreml", "int8"): 0}
    assert found[INT8].status == "ok"


def test_a_variant_exported_anew_is_asked_anew(tmp_path):
    rows(Scripted({FLOAT: set()}), tmp_path)
    trial = Scripted({FLOAT: {1}})
    trial.held = [replace(trial.held[0], digest="other files")]
    found, _ = rows(trial, tmp_path)
    assert trial.asked == {FLOAT: COUNT} and found[FLOAT].top1.value == 0.95


def test_int8_that_is_not_int8_is_no_success(tmp_path):
    found, _ = rows(Scripted({FLOAT: set(), INT8: set()}, {"glance": 0.95, "focus": 0.34}), tmp_path / "a")
    assert found[INT8].status == "failed: only 34% of focus is int8"
    found, _ = rows(Scripted({FLOAT: set(), INT8: set()}, WHOLE | {"select": 0.5}), tmp_path / "light")
    assert found[INT8].status == "ok"  # that much is asked of the heavy graphs only
    found, _ = rows(Scripted({FLOAT: set(), INT8: set()}, None), tmp_path / "b")
    assert found[INT8].status == "int8 not proven (not run: openvino: its files cannot be read back here)"


def test_without_fp32_nothing_is_compared(tmp_path):
    found, _ = rows(Scripted({INT8: {1}}, WHOLE), tmp_path)
    assert found[INT8].status == "ok, compared with nothing: no fp32 runs here" and found[INT8].difference is None


def test_the_files_hold_the_same_figures(tmp_path):
    _, report = rows(Scripted({FLOAT: {3}, INT8: {3, 4}}, WHOLE), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report.as_json()
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert lines[-1].startswith("| openvino | int8 | 10.0 (25%) | 0.900 (")
    assert "| -5.0 (" in lines[-1] and lines[-1].endswith("| glance 92.0%, focus 100.0% | accuracy drop 5.0 points |")
    assert draw(report, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_no_clips_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no clip"):
        rows(Scripted({FLOAT: set()}), tmp_path, [])


def test_the_command_on_a_bundle(tmp_path, capsys):
    bundle = tiny.tiny_bundle(tmp_path / "tiny.avgn")
    data = tmp_path / "scenes"
    data.mkdir()
    label = tiny.LABELS[0]
    for number in range(2):
        write_clip(data / f"clip{number}.mp4", 2.0)
    lines = [json.dumps(plain(truth(number, label))) for number in range(2)]
    (data / "scenes.jsonl").write_text("\n".join(lines) + "\n")
    words = ["report", "--bundle", str(bundle), "--data", str(data), "--out", str(tmp_path / "out")]
    assert cli.run([*words, "--rounds", "1", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert (row["backend"], row["precision"], row["status"]) == ("openvino", "fp32", "ok")
    assert found["clips"] == 2 and row["latency"]["p50"] > 0 and row["size"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"answers", "report.json", "report.md", "report.png"}
    assert cli.run([*words, "--rounds", "0"]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["rows"][0]["latency"] is None
