"""The measuring scripts measure: on the tiny bundle, for what their numbers mean, not for what they are."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

import clips
import tiny
from avgn.bundle import open_bundle
from avgn.errors import InputError, UsageError
from runtimes import bench_live, soak
from runtimes.backends import open_engine
from runtimes.bench_live import looped, run_live
from runtimes.capture import open_replay
from runtimes.capture.source import State
from runtimes.classifier import Classifier
from runtimes.live.settings import LiveSettings
from runtimes.soak import PLAN, planned, run_soak


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))
    return Classifier(bundle, open_engine(bundle, threads=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips")
    clips.write_clip(path / "a.mp4", 2.0)
    clips.write_clip(path / "b.mp4", 1.5, sound=None)
    clips.write_clip(path / "c.mp4", 2.5)
    (path / "scenes.jsonl").write_text("{}\n")
    return path


def test_a_folder_of_clips_is_played_as_one(folder):
    source = open_replay(folder, tiny.SOUND)
    source.start()
    shown, heard = [], []
    for tick in range(1, 40):
        source.clock.wait_until(tick * 0.25)
        if source.status.state is State.ENDED:
            break
        snippet = source.snapshot(tick * 0.25)
        shown.append(clips.number_of(snippet.picture.squashed(64)))
        heard.append(bool(snippet.sound[-400:].any()))
    assert tick == 25  # six seconds
    assert [shown[place] for place in (0, 6, 8, 13, 14, 23)] == [2, 17, 2, 0, 2, 24]
    assert heard[3] and not any(heard[9:13]) and all(heard[15:])
    assert source.counters.frames == 60 and source.counters.dropped_frames == 0


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a recording nor a clip"):
        open_replay(tmp_path, tiny.SOUND)
    with pytest.raises(InputError, match="no clip"):
        looped([tmp_path], 10)


def test_clips_are_looped_for_as_long_as_wanted(folder):
    assert [path.name for path in looped([folder], 7.0)] == ["a.mp4", "b.mp4", "c.mp4"] * 2
    assert [path.name for path in looped([folder / "c.mp4"], 2.0)] == ["c.mp4"]


def test_the_benchmark_says_what_was_asked(classifier, folder, monkeypatch):
    monkeypatch.setattr(bench_live, "WHOLE_WINDOWS", 2)
    found = run_live(classifier, 1, [folder], LiveSettings(duration=3.0))
    told = json.loads(json.dumps(asdict(found)))
    assert told["decisions"] + told["skipped_hops"] >= 3 and told["k"] == 2
    assert told["macs"]["window"] > told["macs"]["hop"] > 0 and told["ms"]["window"] > 0
    for parts, total in (("hop", told["ms"]["hop"]), ("window", told["ms"]["window"])):
        own = total - sum(ms for name, ms in told["parts_ms"][parts].items() if name != "total")
        assert 0 < own < total and told["parts_ms"][parts]["glance"] > 0
    assert 0 <= told["focus_share_of_k"] <= 1 and told["cpu_percent_of_one_core"] > 0
    assert told["age_frame_ms"]["p50"] <= told["age_frame_ms"]["p99"]
    with pytest.raises(UsageError, match="duration"):
        run_live(classifier, 1, [folder], LiveSettings())
    with pytest.raises(UsageError, match="fill the window"):
        run_live(classifier, 1, [folder], LiveSettings(duration=0.5))


def test_a_soak_shows_every_fault_and_ends_clean(classifier, folder, monkeypatch):
    quicker = [(2 + at / 3, min(lasts, 1.5), *rest) for at, lasts, *rest in PLAN]
    monkeypatch.setattr(soak, "PLAN", quicker)
    found = run_soak(classifier, [folder], 0.8)
    assert [report.name for report in found.faults] == [name for _, _, name, *_ in PLAN]
    for report in found.faults:
        assert report.counted == report.happened == 1, report
        assert report.slowest_recovery is None or report.slowest_recovery <= 2.0, report
    assert found.threads_after == found.threads_before
    assert found.drift_ppm == pytest.approx(10_000, abs=1500)
    assert found.decisions > 60 and found.counters["frames"] > 350


def test_faults_leave_time_to_recover():
    faults = planned(5.0)
    assert faults[0].name == "drift" and max(fault.end for fault in faults[1:]) <= 295
    assert len([fault for fault in faults if fault.name == "rate"]) == 2
