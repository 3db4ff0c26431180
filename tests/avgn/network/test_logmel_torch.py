"""The torch twin of the sound front end: same numbers as numpy, from operations that exporters know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avgn.config import SoundConfig
from avgn.logmel import column_count, filter_bank, log_mel
from avgn.network.logmel import LogMel, _full_precision

GOLDEN = Path(__file__).parents[2] / "data" / "logmel_golden.json"
WIDE = SoundConfig()
NARROW = SoundConfig(rate=16_000, window=400, hop=160, fft=512, mels=64, low_hz=60.0, high_hz=7_600.0, frames=96)
SOUNDS = pytest.mark.parametrize("sound", [WIDE, NARROW], ids=["32kHz", "16kHz"])


def signals(sound):
    time = np.arange(sound.samples) / sound.rate
    generator = np.random.default_rng(0)
    pulse = np.sign(np.sin(2 * np.pi * 120 * time))
    waves = {
        "silence": np.zeros_like(time),
        "noise": 0.1 * generator.standard_normal(len(time)),
        "whisper": 1e-4 * generator.standard_normal(len(time)),
        "low tone": np.sin(2 * np.pi * 100 * time),
        "high tone": 0.5 * np.sin(2 * np.pi * 6000 * time),
        "speech": 0.3 * pulse * np.sin(2 * np.pi * (300 + 1500 * time) * time) * (0.5 + 0.5 * np.sin(9 * time)),
        "sweep": 0.5 * np.sin(2 * np.pi * (100 + 1500 * time) * time),
        "clipped": np.clip(4 * np.sin(2 * np.pi * 440 * time), -1, 1),
        "overshoot": 1.5 * np.sin(2 * np.pi * 300 * time),
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


@SOUNDS
def test_agrees_with_numpy(sound):
    waves = signals(sound)
    mels = LogMel(sound)(torch.from_numpy(np.stack(list(waves.values())))).numpy()
    assert mels.shape == (len(waves), 1, sound.mels, sound.frames) and mels.dtype == np.float32
    for mel, (name, wave) in zip(mels, waves.items(), strict=True):
        error = np.abs(mel[0] - log_mel(wave, sound))
        assert error.max() < 3e-4 and np.quantile(error, 0.999) < 1e-4, name


def test_agrees_with_numpy_at_the_worst():
    """Full scale all over the band: the quietest bands carry what rounding leaves, most of it between the two steps."""
    time = np.arange(10 * WIDE.rate) / WIDE.rate
    wave = np.sin(2 * np.pi * (100 + 700 * time) * time).astype(np.float32)
    error = np.abs(LogMel(WIDE)(torch.from_numpy(wave[np.newaxis]))[0, 0].numpy() - log_mel(wave, WIDE))
    assert error.max() < 1e-3 and np.quantile(error, 0.999) < 4e-4


def test_agrees_with_the_golden_vectors():
    for case in json.loads(GOLDEN.read_text()):
        wave = torch.tensor(case["pcm16"], dtype=torch.float32)[None] / 32768
        mel = LogMel(SoundConfig(**case["sound"]))(wave)
        np.testing.assert_allclose(mel[0, 0].numpy(), case["mel"], atol=1e-4)


def test_agrees_with_the_short_time_fourier_transform_of_torch():
    wave = torch.from_numpy(signals(WIDE)["noise"])
    side = (WIDE.fft - WIDE.window) // 2  # torch.stft centres a short window in its frame
    emphasised = torch.nn.functional.pad(wave[1:] - 0.97 * wave[:-1], (side, side))
    hann = torch.hann_window(WIDE.window, periodic=False)
    spectrum = torch.stft(
        emphasised, WIDE.fft, WIDE.hop, WIDE.window, hann, center=False, onesided=True, return_complex=True
    )
    power = torch.tensor(filter_bank(WIDE)) @ spectrum.abs().square()
    expected = (torch.log(power + 1e-5) + 4.5) / 5
    np.testing.assert_allclose(LogMel(WIDE)(wave[None])[0, 0].numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("change", [{"hop": 200}, {"hop": 321}, {"window": 810}, {"fft": 2048}], ids=str)
def test_agrees_whatever_the_steps_of_the_transform_are(change):
    """32 phases, 8, one; windows that fill whole phases and such that do not."""
    sound = replace(WIDE, **change)
    wave = signals(sound)["speech"]
    mel = LogMel(sound)(torch.from_numpy(wave[None]))[0, 0].numpy()
    np.testing.assert_allclose(mel, log_mel(wave, sound), atol=1e-4)


def test_holds_few_constants():
    """In one step they would be 830 000: 3.3 MB, a fifth of all graphs in int8."""
    assert sum(buffer.numel() for buffer in LogMel(WIDE).buffers()) < 60_000


@pytest.mark.parametrize("samples", [801, 1120, 1121, 5000])
def test_takes_any_length(samples):
    assert LogMel(WIDE)(torch.zeros(2, samples)).shape == (2, 1, 128, column_count(samples, WIDE))


def test_stays_in_full_precision_under_autocast():
    model, wave = LogMel(WIDE), torch.from_numpy(signals(WIDE)["noise"][np.newaxis])
    expected = model(wave)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = model(wave)
    assert mel.dtype == torch.float32
    np.testing.assert_array_equal(mel.numpy(), expected.numpy())


def test_full_precision_is_set_and_given_back():
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    with pytest.raises(RuntimeError, match="inside"), _full_precision("cpu"):
        assert convolutions.fp32_precision == "ieee" and not torch.is_autocast_enabled("cpu")
        raise RuntimeError("inside")
    assert convolutions.fp32_precision == before


def test_gradients_reach_the_waveform():
    wave = torch.from_numpy(signals(NARROW)["noise"][np.newaxis]).requires_grad_()
    LogMel(NARROW)(wave).sum().backward()
    assert wave.grad is not None and torch.isfinite(wave.grad).all() and wave.grad.abs().max() > 0


def test_adds_nothing_to_checkpoints():
    assert not LogMel(WIDE).state_dict() and not list(LogMel(WIDE).parameters())


def test_exports_as_plain_operations():
    program = torch.export.export(LogMel(WIDE), (torch.zeros(1, WIDE.samples),))
    used = {str(node.target).split(".")[1] for node in program.graph.nodes if str(node.target).startswith("aten.")}
    plain = {"clamp", "slice", "mul", "sub", "unsqueeze", "conv1d", "chunk", "split", "add", "log", "div"}
    plain |= {"reshape", "view", "transpose", "cat"}
    assert "conv1d" in used and used <= plain
    wave = torch.from_numpy(signals(WIDE)["speech"][np.newaxis])
    np.testing.assert_array_equal(program.module()(wave).numpy(), LogMel(WIDE)(wave).numpy())
