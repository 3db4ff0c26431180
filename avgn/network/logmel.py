"""The sound front end in torch: the same columns as `avgn/logmel.py`, from operations that every exporter knows.

For training on a GPU and for the `logmel` graph of devices without an FFT of their own: the windowed Fourier
transform is a strided convolution, real and imaginary kernels side by side; no STFT, no complex numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional as F

from avgn.config import SoundConfig
from avgn.logmel import filter_bank, window


class LogMel(nn.Module):
    """Waveforms `sound` [N,S] in -1..1 -> log-mel pictures [N,1,M,F]. No parameters, nothing in checkpoints.

    Any length is taken: n samples give 1 + (n - 1 - window) // hop columns. Always computed in float32, whatever
    autocast or TF32 would make of it: the powers of quiet and loud bands lie ten decades apart. Samples beyond -1..1
    are clipped as in numpy, but NaN is the caller's to remove: it spreads to the columns that hold it.
    """

    kernels: Tensor
    bank: Tensor

    def __init__(self, sound: SoundConfig) -> None:
        super().__init__()
        self.sound = sound
        bank = filter_bank(sound)
        bins = np.flatnonzero(bank.any(axis=0))  # those below low_hz and above high_hz are never computed
        self.register_buffer("kernels", torch.tensor(_kernels(sound, bins)), persistent=False)
        self.register_buffer("bank", torch.tensor(bank[:, bins, np.newaxis]), persistent=False)

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
        spectrum = F.conv1d(emphasised.unsqueeze(1), self.kernels, stride=self.sound.hop)  # [N,2B,F]
        real, imaginary = (spectrum * spectrum).chunk(2, dim=1)
        mel = F.conv1d(real + imaginary, self.bank)  # the product with the bank, as a pointwise convolution
        return ((torch.log(mel + self.sound.floor) + self.sound.offset) / self.sound.scale).unsqueeze(1)


def _kernels(sound: SoundConfig, bins: NDArray[np.int64]) -> NDArray[np.float32]:
    """Windowed cosines, then windowed sines, of the B frequencies `bins`: [2B, 1, window]."""
    turns = np.outer(bins, np.arange(sound.window)) % sound.fft  # whole turns taken out while still exact
    angles = (2.0 * np.pi / sound.fft) * turns
    kernels = np.concatenate((np.cos(angles), -np.sin(angles))) * window(sound)
    return kernels[:, np.newaxis].astype(np.float32)


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
