"""The streaming resampler against sines, against FFmpeg's, and against itself in other pieces."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.capture.resample import StreamResampler


def sine(hertz, rate, count):
    return (0.7 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target", "hertz"),
    [(48000, 32000, 1000), (48000, 32000, 12000), (44100, 32000, 5000), (16000, 32000, 6000), (8000, 32000, 3000),
     (192000, 8000, 440), (32000, 32000, 9000)],
)  # fmt: skip
def test_a_sine_stays_the_sine(source, target, hertz):
    made = StreamResampler(source / target).push(sine(hertz, source, source // 2), source / target)
    wanted = sine(hertz, target, len(made))
    inner = slice(200, -200)
    assert abs(len(made) - target // 2) < 100
    assert np.abs(made[inner] - wanted[inner]).max() < 0.7 * 10 ** (-65 / 20)


@pytest.mark.parametrize(("source", "target", "hertz"), [(48000, 32000, 20000), (44100, 8000, 5500)])
def test_what_the_new_rate_cannot_hold_is_gone(source, target, hertz):
    made = StreamResampler(source / target).push(sine(hertz, source, source), source / target)
    assert np.abs(made[200:-200]).max() < 0.7 * 10 ** (-60 / 20)


@pytest.mark.parametrize("source", [44100, 48000])
def test_it_sounds_as_ffmpeg_s_does_to_which_the_nets_are_used(source):
    noise = np.random.default_rng(0).normal(0, 0.1, source).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(noise[np.newaxis], "flt", "mono")
    frame.sample_rate = source
    theirs = np.concatenate(
        [block.to_ndarray()[0] for block in av.AudioResampler("flt", "mono", 32000).resample(frame)]
    )
    ours = StreamResampler(source / 32000).push(noise, source / 32000)
    difference = ours[500:25000] - theirs[500:25000]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * 10 ** (-40 / 20)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=12), st.floats(0.2, 6.0))
def test_the_pieces_do_not_matter(pieces, step):
    wave = np.random.default_rng(0).normal(0, 1, sum(pieces)).astype(np.float32)
    whole = StreamResampler(step).push(wave, step)
    stream, cuts = StreamResampler(step), np.cumsum([0, *pieces])
    made = np.concatenate([stream.push(wave[a:b], step) for a, b in pairwise(cuts)])
    assert abs(len(made) - len(whole)) <= 1
    count = min(len(made), len(whole))
    np.testing.assert_allclose(made[:count], whole[:count], atol=1e-4)


def test_the_ratio_may_change_all_the_time():
    """A tone taken by a clock that goes ever faster comes out even, where the step follows."""
    steps = np.linspace(1.49, 1.51, 200)
    stream, made, taken = StreamResampler(1.5), [], []
    positions = np.arange(60000)
    wave = sine(500, 48000, len(positions))
    for index, step in enumerate(steps):
        begin = stream.position
        out = stream.push(wave[index * 300 : (index + 1) * 300], step)
        taken.append(begin + step * np.arange(len(out)))
        made.append(out)
    at = np.concatenate(taken)
    wanted = 0.7 * np.sin(2 * np.pi * 500 * at / 48000)
    assert np.abs(np.concatenate(made) - wanted)[100:].max() < 1e-3
