"""Sound at another rate, as it arrives, by a ratio that may change a little all the time.

A windowed sinc of 32 zero crossings (Kaiser, beta 9), as FFmpeg's resampler has, which files go through: what the nets
hear live has the same upper edge. FFmpeg's own cannot follow a drifting clock through its Python binding.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_CROSSINGS, _BETA, _CUTOFF = 32, 9.0, 0.97
_PHASES = 2048  # between samples, the nearest is taken (FFmpeg: of 1024)
_BLOCK = 4096  # outputs at a time, so that the gathered windows stay small


class StreamResampler:
    """Mono samples in, mono samples out; `step` is input samples per output sample.

    `position` is the input sample (counted from 0, fractional) at which the next output lies.
    """

    def __init__(self, step: float) -> None:
        self._table = _kernel(round(step, 3))
        self._half = self._table.shape[1] // 2
        self._held = np.zeros(self._half, np.float32)
        self._first = -self._half  # index of the first input held; what lies before the start is silence
        self.position = 0.0

    @property
    def ahead(self) -> int:
        """Input samples that must follow an output's position before it can be made."""
        return self._half

    def skip(self, samples: float) -> None:
        """Leave out so many input samples."""
        self.position += samples

    def push(self, samples: Floats, step: float) -> Floats:
        """Take input samples [n] and give the outputs that they finish, `step` apart."""
        self._held = np.concatenate((self._held, samples))
        end = self._first + len(self._held)
        # rounding may put off an output until the next push, but never asks for an input that is not there
        count = max(0, int(np.floor((end - self._half - self.position) / step - 1e-6)) + 1)
        made = [self._made(first, min(count - first, _BLOCK), step) for first in range(0, count, _BLOCK)]
        self.position += count * step
        drop = min(max(0, int(self.position) - self._half + 1 - self._first), len(self._held))
        self._held, self._first = self._held[drop:].copy(), self._first + drop
        return np.concatenate(made) if made else np.empty(0, np.float32)

    def _made(self, first: int, count: int, step: float) -> Floats:
        at = self.position + step * np.arange(first, first + count)
        whole = np.floor(at)
        kernel = self._table[np.rint((at - whole) * _PHASES).astype(np.intp)]
        size, pace = self._held.size, self._held.itemsize
        windows = as_strided(self._held, (size - 2 * self._half + 1, 2 * self._half), (pace, pace), writeable=False)
        taken = windows[whole.astype(np.intp) - self._half + 1 - self._first]
        made: Floats = np.einsum("nt,nt->n", taken, kernel)
        return made


@lru_cache(maxsize=8)
def _kernel(step: float) -> Floats:
    """A row of taps for each fraction of a sample: [phases + 1, taps]."""
    cutoff = 1.0 if step <= 1.0 else _CUTOFF / step  # at the same rate, whole positions give the very same samples
    half = int(np.ceil(_CROSSINGS / 2 / cutoff))
    away = np.arange(_PHASES + 1)[:, np.newaxis] / _PHASES - np.arange(1 - half, half + 1)
    shape = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / half) ** 2)))
    rows = np.sinc(away * cutoff) * shape
    table: Floats = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    return table
