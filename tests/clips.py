"""Clips with known content, written by PyAV: every frame carries its number, the sound is a known function of time.

The picture is a grid of 4 x 8 cells that survives any codec: corner colours tell which way is up, the cells of the two
middle rows are the sixteen bits of the frame's number. The sound is smooth noise, so that a window of it fits at one
place only and correlation tells where.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 4, 8
CORNERS = {(0, 0): (220, 30, 30), (0, 7): (30, 200, 30), (3, 0): (30, 30, 220), (3, 7): (220, 220, 30)}
_NOISE_RATE = 4000
_NOISE = np.random.default_rng(7).uniform(-0.5, 0.5, 400 * _NOISE_RATE)


def drawn(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame `number` (0..65535) as [H, W, 3] RGB; `size` is (width, height)."""
    cells = np.full((ROWS, COLUMNS, 3), 90, np.uint8)
    for cell, colour in CORNERS.items():
        cells[cell] = colour
    bits = [number >> bit & 1 for bit in range(16)]
    cells[1:3] = np.where(np.array(bits).reshape(2, 8, 1), 235, 20)
    rows = np.arange(size[1]) * ROWS // size[1]
    columns = np.arange(size[0]) * COLUMNS // size[0]
    return cells[rows][:, columns]


def number_of(squashed: NDArray[np.uint8]) -> int:
    """The number in an upright picture [3, S, S]; -1 where the corner colours say that it is not upright."""
    side = squashed.shape[1]
    high, wide = side // ROWS, side // COLUMNS
    cells = squashed[:, : high * ROWS, : wide * COLUMNS].astype(np.float64).reshape(3, ROWS, high, COLUMNS, wide)
    means = cells[:, :, high // 4 : -(high // 4), :, wide // 4 : -(wide // 4)].mean(axis=(2, 4))
    if any(np.abs(means[:, row, column] - colour).max() > 90 for (row, column), colour in CORNERS.items()):
        return -1
    bits = means[:, 1:3].mean(axis=0).reshape(16) > 128
    return int((bits * (1 << np.arange(16))).sum())


def known_sound(times: NDArray[np.float64]) -> NDArray[np.float32]:
    """The sound at `times` (seconds): noise below 2 kHz within -0.5..0.5; silence before 0."""
    place = np.maximum(times, 0.0) * _NOISE_RATE
    index = place.astype(np.int64)
    values = _NOISE[index] + (place - index) * (_NOISE[index + 1] - _NOISE[index])
    return np.where(times >= 0, values, 0.0).astype(np.float32)


def lag_of(window: NDArray[np.float32], start: int, rate: int, reach: float = 0.3) -> tuple[float, float]:
    """(seconds by which `window` is late against the known sound at sample `start`, correlation there)."""
    margin = round(reach * rate)
    truth = known_sound((start + np.arange(-margin, len(window) + margin)) / rate)
    length = len(truth) + len(window)
    product = np.fft.irfft(np.fft.rfft(truth, length) * np.fft.rfft(window, length).conj(), length)[: 2 * margin + 1]
    best = int(np.argmax(product))
    lag = margin - best
    there = truth[best : best + len(window)]
    return lag / rate, float(np.corrcoef(window, there)[0, 1])


def write_clip(
    path: Path,
    seconds: float = 4.0,
    *,
    fps: float = 10.0,
    size: tuple[int, int] | None = (96, 64),
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    start: float = 0.0,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    keys: int = 12,
    pixels: str = "yuv420p",
    sound: str | None = "aac",
    rate: int = 44100,
    layout: str = "mono",
    sound_form: str = "fltp",
    sound_seconds: float | None = None,
    sound_start: float = 0.0,
    gap: tuple[float, float] | None = None,
    form: str | None = None,
    options: dict[str, str] | None = None,
) -> list[float]:
    """Write a clip and return the timestamps of its frames, frame n being `drawn(n)`.

    No picture where `size` is None, no sound where `sound` is None. `rotation` is that of the display matrix, degrees
    anticlockwise; shown by it, frames are upright. `times` makes the frame rate vary. `start` and `sound_start` shift
    a track on the file's clock, and the sound is `known_sound` of that clock. `gap` leaves out the packets of the
    sound between two times.
    """
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        stamps = list(times) if times is not None else [index / fps for index in range(round(seconds * fps))]
        stamps = [start + stamp for stamp in stamps] if size else []
        picture = _picture_stream(container, codec, fps, size, pixels, aspect, keys, rotation) if size else None
        track = container.add_stream(sound, rate=rate, layout=layout) if sound else None
        if track is not None:
            track.codec_context.format = sound_form
        if picture is not None and size is not None:
            for number, stamp in enumerate(stamps):
                stored = np.ascontiguousarray(np.rot90(drawn(number, size), -(rotation or 0) // 90))
                frame = av.VideoFrame.from_ndarray(stored, "rgb24").reformat(format=pixels, threads=1)
                frame.time_base, frame.pts = Fraction(1, 90000), round(stamp * 90000)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if track is not None:
            _write_sound(container, track, sound_seconds or seconds, sound_start, gap)
    return stamps


def _picture_stream(container, codec, fps, size, pixels, aspect, keys, rotation):
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height = size[::-1] if rotation in (90, -90) else size
    stream.pix_fmt = pixels
    stream.codec_context.time_base = Fraction(1, 90000) if codec != "mpeg4" else Fraction(1, round(fps))
    stream.codec_context.gop_size = keys
    if codec == "libx264":
        stream.options = {"preset": "ultrafast" if keys == 1 else "veryfast", "crf": "20", "threads": "1"}
    if aspect is not None:
        stream.codec_context.sample_aspect_ratio = aspect
    if rotation is not None:
        stream.set_display_rotation(rotation)
    return stream


def _write_sound(container, track, seconds, start, gap):
    rate, block, context = track.codec_context.sample_rate, 1024, track.codec_context
    channels, form = context.layout.nb_channels, context.format.name
    for first in range(0, round(seconds * rate), block):
        count = min(block, round(seconds * rate) - first)
        mono = known_sound(start + (first + np.arange(count)) / rate)
        if form.startswith("dbl"):
            mono = mono.astype(np.float64)
        elif not form.startswith("flt"):
            mono = np.round(mono * 127 + 128).astype(np.uint8) if form.startswith("u8") else mono
            mono = np.round(mono * 32767).astype(np.int16) if form.startswith("s16") else mono
        values = np.repeat(mono[None], channels, axis=0)
        if not form.endswith("p"):
            values = np.ascontiguousarray(values.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(values, format=form, layout=context.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate) + first
        _mux_sound(container, track.encode(frame), gap)
    _mux_sound(container, track.encode(None), gap)


def _mux_sound(container, packets, gap):
    for packet in packets:
        time = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
        if gap is None or not gap[0] <= time < gap[1]:
            container.mux(packet)
