"""The sound track of a file: mono samples on the clip's own grid, by timestamp, with as little decoding as possible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from avgn.tracks import Kind, Track, plausible


class SoundTrack(Track):
    """Mono samples of the clip's own sample grid, whatever the file's rate, layout and gaps."""

    kind: Kind = "audio"
    # A gap of this many seconds is not decoded but dropped, or jumped over by a seek.
    dropped_gap, sought_gap = 1.5, 30.0
    # Decoders (the bit reservoir of MP3, the overlap of AAC and Opus) and the resampler need a run-up.
    run_up = 0.5
    # Timestamps are believed where they differ this much from the count of samples; less is rounding.
    jitter = 0.01

    def __init__(self, path: str | Path, origin: float, rate: int) -> None:
        self.rate = rate
        super().__init__(path, origin)

    def _open(self) -> None:
        super()._open()
        self._from, self._dropping = -np.inf, False
        self._blocks = self._resampled()
        self._held: tuple[int, NDArray[np.float32]] | None = None
        self._position: int | None = None

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Samples [start, stop) in -1..1, and where there was sound; call with rising `start`."""
        self._go_near(start)
        samples, there = np.zeros(stop - start, np.float32), np.zeros(stop - start, np.bool_)
        while (block := self._held or next(self._blocks, None)) is not None:
            first, values = block
            low, high = max(first, start), min(first + len(values), stop)
            if low < high:
                samples[low - start : high - start] = values[low - first : high - first]
                there[low - start : high - start] = True
            self._position = first + len(values)
            self._held = block if self._position >= stop else None
            if self._held:
                break
        samples[np.isnan(samples)] = 0.0
        return np.clip(samples, -1.0, 1.0, out=samples), there

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All sound from here on: the first sample of each block on the clip's grid, and the block."""
        return self._blocks

    def _go_near(self, start: int) -> None:
        gap = (start - (self._position or 0)) / self.rate
        if gap <= self.dropped_gap:
            return
        self._from = start / self.rate - self.run_up
        if gap <= self.sought_gap:
            return
        self._held = None
        if self.seek(self._from):
            self._blocks = self._resampled()
            self._held = next(self._blocks, None)
        if self._held is None or self._held[0] > start:
            self.reopen()
            self._from = start / self.rate - self.run_up

    def wants(self, packet: av.Packet) -> bool:
        """Drop what ends before the run-up to the next window; forget the past after such a gap."""
        if packet.pts is None:
            return True
        end = (packet.pts + (packet.duration or 0)) * self.tick - self.origin
        drop = end < self._from - self.period
        if self._dropping and not drop:
            self.context.flush_buffers()
        self._dropping = drop
        return not drop

    def _resampled(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(first sample, samples) of each block. A gap in the timestamps moves the next block on."""
        run: SoundRun | None = None
        for time, frame in plausible(self._timed()):
            if run is None or not run.continues(frame, time, self.jitter):
                if run is not None:
                    yield from self._converted(run, None)
                run = SoundRun(frame, time, self.rate)
            yield from self._converted(run, frame)
        if run is not None:
            yield from self._converted(run, None)

    def _timed(self) -> Iterator[tuple[float, av.AudioFrame]]:
        """Frames with the time at which they begin; without a timestamp, where the one before ends."""
        following = 0.0
        for frame in self.decoded():
            time = frame.pts * self.tick - self.origin if frame.pts is not None else following
            following = time + frame.samples / frame.sample_rate
            yield time, frame

    def _converted(self, run: SoundRun, frame: av.AudioFrame | None) -> list[tuple[int, NDArray[np.float32]]]:
        try:
            return run.convert(frame)
        except (av.FFmpegError, ValueError, MemoryError):
            self.damaged += frame is not None
            return []


class SoundRun:
    """Sound without a gap: one resampler, and a count of samples that says where each one lies."""

    def __init__(self, frame: av.AudioFrame, time: float, rate: int) -> None:
        self.time, self._position = time, round(time * rate)
        self._form = _form(frame)
        # Channels are averaged: the resampler's default keeps their power, which clips what is loud in all of them.
        # It knows no way to mix channels without a known place; those are resampled apart and averaged afterwards.
        layout = None if "channels" in frame.layout.name else "mono"
        # Packed samples: of planar frames with more than 8 channels PyAV reads planes that are not there, and crashes.
        self._resampler = av.AudioResampler("flt", layout, rate, options={"rematrix_maxval": "1.0"})

    def same_form(self, frame: av.AudioFrame) -> bool:
        """True where `frame` has the format, layout and rate of the run."""
        return _form(frame) == self._form

    def continues(self, frame: av.AudioFrame, time: float, jitter: float) -> bool:
        """True where `frame` has the form of the run and begins where the run ends, within `jitter` seconds."""
        return self.same_form(frame) and abs(time - self.time) <= jitter

    def convert(self, frame: av.AudioFrame | None) -> list[tuple[int, NDArray[np.float32]]]:
        """Take a frame, or None at the end; give the blocks that are ready."""
        if frame is not None:
            self.time += frame.samples / frame.sample_rate
        blocks = []
        for block in self._resampler.resample(frame):
            if block is not None:
                samples = np.asarray(block.to_ndarray(), np.float32).reshape(-1, block.layout.nb_channels)
                mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
                blocks.append((self._position, mono))
                self._position += block.samples
        return blocks


def _form(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
