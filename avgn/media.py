"""The T snippets of a video or sound file: frames and sound by timestamp, from anything that FFmpeg reads.

Only local files are opened, nothing is guessed from frame counts, and what is damaged is left out. How long a file
lasts is learnt from its packets, which takes milliseconds, and not from its header, which may be wrong or missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avgn.config import Config, SoundConfig
from avgn.errors import InputError
from avgn.picture_track import PictureTrack
from avgn.pictures import FramePicture, display_matrix, display_size, lies
from avgn.snippets import Clip, Picture, centred_start, snippet_times, sound_start
from avgn.sound_track import SoundTrack
from avgn.tracks import UNREADABLE, Kind, best_stream, discard_others, frame_period, open_container, plausible

_KINDS: tuple[Kind, ...] = ("video", "audio")
# Longer files are sought in for their last packets; if a track has none in that tail, all packets are read after all.
_LONG, _TAIL = 120.0, 10.0
_LONGEST = 366 * 86400.0


@dataclass(frozen=True)
class MediaInfo:
    """What is in a file; None where it has no such track. Width and height are as shown: upright, square pixels."""

    path: str
    format: str
    duration: float
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    """Degrees that the stored picture is turned clockwise to stand upright: 0, 90, 180, 270."""
    frame_rate: float | None = None
    video_codec: str | None = None
    sound_rate: int | None = None
    channels: int | None = None
    audio_codec: str | None = None


@dataclass(frozen=True)
class Extent:
    """Where on the file's own clock a track begins and ends, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The clip's clock: `origin` on the file's clock is its time 0; `tracks` on the file's clock."""

    tracks: dict[Kind, Extent]

    @property
    def origin(self) -> float:
        """The earliest moment of any track."""
        return min(extent.start for extent in self.tracks.values())

    @property
    def duration(self) -> float:
        """Seconds to the end of the longest track."""
        return max(extent.end for extent in self.tracks.values()) - self.origin


def probe(path: str | Path) -> MediaInfo:
    """Say what is in a file. Raises InputError where there is neither a picture track nor a sound track."""
    with faults_named(path):
        return _probe(path)


def _probe(path: str | Path) -> MediaInfo:
    timeline = read_timeline(path)
    with open_container(path) as container:
        facts: dict[str, Any] = {"format": container.format.name}
        sound = best_stream(container, "audio") if "audio" in timeline.tracks else None
    if sound is not None:
        facts |= {"sound_rate": sound.rate, "channels": sound.channels, "audio_codec": sound.codec_context.name}
    if "video" in timeline.tracks:
        facts |= _picture_facts(path, timeline.origin)
    return MediaInfo(path=str(path), duration=timeline.duration, **facts)


def _picture_facts(path: str | Path, origin: float) -> dict[str, Any]:
    with PictureTrack(path, origin) as track:
        first = next(track.on_display(np.zeros(1)))
        stream = track.stream
        matrix = display_matrix(first[1]) if first else (1, 0, 0, 1)
        wide, high = display_size(stream.width, stream.height, stream.sample_aspect_ratio)
        wide, high = (high, wide) if lies(matrix) else (wide, high)
        return {
            "width": round(wide),
            "height": round(high),
            "rotation": round(math.degrees(math.atan2(matrix[1], matrix[0])) / 90) * 90 % 360,
            "frame_rate": float(stream.average_rate) if stream.average_rate else None,
            "video_codec": stream.codec_context.name,
        }


def read_timeline(path: str | Path) -> Timeline:
    """Learn when each track begins and ends. Raises InputError where no track has a packet."""
    tracks = {kind: extent for kind in _KINDS if (extent := _extent(path, kind)) is not None}
    if not tracks:
        raise InputError(f"{path}: holds neither pictures nor sound.")
    return Timeline(tracks)


def _extent(path: str | Path, kind: Kind) -> Extent | None:
    """Beginning and end of a track, from its last packets where the file is long, else from all; decodes nothing."""
    for tail_only in (True, False):
        with open_container(path) as container:
            stream = best_stream(container, kind)
            if stream is None:
                return None
            if tail_only and not _go_to_tail(container, stream):
                continue
            discard_others(container, stream)
            begun = stream.start_time * float(stream.time_base) if stream.start_time is not None else None
            extent = _span(_stamps(container, stream), begun, _declared_end(container))
        if extent is not None:
            return extent
    return None


def _declared_end(container: av.container.InputContainer) -> float:
    return ((container.start_time or 0) + container.duration) / av.time_base if container.duration else math.inf


def _go_to_tail(container: av.container.InputContainer, stream: Any) -> bool:
    """Seek to the last seconds of a long file; False where that is not wanted or not possible."""
    if not (container.duration or 0) / av.time_base > _LONG or stream.start_time is None:
        return False
    try:
        container.seek(round((_declared_end(container) - _TAIL) * av.time_base))
    except av.FFmpegError:
        return False
    return True


def _stamps(container: av.container.InputContainer, stream: Any) -> Iterator[tuple[float, float]]:
    """Start and length of each packet in seconds, to the end or as far as the file can be read."""
    tick, period, following = float(stream.time_base), frame_period(stream), 0.0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                stamp = packet.pts if packet.pts is not None else packet.dts
                length = packet.duration * tick if packet.duration else period
                start = stamp * tick if stamp is not None else following
                following = start + length
                yield start, length
    except UNREADABLE:
        return


def _span(stamps: Iterator[tuple[float, float]], begun: float | None, declared: float) -> Extent | None:
    """Earliest start and latest end; a last packet alone and far beyond the declared end is damage."""
    first, last = math.inf, -math.inf
    for start, length in plausible(stamps):
        if last == -math.inf or start <= max(declared, last) + _TAIL:
            first, last = min(first, start), max(last, start + length)
    if last == -math.inf:
        return None
    return Extent(min(first if begun is None else begun, last), last)


def read_clip(path: str | Path, config: Config) -> Clip:
    """The `config.snippets` snippets of a file.

    Raises InputError for anything that is not a local file from which pictures or sound can be had.
    """
    with faults_named(path):
        return _read_clip(path, config)


@contextmanager
def faults_named(path: str | Path) -> Iterator[None]:
    """Whatever a damaged file makes FFmpeg or its binding raise becomes an InputError that names the file."""
    try:
        yield
    except (av.FFmpegError, OSError, ArithmeticError, ValueError, MemoryError) as fault:
        raise InputError(f"{path}: cannot be read ({type(fault).__name__}: {fault}).") from fault


def _read_clip(path: str | Path, config: Config) -> Clip:
    timeline = read_timeline(path)
    if not 0 <= timeline.duration <= _LONGEST:
        raise InputError(f"{path}: its timestamps make no sense ({timeline.duration:.0f} s); re-encode it.")
    times = snippet_times(timeline.duration, config.snippets)
    shown, pictures, picture_damage = _read_pictures(path, timeline, times)
    sound, starts, heard, sound_damage = _read_sound(path, timeline, times, config.sound)
    seen = np.array([picture is not None for picture in pictures])
    if not (seen.any() or heard.any()):
        raise InputError(f"{path}: neither a picture nor a sound in it can be decoded; the file is damaged.")
    damaged = picture_damage + sound_damage
    return Clip(timeline.duration, shown, pictures, sound, starts, heard, seen, damaged)


def _read_pictures(
    path: str | Path, timeline: Timeline, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[Picture | None, ...], int]:
    """Timestamps [T], pictures (T) and the number of damaged packets."""
    shown = times.copy()
    pictures: list[Picture | None] = [None] * len(times)
    if "video" not in timeline.tracks:
        return shown, tuple(pictures), 0
    with PictureTrack(path, timeline.origin) as track:
        aspect = track.stream.sample_aspect_ratio
        for index, found in enumerate(track.on_display(times)):
            if found is not None:
                shown[index], pictures[index] = found[0], FramePicture(found[1], aspect)
        return shown, tuple(pictures), track.damaged


def _read_sound(
    path: str | Path, timeline: Timeline, times: NDArray[np.float64], sound: SoundConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], int]:
    """Windows [T, S], their starts [T], whether heard [T], and the number of damaged packets."""
    count = sound.samples
    windows, heard = np.zeros((len(times), count), np.float32), np.zeros(len(times), np.bool_)
    starts = np.array([centred_start(time, sound) for time in times.tolist()], np.int64)
    if "audio" not in timeline.tracks:
        return windows, starts, heard, 0
    extent = timeline.tracks["audio"]
    first, last = (round((edge - timeline.origin) * sound.rate) for edge in (extent.start, extent.end))
    planned = []
    for index, time in enumerate(times.tolist()):
        if (start := sound_start(time, first, last, sound)) is not None:
            starts[index] = start
            planned.append(index)
    with SoundTrack(path, timeline.origin, sound.rate) as track:
        for span in _spans(planned, starts, count):
            begin = int(starts[span[0]])
            samples, there = track.read(begin, int(starts[span[-1]]) + count)
            for index in span:
                part = slice(int(starts[index]) - begin, int(starts[index]) - begin + count)
                windows[index], heard[index] = samples[part], there[part].any()
        return windows, starts, heard, track.damaged


def _spans(planned: list[int], starts: NDArray[np.int64], count: int) -> list[list[int]]:
    """Groups of snippets whose windows touch: each group is read in one piece."""
    spans: list[list[int]] = []
    for index in planned:
        if spans and starts[index] <= starts[spans[-1][-1]] + count:
            spans[-1].append(index)
        else:
            spans.append([index])
    return spans
