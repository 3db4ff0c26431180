"""The sound front end against formulas, Kaldi's own C++ and a plain Fourier transform in double precision.

`python tests/avgn/test_logmel.py` writes tests/data/logmel_golden.json anew from that plain transform.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avgn import logmel
from avgn.config import SoundConfig
from avgn.errors import InputError

GOLDEN = Path(__file__).parents[1] / "data" / "logmel_golden.json"
WIDE = SoundConfig()
NARROW = SoundConfig(rate=16_000, window=400, hop=160, fft=512, mels=64, low_hz=60.0, high_hz=7_600.0, frames=96)
ODD = SoundConfig(rate=22_050, window=551, hop=220, fft=700, mels=37, low_hz=20.0, high_hz=11_025.0, frames=40)
SOUNDS = pytest.mark.parametrize("sound", [WIDE, NARROW, ODD], ids=["32kHz", "16kHz", "odd"])


def reference(wave, sound):
    """The front end by its definition: sums in float64, no FFT, nothing shared with the package. [n] -> [M,F]."""
    x = np.asarray(wave, dtype=np.float64)
    y = [x[i + 1] - sound.preemphasis * x[i] for i in range(len(x) - 1)]
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * j / (sound.window - 1)) for j in range(sound.window)]
    bins = np.arange(sound.fft // 2 + 1)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(sound.window), bins) / sound.fft)
    mels = 1127 * np.log(1 + bins * sound.rate / sound.fft / 700)
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (sound.low_hz, sound.high_hz))
    width = (high - low) / (sound.mels + 1)
    triangles = [np.maximum(0, 1 - np.abs(mels - (low + (band + 1) * width)) / width) for band in range(sound.mels)]
    columns = []
    for start in range(0, len(y) - sound.window + 1, sound.hop):
        power = np.abs((np.array(y[start : start + sound.window]) * hann) @ turns) ** 2
        columns.append((np.log(np.array(triangles) @ power + sound.floor) + sound.offset) / sound.scale)
    return np.array(columns).T.reshape(sound.mels, len(columns))


def noise(count, seed=0, level=0.1):
    return (np.random.default_rng(seed).standard_normal(count) * level).astype(np.float32)


def length(sound, columns):
    return (columns - 1) * sound.hop + sound.window + 1


def signals(sound, columns=12):
    time = np.arange(length(sound, columns)) / sound.rate
    pulse = np.sign(np.sin(2 * np.pi * 120 * time))
    return {
        "silence": np.zeros_like(time),
        "noise": noise(len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * time),
        "speech": 0.3 * pulse * np.sin(2 * np.pi * (300 + 9000 * time) * time) * np.hanning(len(time)),
        "clipped": np.clip(4 * np.sin(2 * np.pi * 440 * time), -1, 1),
        "constant": np.ones_like(time),
    }


@SOUNDS
def test_agrees_with_the_definition(sound):
    for name, wave in signals(sound).items():
        np.testing.assert_allclose(logmel.log_mel(wave, sound), reference(wave, sound), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("sound", [WIDE, NARROW], ids=["32kHz", "16kHz"])
def test_agrees_with_kaldi(sound):
    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.window_type, frame.snip_edges = sound.rate, "hanning", True
    frame.frame_length_ms, frame.frame_shift_ms = 1000 * sound.window / sound.rate, 1000 * sound.hop / sound.rate
    frame.dither, frame.remove_dc_offset, frame.preemph_coeff, frame.round_to_power_of_two = 0.0, False, 0.0, True
    mel.num_bins, mel.low_freq, mel.high_freq = sound.mels, sound.low_hz, sound.high_hz
    options.use_energy, options.use_log_fbank, options.use_power = False, False, True
    wave = noise(length(sound, 30))
    kaldi = knf.OnlineFbank(options)
    kaldi.accept_waveform(sound.rate, (wave[1:] - np.float32(sound.preemphasis) * wave[:-1]).tolist())
    kaldi.input_finished()
    power = np.array([kaldi.get_frame(column) for column in range(kaldi.num_frames_ready)]).T
    assert power.shape == (sound.mels, 30)
    expected = (np.log(power + sound.floor) + sound.offset) / sound.scale
    np.testing.assert_allclose(logmel.log_mel(wave, sound), expected, atol=1e-4)


def test_agrees_with_the_golden_vectors():
    for case in json.loads(GOLDEN.read_text()):
        wave = np.array(case["pcm16"], dtype=np.float32) / 32768
        np.testing.assert_allclose(logmel.log_mel(wave, SoundConfig(**case["sound"])), case["mel"], atol=1e-4)


def test_mel_scale():
    hertz = np.array([0.0, 700.0, 700.0 * (math.e - 1)])
    np.testing.assert_allclose(logmel.mel_scale(hertz), [0.0, 1127 * math.log(2), 1127.0])
    assert logmel.mel_scale(1000.0) == pytest.approx(1000, abs=0.05), "1000 Hz is 1000 mel"


def test_filter_bank_is_a_partition_between_its_first_and_last_peak():
    bank = logmel.filter_bank(WIDE)
    hertz = np.arange(WIDE.fft // 2 + 1) * WIDE.rate / WIDE.fft
    step = 1127 * math.log(1 + WIDE.high_hz / 700) / (WIDE.mels + 1)
    first, last = (700 * math.expm1(step * band / 1127) for band in (1, WIDE.mels))
    inside = (hertz >= first) & (hertz <= last)
    np.testing.assert_allclose(bank[:, inside].sum(axis=0), 1.0, atol=1e-6)
    assert not bank[:, hertz >= WIDE.high_hz].any()
    assert bank.shape == (128, 513) and bank.dtype == np.float32 and not bank.flags.writeable


@SOUNDS
def test_a_tone_lands_in_the_band_of_the_formula(sound):
    time = np.arange(length(sound, 5)) / sound.rate
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (sound.low_hz, sound.high_hz))
    for band in (sound.mels // 2, sound.mels * 3 // 4, sound.mels - 2):
        peak = low + (band + 1) * (high - low) / (sound.mels + 1)
        hertz = 700 * math.expm1(peak / 1127)
        mel = logmel.log_mel(0.1 * np.sin(2 * np.pi * hertz * time), sound)
        assert (mel.argmax(axis=0) == band).all()


@SOUNDS
def test_silence_is_the_floor(sound):
    mel = logmel.log_mel(np.zeros(length(sound, 3)), sound)
    np.testing.assert_allclose(mel, (math.log(sound.floor) + sound.offset) / sound.scale, rtol=1e-6)
    assert (mel == mel[0, 0]).all()


@SOUNDS
def test_a_shift_by_one_hop_shifts_the_columns_by_one(sound):
    wave = noise(length(sound, 9))
    shifted = logmel.log_mel(wave[sound.hop :], sound)
    np.testing.assert_allclose(shifted, logmel.log_mel(wave, sound)[:, 1:], atol=1e-6)


@given(samples=st.integers(0, 5000), sound=st.sampled_from([WIDE, NARROW, ODD]))
@settings(max_examples=60, deadline=None)
def test_every_length_gives_its_whole_columns(samples, sound):
    count = sum(start + sound.window + 1 <= samples for start in range(0, samples + 1, sound.hop))
    mel = logmel.log_mel(noise(samples), sound)
    assert mel.shape == (sound.mels, count) and mel.dtype == np.float32


@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -3e38]),
    place=st.integers(0, length(WIDE, 8) - 1),
)
@settings(max_examples=40, deadline=None)
def test_a_bad_sample_harms_only_the_columns_that_hold_it(bad, place):
    wave = noise(length(WIDE, 8))
    clean = logmel.log_mel(wave, WIDE)
    wave[place] = bad
    harmed = logmel.log_mel(wave, WIDE)
    starts = np.arange(8) * WIDE.hop
    holds = (starts <= place) & (place <= starts + WIDE.window)
    assert np.isfinite(harmed).all()
    np.testing.assert_array_equal(harmed[:, ~holds], clean[:, ~holds])


def test_nan_is_silence_and_overshoot_is_clipped():
    wave = noise(length(WIDE, 4), level=0.8)
    wave[500:900] = 0
    holed = wave.copy()
    holed[500:900] = np.nan
    np.testing.assert_array_equal(logmel.log_mel(holed, WIDE), logmel.log_mel(wave, WIDE))
    np.testing.assert_array_equal(logmel.log_mel(wave, WIDE), logmel.log_mel(np.clip(wave, -1, 1), WIDE))
    assert np.isnan(holed[500]), "the caller's samples are left alone"


@pytest.mark.parametrize("wave", [np.zeros(2000, np.int16), np.zeros((2, 2000)), np.zeros(2000, complex), ["a"]])
def test_other_kinds_of_samples_are_refused(wave):
    with pytest.raises(InputError, match="floating-point samples"):
        logmel.log_mel(wave, WIDE)


@given(
    cuts=st.lists(st.integers(0, length(WIDE, 7)), max_size=12),
    extra=st.integers(0, WIDE.hop - 1),
    sound=st.sampled_from([WIDE, NARROW, ODD]),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_gives_the_columns_of_the_whole(cuts, extra, sound):
    wave = noise(length(sound, 7) + extra)
    stream = logmel.LogMelStream(sound)
    given_so_far = 0
    pieces = []
    for chunk in np.split(wave, sorted(min(cut, len(wave)) for cut in cuts)):
        pieces.append(stream.push(chunk))
        given_so_far += len(chunk)
        assert stream.columns == logmel.column_count(given_so_far, sound), "a column comes as soon as it can"
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), logmel.log_mel(wave, sound), atol=1e-6)


def test_a_stream_keeps_less_than_a_window_and_nothing_of_the_callers():
    stream = logmel.LogMelStream(WIDE)
    for count in (100_000, 1, 317, 0, 4096):
        chunk = noise(count)
        stream.push(chunk)
        chunk[:] = 9  # a capture buffer that is used again
        kept = stream._tail
        assert len(kept) <= WIDE.window and kept.base is None
    assert np.abs(kept).max() < 1


def test_a_reset_stream_starts_anew():
    wave = noise(length(WIDE, 5))
    stream = logmel.LogMelStream(WIDE)
    stream.push(noise(1234, seed=1))
    stream.reset()
    np.testing.assert_array_equal(stream.push(wave), logmel.log_mel(wave, WIDE))
    assert stream.columns == 5


def test_a_refused_chunk_leaves_the_stream_as_it_was():
    wave = noise(length(WIDE, 3))
    stream = logmel.LogMelStream(WIDE)
    stream.push(wave[:600])
    with pytest.raises(InputError):
        stream.push(np.zeros(10, np.int16))
    np.testing.assert_allclose(stream.push(wave[600:]), logmel.log_mel(wave, WIDE), atol=1e-6)


@given(hops=st.lists(st.integers(0, 3 * ODD.frames), min_size=1, max_size=8), offset=st.integers(0, ODD.hop - 1))
@settings(max_examples=40, deadline=None)
def test_windows_equal_the_columns_of_the_clip(hops, offset):
    clip = noise(max(hops) * ODD.hop + offset + ODD.samples)
    starts = np.array(hops) * ODD.hop + offset
    waves = np.stack([clip[start : start + ODD.samples] for start in starts])
    pictures = logmel.log_mel_windows(waves, starts, ODD)
    assert pictures.shape == (len(hops), 1, ODD.mels, ODD.frames) and pictures.dtype == np.float32
    whole = logmel.log_mel(clip[offset:], ODD)
    expected = np.stack([whole[np.newaxis, :, hop : hop + ODD.frames] for hop in hops])
    np.testing.assert_allclose(pictures, expected, atol=1e-6)


def test_windows_off_each_others_grid_share_nothing():
    starts = np.array([0, ODD.hop // 2, ODD.hop, 3 * ODD.hop // 2])
    clip = noise(int(starts[-1]) + ODD.samples)
    waves = np.stack([clip[start : start + ODD.samples] for start in starts])
    expected = np.stack([logmel.log_mel(wave, ODD)[np.newaxis] for wave in waves])
    np.testing.assert_allclose(logmel.log_mel_windows(waves, starts, ODD), expected, atol=1e-6)


@given(seeds=st.lists(st.integers(0, 1), min_size=2, max_size=6), data=st.data())
@settings(max_examples=30, deadline=None)
def test_windows_that_disagree_keep_their_own_sound(seeds, data):
    starts = np.array([data.draw(st.integers(0, 3 * ODD.hop)) for _ in seeds])
    waves = np.stack([noise(ODD.samples, seed) for seed in seeds])
    waves[0] = 0  # a snippet that was not heard
    expected = np.stack([logmel.log_mel(wave, ODD)[np.newaxis] for wave in waves])
    np.testing.assert_allclose(logmel.log_mel_windows(waves, starts, ODD), expected, atol=1e-6)


def test_shared_columns_are_computed_once(monkeypatch):
    computed = []
    columns = logmel._columns

    def counting(wave, sound):
        mel = columns(wave, sound)
        computed.append(mel.shape[1])
        return mel

    monkeypatch.setattr(logmel, "_columns", counting)
    clip = noise(length(ODD, 70))
    hops = np.array([30, 0, 10, 10, 25])
    waves = np.stack([clip[hop * ODD.hop :][: ODD.samples] for hop in hops])
    silent = np.zeros((1, ODD.samples), np.float32)
    logmel.log_mel_windows(np.concatenate((waves, silent)), np.append(hops, 10) * ODD.hop, ODD)
    assert sorted(computed) == [ODD.frames, 30 + ODD.frames], "one for the silent window, one for all the others"


@pytest.mark.parametrize(
    ("waves", "starts"),
    [
        (np.zeros((2, ODD.samples + 1)), np.zeros(2, int)),
        (np.zeros((2, ODD.samples)), np.zeros(3, int)),
        (np.zeros((2, ODD.samples)), np.zeros(2)),
        (np.zeros(ODD.samples), np.zeros(1, int)),
    ],
)
def test_windows_of_other_shapes_are_refused(waves, starts):
    with pytest.raises(InputError, match="sound"):
        logmel.log_mel_windows(waves, starts, ODD)


def test_no_windows_give_no_pictures():
    none = logmel.log_mel_windows(np.zeros((0, ODD.samples)), np.zeros(0, int), ODD)
    assert none.shape == (0, 1, ODD.mels, ODD.frames)


def golden():
    """Two columns each for two front ends: a rising tone over a hum, some noise, and a clipped stretch."""
    for sound in (WIDE, NARROW):
        time = np.arange(length(sound, 2)) / sound.rate
        wave = 0.4 * np.sin(2 * np.pi * (500 + 60_000 * time) * time) + 0.2 * np.sin(2 * np.pi * 50 * time)
        wave = wave + noise(len(time), level=0.02)
        wave[400:440] *= 5
        pcm = np.clip(np.round(wave * 32768), -32768, 32767).astype(int)
        keys = ("rate", "window", "hop", "fft", "mels", "low_hz", "high_hz", "preemphasis", "floor", "offset", "scale")
        settings_ = {key: getattr(sound, key) for key in keys}
        yield {"sound": settings_, "pcm16": pcm.tolist(), "mel": reference(pcm / 32768, sound).round(6).tolist()}


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in golden()) + "]\n")
