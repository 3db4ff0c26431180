"""The sound front end in torch: the same columns as `avgn/logmel.py`, from operations that every exporter knows.

For training on a GPU and for the `logmel` graph of devices without an FFT of their own. The windowed Fourier transform
is done in two steps, as fast ones are, each of them a convolution; no STFT, no complex numbers. With R phases (sample
32 m + r of a column is the m-th of phase r; R = 32 where hop and fft can be divided by it) and fft = R * M,

    first[r,k]  = sum_m w[R m + r] y[R m + r] exp(-2 pi i (R m + r) k / fft)        k in 0..M/2
    X[k + M h]  = sum_r first[r,k] exp(-2 pi i r h / R)                             h in 0..R-1

All other bins mirror these. In one step it would take five times the work and fifteen times the constants. The price
is accuracy in quiet bands beside loud ones, since the phases hold the loud ones aliased: full scale moves them by up to
6e-4 (in one step 2e-4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.backends import cudnn

from avgn.config import SoundConfig
from avgn.logmel import filter_bank, window

_PHASES = 32  # at most; about the root of the FFT's length is least work
_GROUPS = 4  # of bands, which are narrow: each group has a product of its own, over the bins that it needs


class LogMel(nn.Module):
    """Waveforms `sound` [N,S] in -1..1 -> log-mel pictures [N,1,M,F]. No parameters, nothing in checkpoints.

    Any length is taken: n samples give 1 + (n - 1 - window) // hop columns. Always computed in float32, whatever
    autocast or TF32 would make of it: the powers of quiet and loud bands lie ten decades apart. Samples beyond -1..1
    are clipped as in numpy, but NaN is the caller's to remove: it spreads to the columns that hold it.
    """

    first: Tensor
    second: Tensor

    def __init__(self, sound: SoundConfig) -> None:
        super().__init__()
        self.sound = sound
        self.phases = math.gcd(sound.hop, sound.fft, _PHASES)
        self.register_buffer("first", _constant(_first(sound, self.phases)), persistent=False)
        self.register_buffer("second", _constant(_second(self.phases)), persistent=False)
        self._spans = []
        for number, (first, bank) in enumerate(_banks(sound, self.phases)):
            self._spans.append(slice(first, first + bank.shape[1]))
            self.register_buffer(f"bank{number}", _constant(bank), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """[N,S] -> [N,1,M,F], float32."""
        if sound.dtype != torch.float32:
            sound = sound.float()
        if sound.is_cuda or torch.is_autocast_enabled(sound.device.type):
            with _full_precision(sound.device.type):
                return self._log_mel(sound)
        return self._log_mel(sound)

    def _log_mel(self, sound: Tensor) -> Tensor:
        clipped = sound.clamp(-1.0, 1.0)
        emphasised = clipped[:, 1:] - self.sound.preemphasis * clipped[:, :-1]
        phases = self._phases(emphasised)
        parts = F.conv1d(phases, self.first, stride=self.sound.hop // self.phases, groups=self.phases)
        columns = parts.shape[-1]
        # channels are (phase, real or imaginary, k): one matrix for all k, when k lies beside the columns
        spectrum = F.conv1d(parts.reshape(len(sound), 2 * self.phases, -1), self.second)
        real, imaginary = (spectrum * spectrum).chunk(2, dim=1)
        power = (real + imaginary).reshape(len(sound), -1, columns)
        banks = [self.get_buffer(f"bank{number}") for number in range(len(self._spans))]
        mel = torch.cat([F.conv1d(power[:, span], bank) for span, bank in zip(self._spans, banks, strict=True)], 1)
        return ((torch.log(mel + self.sound.floor) + self.sound.offset) / self.sound.scale).unsqueeze(1)

    def _phases(self, samples: Tensor) -> Tensor:
        """The phases of what whole columns need: [N,n] -> [N,R,n/R]. Zeros at the end meet a window of zeros."""
        columns = 1 + (samples.shape[1] - self.sound.window) // self.sound.hop
        needed = self.sound.window + (columns - 1) * self.sound.hop
        if needed < samples.shape[1]:
            samples = samples[:, :needed]
        if needed % self.phases:
            samples = F.pad(samples, (0, -needed % self.phases))
        return samples.reshape(len(samples), -1, self.phases).transpose(1, 2)


def _constant(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _first(sound: SoundConfig, phases: int) -> NDArray[np.float64]:
    """Of each phase the windowed cosines, then sines, of the first M/2 + 1 bins: [R * 2 * (M/2 + 1), 1, samples]."""
    count = -(-sound.window // phases)
    bins = sound.fft // phases // 2 + 1
    shape = np.zeros(count * phases)
    shape[: sound.window] = window(sound)
    kernels = _turned(np.arange(count * phases), np.arange(bins), sound.fft) * shape[:, np.newaxis]
    return kernels.reshape(2, count, phases, bins).transpose(2, 0, 3, 1).reshape(-1, 1, count)


def _second(phases: int) -> NDArray[np.float64]:
    """What joins the phases: from (phase, real or imaginary) to (real or imaginary, h), [2 R, 2 R, 1]."""
    real, imaginary = _turned(_order(phases), np.arange(phases), phases)
    rows = np.stack([[real, -imaginary], [imaginary, real]])  # [out, in, h, r]
    return rows.transpose(0, 2, 3, 1).reshape(2 * phases, 2 * phases, 1)


def _order(phases: int) -> NDArray[np.int64]:
    """The h as they stand among the channels, 0, R-1, 1, R-2, …: the second of two mirrors the bins after the first."""
    order = np.arange(phases)
    order[::2], order[1::2] = np.arange((phases + 1) // 2), phases - 1 - np.arange(phases // 2)
    return order


def _banks(sound: SoundConfig, phases: int) -> list[tuple[int, NDArray[np.float64]]]:
    """Filters over (h, k), each bin of the spectrum once; of each group its first channel, [bands, channels, 1]."""
    length = sound.fft // phases
    bins = (_order(phases)[:, np.newaxis] * length + np.arange(length // 2 + 1)).ravel()
    bins = np.minimum(bins, sound.fft - bins)  # the upper half mirrors the lower
    once = np.zeros(len(bins))
    once[np.unique(bins, return_index=True)[1]] = 1.0
    found = []
    for bank in np.array_split(filter_bank(sound)[:, bins] * once, min(_GROUPS, sound.mels)):
        used = np.flatnonzero(bank.any(axis=0))
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        found.append((first, bank[:, first : last + 1, np.newaxis]))
    return found


def _turned(samples: NDArray[np.int64], bins: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Real and imaginary parts of exp(-2 pi i sample bin / length): [2, samples, bins]."""
    turns = np.outer(samples, bins) % length  # whole turns taken out while still exact
    angles = (2.0 * np.pi / length) * turns
    return np.stack([np.cos(angles), -np.sin(angles)])


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """Autocast off and cuDNN's convolutions in true float32 (TF32, its default, keeps 10 bits of the mantissa)."""
    convolutions = cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        convolutions.fp32_precision = before
