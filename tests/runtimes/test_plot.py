from __future__ import annotations

import sys
from dataclasses import replace

import av
import numpy as np
import pytest

import clips
import tiny
from avgn.bundle import open_bundle
from avgn.errors import InputError, MissingError, UsageError
from runtimes.classifier import Classifier
from runtimes.plot import _strip, check_plot, draw


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


def decided(bundle, path, **options):
    clips.write_clip(path, 2.0, **options)
    return Classifier(bundle, tiny.NumpyEngine()).classify(path)


def pixels(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def red(picture):
    return (abs(picture.astype(int) - (214, 39, 40)).max(-1) < 12).sum()


def test_a_plot_shows_what_was_chosen(bundle, tmp_path):
    decision = decided(bundle, tmp_path / "a$b.mp4")  # a dollar sign must not begin a formula
    draw(decision, tiny.CONFIG, tmp_path / "plot.png")
    draw(replace(decision, selected=(), centres=()), tiny.CONFIG, tmp_path / "none.png")
    shown, plain = pixels(tmp_path / "plot.png"), pixels(tmp_path / "none.png")
    assert shown.shape == plain.shape and shown.shape[1] == 1210
    assert red(shown) > red(plain) + 500  # the boxes and the marks
    assert len({tuple(colour) for colour in shown[::7, ::7].reshape(-1, 3)}) > 50  # pictures and sound are there


@pytest.mark.parametrize("lacking", [{"size": None}, {"sound": None}])
@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_clips_that_lack_something_are_drawn_too(bundle, tmp_path, lacking, suffix):
    kind = {"size": ".m4a", "sound": ".mp4"}[next(iter(lacking))]
    path = tmp_path / f"clip{kind}"
    decision = decided(bundle, path, **lacking, form="mp4")
    draw(decision, tiny.CONFIG, tmp_path / f"plot{suffix}")
    begins = (tmp_path / f"plot{suffix}").read_bytes()[:5]
    assert begins == (b"%PDF-" if suffix == ".pdf" else b"<?xml")


def test_windows_of_sound_are_laid_where_they_lie():
    clip = tiny.tiny_clip(1, heard=(0, 1, 1, 1))
    clip = replace(clip, starts=np.array([0, 20, 30, 100]) * tiny.SOUND.hop)
    mels = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((4, 1, 16, 32), np.float32)
    first, strip = _strip(mels, clip, tiny.SOUND.hop)
    assert first == 20 and strip.shape == (16, 100 + 32 - 20)
    row = strip[5]
    assert (row[:10] == 1).all() and (row[10:42] == 2).all() and np.isnan(row[42:80]).all() and (row[80:] == 3).all()


def test_refusals_come_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        check_plot(tmp_path / "plot.doc")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingError, match=r'pip install "avgn\[plot\]"'):
        check_plot(tmp_path / "plot.png")


def test_a_folder_that_is_not_there(bundle, tmp_path):
    decision = decided(bundle, tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"nowhere"):
        draw(decision, tiny.CONFIG, tmp_path / "nowhere" / "plot.png")
