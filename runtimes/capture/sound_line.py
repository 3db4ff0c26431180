"""Blocks of a microphone become sound on our clock's grid: resampled, its drift corrected, its holes left free."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from avgn.config import SoundConfig
from runtimes.capture.clock import GAP, DeviceClock
from runtimes.capture.events import SoundEvent
from runtimes.capture.resample import StreamResampler
from runtimes.capture.ring import SoundRing

Count = Callable[..., None]

# Seconds of sound that are kept.
KEPT = 8.0
# No microphone in a room is this quiet (-86 dB of full scale): it is muted, or its cable is out.
SILENCE = 5e-5
# Misplaced sound is brought to its place within some such seconds, at most so much faster or slower.
_PULL, _MOST_PULL = 2.5, 0.015


class SoundLine:
    """The sound of one microphone on our clock."""

    def __init__(self, sound: SoundConfig, count: Count) -> None:
        self.ring = SoundRing(round(max(KEPT, 4 * sound.seconds) * sound.rate))
        self._out, self._count = sound.rate, count
        self._clock, self._rate, self._broken = DeviceClock(), 0, False
        self._offset = 0.0

    @property
    def end(self) -> float | None:
        """When the newest sound ends; None before there is any."""
        return self.ring.end / self._out if self.ring.end > self.ring.first else None

    @property
    def offset(self) -> float:
        """Seconds that the sound on the grid lies behind (+) where the clocks say it belongs."""
        return self._offset

    @property
    def drift_ppm(self) -> float:
        """How much faster (+) than ours the microphone's clock runs."""
        return self._clock.drift_ppm

    def break_off(self) -> None:
        """Say that the device is gone: what comes next, if anything, does not follow on what was."""
        self._broken = True

    def take(self, event: SoundEvent) -> bool:
        """Put a block of sound in its place; returns whether it is digital silence."""
        if event.rate != self._rate:
            self._begin(event)
        samples = np.nan_to_num(np.clip(event.samples, -1.0, 1.0), nan=0.0)
        silent = bool(np.abs(samples).max(initial=0.0) <= SILENCE)
        milliseconds = len(event.samples) / event.rate * 1e3
        self._count(sound_ms=milliseconds, silent_ms=milliseconds * silent, xruns=int(event.overflow))
        self._date(event)
        self._put(samples)
        return silent

    def flush(self) -> None:
        """Give what the resampler still holds, at the end of a recording."""
        if self._rate:
            rest = self._resampler.push(np.zeros(self._resampler.ahead, np.float32), self._step(0.0))
            self.ring.write(self._next, rest)

    def _begin(self, event: SoundEvent) -> None:
        """Start counting anew, at another rate."""
        self._count(rate_changes=int(self._rate > 0))
        self._rate, self._samples, self._broken = event.rate, 0, False
        self._clock, self._resampler = DeviceClock(), StreamResampler(event.rate / self._out)
        begun = round((event.time - len(event.samples) / event.rate) * self._out)
        self._next = max(begun, self.ring.end) if self.ring.end > self.ring.first else begun

    def _date(self, event: SoundEvent) -> None:
        """Learn from the block when the microphone's samples are."""
        self._samples += len(event.samples)
        date = self._samples / self._rate
        if self._broken or event.overflow or event.after_gap:
            lost = self._clock.resume(date, event.time)
            if not self._broken:
                self._count(gaps=int(not event.overflow), dropped_sound_ms=lost * 1e3)
            self._broken = False
        self._clock.observe(date, event.time)
        if (lost := self._clock.found_gap()) > 0:
            self._count(gaps=1, dropped_sound_ms=lost * 1e3)

    def _put(self, samples: NDArray[np.float32]) -> None:
        early = self._clock.time(self._resampler.position / self._rate) - self._next / self._out
        if early > GAP:
            self._next += round(early * self._out)
            early = 0.0
        elif early < -GAP:
            self._resampler.skip(-early * self._rate)
            self._count(dropped_sound_ms=-early * 1e3)
            early = 0.0
        made = self._resampler.push(samples, self._step(early))
        self.ring.write(self._next, made)
        self._next += len(made)
        self._offset = self._next / self._out - self._clock.time(self._resampler.position / self._rate)

    def _step(self, early: float) -> float:
        """Input samples for each output sample, fewer where the sound lies too early on the grid."""
        pull = float(np.clip(early / _PULL, -_MOST_PULL, _MOST_PULL))
        return self._rate * self._clock.rate / self._out * (1.0 - pull)
