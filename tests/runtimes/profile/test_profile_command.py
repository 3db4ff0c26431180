"""`avgn profile` on a tiny bundle: files, exit codes, simulated sensors; the sliding window against the classifier."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import clips
import device_trees
import tiny
from avgn.bundle import open_bundle
from avgn.cli import run
from avgn.errors import UsageError
from runtimes.backends import open_engine
from runtimes.backends.operators import operators
from runtimes.classifier import Classifier
from runtimes.profile.report import read_report
from runtimes.profile.workload import STEPS, SlidingWindow, read_material


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    clips.write_clip(path, 3.0)
    return path


def arguments(bundle, clip, *more):
    return ["profile", "--bundle", str(bundle), "--clip", str(clip), "--threads", "1", "--duration", "1", *more]


def test_a_whole_report_on_a_device_that_throttles(bundle, clip, tmp_path, capsys):
    device_trees.tree_of(tmp_path / "root", "orin_nano_super_throttled_jp6")
    places = {kind: tmp_path / f"r.{kind}" for kind in ("json", "html", "markdown")}
    options = [word for kind, place in places.items() for word in (f"--{kind}", str(place))]
    options += ["--root", str(tmp_path / "root"), "--cadence", "20", "--keep-warm"]
    assert run(arguments(bundle, clip, *options)) == 0
    shown = capsys.readouterr().out
    assert "INVALID" in shown and "cpu-throttle-alert" in shown
    report = read_report(places["json"])
    assert not report.verdict.valid and "throttled: " in str(report.verdict)
    assert report.machine.simulated and report.machine.power_mode == "MAXN_SUPER (2)"
    assert report.subject.digest == open_bundle(bundle).digest()
    assert [phase.name for phase in report.phases] == ["back to back", "cadence", "kept warm"]
    assert set(report.graphs) == {"glance", "select", "focus", "classify"} and report.cold.load_ms > 0
    assert {one.graph for one in report.operators} == set(report.graphs) and report.memory_mb["peak"] > 10
    rows = [json.loads(line) for line in (tmp_path / "r.samples.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in rows} >= {"cold", "warm-up", "back to back", "cadence", "kept warm", "bare graphs"}
    assert "INVALID" in places["html"].read_text() and "INVALID" in places["markdown"].read_text()
    both = [str(places["json"])] * 2
    assert (
        run(["profile", "--compare", *both, "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")])
        == 0
    )
    assert "B is INVALID" in capsys.readouterr().out and (tmp_path / "c.html").is_file()


def test_json_on_standard_output_and_a_verdict_that_is_required(bundle, clip, capsys):
    code = run(arguments(bundle, clip, "--duration", "0.3", "--json", "-", "--require-valid"))
    out, err = capsys.readouterr()
    assert code == 5 and json.loads(out)["verdict"]["valid"] is False and "INVALID" in err


def test_what_the_sensors_say(tmp_path, capsys):
    device_trees.tree_of(tmp_path, "thor_jp7")
    assert run(["profile", "--sensors", "--root", str(tmp_path)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["power"]["total_rail"] == "VIN" and data["power"]["total_w"] == pytest.approx(27.422)
    assert data["throttle"]["throttled"] is False and data["device"]["module"] == "AGX Thor"


def test_nonsense_is_refused(bundle, clip, tmp_path, capsys):
    for more in (
        ["--duration", "0"],
        ["--cadence", "-1"],
        ["--snippets", "0"],
        ["--rail", "VDD_IN", "--root", str(tmp_path)],
        ["--root", str(tmp_path / "missing")],
    ):
        assert run(arguments(bundle, clip, *more)) == 2
        assert capsys.readouterr().err.startswith("avgn: ")
    assert run(["profile", "--compare", str(clip), str(clip)]) == 3


@pytest.fixture
def classifier(bundle):
    opened = open_bundle(bundle)
    return Classifier(opened, open_engine(opened, threads=1))


def lowest_where_nothing_is(choice, glances):
    """As the real `select` has it; the tiny one does not."""
    there = (glances.seen + glances.heard) > 0
    return replace(choice, saliency=np.where(there, choice.saliency, np.float32(-1e4)))


def test_the_window_decides_what_the_whole_window_would(classifier, clip, monkeypatch):
    """After T snippets, the logits are those of the same T snippets judged from scratch."""
    material = read_material(clip, classifier)
    count = classifier.config.snippets
    assert len(material.pictures) == 3 * count
    window = SlidingWindow(classifier, classifier.engine, material, new=1)
    choose = classifier.choose
    monkeypatch.setattr(classifier, "choose", lambda glances: lowest_where_nothing_is(choose(glances), glances))
    given = []
    decide = classifier.decide
    monkeypatch.setattr(classifier, "decide", lambda *parts: given.append(decide(*parts)) or given[-1])
    cold = window.cold()
    assert cold.focus_calls == 1 and set(cold.steps_ms) == set(STEPS)
    focused = [window.decide().focus_calls for _ in range(2 * count)]
    assert 0 < sum(focused) <= 2 * count and max(focused) <= classifier.k
    last = slice(count + 1, 2 * count + 1)
    part = type(material)(
        duration=1.0, times=material.times[last], pictures=material.pictures[last], sound=material.sound[last],
        starts=material.starts[last], heard=material.heard[last], seen=material.seen[last],
    )  # fmt: skip
    classifier.classify_clip(part)
    np.testing.assert_allclose(given[-2], given[-1], rtol=1e-4, atol=1e-5)


def test_steps_are_parts_of_the_whole(classifier, clip):
    window = SlidingWindow(classifier, classifier.engine, read_material(clip, classifier), new=2)
    for _ in range(12):
        found = window.decide()
        assert sum(found.steps_ms.values()) <= found.total_ms
        assert ("focus" in found.steps_ms) == (found.focus_calls > 0) == ("crop" in found.steps_ms)
    assert all(call() is not None or True for call in window.bare().values())
    window.warm()
    with pytest.raises(UsageError):
        SlidingWindow(classifier, classifier.engine, read_material(clip, classifier), new=0)


def test_operators_of_engines_that_can_tell_and_that_cannot(classifier):
    found = operators(classifier.engine, "glance", calls=3)
    assert found and all(one.ms >= 0 and one.name and one.kind for one in found)
    assert [one.ms for one in found] == sorted((one.ms for one in found), reverse=True)

    class Mute:
        backend = "mute"

    assert operators(Mute(), "glance") is None
