"""The sound front end: a waveform becomes a log-mel picture, whole, in windows, or as it arrives.

With a = preemphasis and w = the symmetric Hann window, column t of a waveform x is

    y[i] = x[i + 1] - a * x[i]
    p[b] = |sum_j w[j] * y[t * hop + j] * exp(-2 pi i b j / fft)|^2        j in 0..window-1
    mel  = (log(filter_bank @ p + floor) + offset) / scale

Nothing is padded in time, so a column depends on its own window + 1 samples only: the same column comes out of a
whole clip, a snippet or a stream. Samples are floats in -1..1; what lies beyond (lossy decoders overshoot) is
clipped and NaN counts as silence, so the result is always finite. `avgn/network/logmel.py` is the torch twin.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from avgn.config import SoundConfig
from avgn.errors import InputError

Floats = NDArray[np.float32]

_BLOCK = 48  # columns at a time: small enough that BLAS does not wake its threads, which would wait busily
_GROUPS = 4  # bands are narrow: a product for each quarter of them, over its own bins, is 4 times less work than one


def mel_scale(hertz: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """HTK's mel scale, 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)


@lru_cache(maxsize=16)
def window(sound: SoundConfig) -> Floats:
    """The symmetric Hann window [window], read-only."""
    return _frozen(np.hanning(sound.window))


@lru_cache(maxsize=16)
def filter_bank(sound: SoundConfig) -> Floats:
    """Triangles on the mel scale, peaks of 1, not normalised by area: [M, fft // 2 + 1], read-only.

    As Kaldi's MelBanks: M + 2 edges equally spaced in mel between low_hz and high_hz, slopes straight in mel.
    """
    edges = np.linspace(mel_scale(sound.low_hz), mel_scale(sound.high_hz), sound.mels + 2)
    bins = mel_scale(np.arange(sound.fft // 2 + 1) * (sound.rate / sound.fft))
    left, peak, right = (edges[first : first + sound.mels, np.newaxis] for first in range(3))
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return _frozen(np.maximum(0.0, np.minimum(rising, falling)))


def column_count(samples: int, sound: SoundConfig) -> int:
    """How many whole columns `samples` samples give."""
    return max(0, 1 + (samples - 1 - sound.window) // sound.hop)


def log_mel(wave: NDArray[np.floating], sound: SoundConfig) -> Floats:
    """Log-mel columns of the waveform `wave` [n] (floats in -1..1): [M, max(0, 1 + (n - 1 - window) // hop)].

    Raises InputError for a waveform that is not one row of floating-point samples.
    """
    return _columns(_clean(wave, dimensions=1), sound)


def log_mel_windows(waves: NDArray[np.floating], starts: NDArray[np.integer], sound: SoundConfig) -> Floats:
    """Log-mel pictures of T snippets: `waves` [T,S] and their first samples in the clip `starts` [T] -> [T,1,M,F].

    Windows that overlap by whole hops and hold the same samples there share their columns: each is computed once.
    Raises InputError for arrays of other shapes or kinds.
    """
    samples = _clean(waves, dimensions=2)
    firsts = np.asarray(starts)
    if samples.shape[1] != sound.samples or firsts.shape != samples.shape[:1] or firsts.dtype.kind not in "iu":
        raise InputError(
            f"sound windows: expected waves [T,{sound.samples}] and T whole-numbered starts, found {samples.shape} "
            f"and {firsts.dtype} {firsts.shape}; cut the windows with the same configuration."
        )
    pictures = np.empty((len(samples), 1, sound.mels, sound.frames), dtype=np.float32)
    for run in _runs(samples, firsts, sound):
        begin = int(firsts[run[0]])
        mel = _columns(_joined(samples, firsts, run), sound)
        for index in run:
            column = (int(firsts[index]) - begin) // sound.hop
            pictures[index, 0] = mel[:, column : column + sound.frames]
    return pictures


class LogMelStream:
    """Log-mel columns of sound that arrives in chunks of any size; the very columns that `log_mel` gives for all of it.

    Keeps at most `window` samples between pushes. `columns` counts those given since the start or the last `reset`;
    column c covers the samples c * hop .. c * hop + window.
    """

    def __init__(self, sound: SoundConfig) -> None:
        self._sound = sound
        self.reset()

    def reset(self) -> None:
        """Forget all sound heard so far (after a gap, so that no column spans it)."""
        self.columns = 0
        self._tail: Floats = np.empty(0, dtype=np.float32)

    def push(self, samples: NDArray[np.floating]) -> Floats:
        """Take the next samples [n] (floats in -1..1, n may be 0) and return the columns they finish: [M, 0 or more].

        Raises InputError as `log_mel` does; the stream is then as it was.
        """
        wave = np.concatenate((self._tail, _clean(samples, dimensions=1)))
        mel = _columns(wave, self._sound)
        self._tail = wave[mel.shape[1] * self._sound.hop :].copy()  # a view would keep the whole chunk alive
        self.columns += mel.shape[1]
        return mel


class LogMelWindow:
    """Log-mel pictures of a window that moves on over a stream; columns that the window before had are not made again.

    Which columns those are is seen from the samples themselves, so that it never matters how the stream was cut.
    """

    def __init__(self, sound: SoundConfig) -> None:
        self._sound = sound
        self._wave: Floats = np.empty(0, dtype=np.float32)
        self._start = 0
        self._mel: Floats = np.empty((sound.mels, 0), dtype=np.float32)

    def __call__(self, wave: NDArray[np.floating], start: int) -> Floats:
        """The window `wave` [S] whose first sample is `start` on the stream's grid -> [1,M,F].

        Raises InputError as `log_mel` does, and for a window of another length.
        """
        sound, clean = self._sound, _clean(wave, dimensions=1)
        if len(clean) != sound.samples:
            raise InputError(f"sound window: expected {sound.samples} samples, found {len(clean)}.")
        ahead = (start - self._start) // sound.hop
        moved = ahead * sound.hop
        shared = start - self._start == moved and 0 <= ahead < sound.frames and len(self._wave) > 0
        if shared and np.array_equal(self._wave[moved:], clean[: sound.samples - moved]):
            kept = sound.frames - ahead
            mel = np.concatenate((self._mel[:, ahead:], _columns(clean[kept * sound.hop :], sound)), axis=1)
        else:
            mel = _columns(clean, sound)
        self._wave, self._start, self._mel = clean.copy(), start, mel  # a view would follow the caller's buffer
        return mel[np.newaxis].copy()


def _frozen(values: NDArray[np.floating]) -> Floats:
    """float32 and read-only, since caches hand the same array to everyone."""
    array = values.astype(np.float32)
    array.flags.writeable = False
    return array


def _clean(wave: NDArray[np.floating], dimensions: int) -> Floats:
    """A contiguous float32 copy, within -1..1 and without NaN."""
    array = np.asarray(wave)
    if array.ndim != dimensions or array.dtype.kind != "f":
        raise InputError(
            f"sound: expected floating-point samples in -1..1 with {dimensions} dimension(s), "
            f"found {array.dtype} {array.shape}; mix to mono and divide whole numbers by their full scale."
        )
    clean = np.clip(array, -1.0, 1.0).astype(np.float32, order="C", copy=False)
    clean[np.isnan(clean)] = 0.0
    return clean


@lru_cache(maxsize=16)
def _band_groups(sound: SoundConfig) -> tuple[tuple[slice, slice, Floats], ...]:
    """The filter bank cut into groups of neighbouring bands: (bands, bins they cover, that part of the bank)."""
    bank = filter_bank(sound)
    groups = []
    for part in np.array_split(np.arange(sound.mels), min(_GROUPS, sound.mels)):
        bands = slice(int(part[0]), int(part[-1]) + 1)
        covered = np.flatnonzero(bank[bands].any(axis=0))
        bins = slice(int(covered[0]), int(covered[-1]) + 1) if covered.size else slice(0, 1)
        groups.append((bands, bins, _frozen(bank[bands, bins])))
    return tuple(groups)


def _columns(wave: Floats, sound: SoundConfig) -> Floats:
    """The formula at the top, in blocks of columns, for a clean waveform [n]."""
    count = column_count(len(wave), sound)
    mel = np.empty((sound.mels, count), dtype=np.float32)
    if not count:
        return mel
    emphasised = wave[1:] - np.float32(sound.preemphasis) * wave[:-1]
    step = emphasised.itemsize
    frames = as_strided(emphasised, (count, sound.window), (sound.hop * step, step), writeable=False)
    padded = np.zeros((min(_BLOCK, count), sound.fft), dtype=np.float32)
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        np.multiply(frames[begin:end], window(sound), out=padded[: end - begin, : sound.window])
        spectrum = np.fft.rfft(padded[: end - begin])
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        for bands, bins, bank in _band_groups(sound):
            np.matmul(bank, power[:, bins].T, out=mel[bands, begin:end])
    mel += np.float32(sound.floor)
    np.log(mel, out=mel)
    mel += np.float32(sound.offset)
    mel /= np.float32(sound.scale)
    return mel


def _runs(waves: Floats, starts: NDArray[np.integer], sound: SoundConfig) -> list[list[int]]:
    """Indices of the windows, grouped into runs that each hold one unbroken stretch of sound, in order of start."""
    runs: list[list[int]] = []

    def continues(last: int, index: int) -> bool:
        ahead = int(starts[index]) - int(starts[last])
        if ahead % sound.hop or ahead >= sound.frames * sound.hop:
            return False
        return np.array_equal(waves[last, ahead:], waves[index, : sound.samples - ahead])

    for index in map(int, np.argsort(starts, kind="stable")):
        run = next((run for run in reversed(runs) if continues(run[-1], index)), None)
        if run is None:
            runs.append([index])
        else:
            run.append(index)
    return runs


def _joined(waves: Floats, starts: NDArray[np.integer], run: list[int]) -> Floats:
    """The stretch of sound that the windows of `run` cover together."""
    pieces = [waves[run[0]]]
    for last, index in pairwise(run):
        ahead = int(starts[index]) - int(starts[last])
        pieces.append(waves[index, waves.shape[1] - ahead :])
    return np.concatenate(pieces)
