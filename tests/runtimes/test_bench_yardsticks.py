"""What `avgn bench` holds the pipeline against: that each does the same work, or the work that it says."""

from __future__ import annotations

import shutil
import stat
import sys
from dataclasses import replace

import numpy as np
import openvino
import pytest

import clips
import tiny
from avgn.bundle import open_bundle
from avgn.errors import MissingError
from avgn.media import read_clip
from runtimes.backends import open_engine
from runtimes.backends.openvino_operators import products
from runtimes.classifier import Classifier
from runtimes.contestant import Contest, Subject
from runtimes.live.settings import LiveSettings
from runtimes.profile.workload import read_material
from runtimes.yardsticks.benchmark_app import How, benchmark_app, command_line, milliseconds
from runtimes.yardsticks.cold_start import ROW as COLD
from runtimes.yardsticks.cold_start import cold_start
from runtimes.yardsticks.decoding import FFMPEG, READ, _run, decoding
from runtimes.yardsticks.decoding import command_line as ffmpeg_line
from runtimes.yardsticks.peak import large, peak
from runtimes.yardsticks.whole_window import HOP, HOST, WHOLE, Slide, whole_window


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    clips.write_clip(path, 3.0)
    return path


@pytest.fixture(scope="module")
def contest(tmp_path_factory, clip):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))
    engine = open_engine(bundle, threads=1)
    return Contest([Subject(Classifier(bundle, engine), engine, clip)], rounds=9, threads=1)


def test_a_hop_answers_what_the_whole_window_does_for_less(contest, clip):
    classifier = contest.subjects[0].classifier
    slide = Slide(classifier, read_material(clip, classifier), LiveSettings())
    for _ in range(slide.period + 2):
        hop, whole = slide.hop(), slide.whole()
        assert hop.selected == whole.selected
        np.testing.assert_allclose(hop.saliency, whole.saliency, rtol=1e-5)
    found = whole_window(contest)[0]
    timed = found.measure()
    assert set(timed) == set(found.macs) == {HOP, HOST, WHOLE} and 0 < timed[HOST] < timed[HOP]
    assert found.macs[WHOLE] == 4 * 1000 + 200 + 2 * 5000 + 30
    assert 2 * 1000 + 230 <= found.macs[HOP] <= 2 * 1000 + 230 + 2 * 5000


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("int8", [False, True])
def test_peaks_are_computed_in_the_precision_that_they_are_of(int8, picture):
    model = large((1, 32, 8, 8) if picture else (64, 32), int8)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = products(compiled).values()
    assert sum(one.macs for one in found) == 2 * (32 * 32 * 9 * 64 if picture else 64 * 32 * 32)
    assert all(one.kernel.upper().endswith("_I8") == int8 and not one.depthwise for one in found)


def test_a_peak_for_each_precision(contest):
    (found,) = peak(contest)
    assert (found.backend, found.precision, found.threads) == ("openvino", "fp32", 1)
    assert found.macs["peak, matrix products"] == 2 * 1024**3
    assert set(found.measure()) == set(found.macs)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_ffmpeg_gives_the_very_frames(contest, clip):
    config = contest.subjects[0].classifier.config
    read = read_clip(clip, config)
    side = config.frame.size
    found = np.frombuffer(_run(ffmpeg_line("ffmpeg", clip, read, config)), np.uint8).reshape(-1, side, side, 3)
    wanted = [picture.squashed(side) for picture in read.pictures]
    assert [clips.number_of(frame.transpose(2, 0, 1)) for frame in found] == [clips.number_of(one) for one in wanted]
    ours, theirs = decoding(contest)
    assert set(ours.measure()) == {READ} and set(theirs.measure()) == {FFMPEG}


def test_without_ffmpeg(contest, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError, match="no ffmpeg on PATH"):
        decoding(contest)


def test_benchmark_app_is_run_as_our_engine_runs(contest, monkeypatch, tmp_path):
    tool = tmp_path / "benchmark_app"
    tool.write_text('#!/bin/sh\necho "$@" >> ' + f"{tmp_path}/lines\n" + "echo '[ INFO ]    Median:     2.25 ms'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))
    glance, focus = benchmark_app(contest)
    assert glance.measure() == {"benchmark_app glance": 2.25} and glance.every == 3
    assert glance.macs == {"benchmark_app glance": tiny.MACS["glance"]}
    assert list(focus.measure()) == ["benchmark_app focus"]
    line = (tmp_path / "lines").read_text().splitlines()[0]
    assert "openvino-fp32/glance.xml" in line and line.endswith("-hint none -nstreams 1 -nthreads 1")
    assert command_line("tool", tool, How(None, False))[-2:] == ["-hint", "latency"]
    several = command_line("tool", tool, How(4, True))
    assert "async" in several and several[-6:] == ["-hint", "none", "-nstreams", "4", "-nthreads", "4"]
    assert milliseconds("Throughput:   400.00 FPS", several=True) == 2.5
    tool.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    with pytest.raises(MissingError, match="broken"):
        glance.measure()
    with pytest.raises(MissingError, match="no median"):
        milliseconds("nothing", several=False)


def test_without_benchmark_app(contest, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingError, match="pip install openvino"):
        benchmark_app(contest)


def test_a_cold_start_is_a_process_of_its_own_and_warms_the_cache_first(contest):
    (found,) = cold_start(contest)
    assert found.every == contest.rarely and found.macs == {COLD: 0}
    assert found.measure()[COLD] > 0
    broken = replace(contest, subjects=[replace(contest.subjects[0], clip=contest.clip.with_name("none.mp4"))])
    with pytest.raises(MissingError, match=r"none\.mp4"):
        cold_start(broken)
