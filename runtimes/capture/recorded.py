"""A recording as a tape: all that was brought, at the times at which it came; as far as it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import InputError
from avgn.files import parse_json
from avgn.picture_track import PictureTrack
from avgn.pictures import FramePicture
from avgn.schema import build
from avgn.sound_track import SoundTrack
from runtimes.capture.events import DeviceEvent, Event, FrameEvent, Kind, SoundEvent, Tape
from runtimes.capture.recording import CLOCK, FORMAT, Head, Line, picture_file, sound_file
from runtimes.capture.source import State

_LONGEST_LINE = 10_000


def is_recording(path: str | Path) -> bool:
    """Whether `path` looks like the folder of a recording."""
    return (Path(path) / CLOCK).is_file()


def recorded_tape(folder: str | Path) -> Tape:
    """The tape of a recording. Raises InputError, also while it is played, for one that is not as it should be."""
    head = _head(Path(folder))
    return Tape(
        picture=_Reader(Path(folder)).frames() if head.picture else None,
        sound=_Reader(Path(folder)).blocks() if head.sound else None,
    )


def _head(folder: Path) -> Head:
    for _, data in _raw_lines(folder):
        head = build(Head, data, f"{folder / CLOCK}: line 1")
        if head.format != FORMAT:
            raise InputError(f"{folder}: is a recording of format {head.format}; this version reads {FORMAT}.")
        return head
    raise InputError(f"{folder / CLOCK}: is empty; the recording was stopped before it began.")


def _raw_lines(folder: Path) -> Iterator[tuple[int, object]]:
    """Numbers and contents of the whole lines; one that a kill has cut is the end."""
    path = folder / CLOCK
    try:
        with path.open("rb") as stream:
            number = 0
            while (text := stream.readline(_LONGEST_LINE)).endswith(b"\n"):
                number += 1
                yield number, parse_json(text, f"{path}: line {number}", depth=3)
            if len(text) >= _LONGEST_LINE:
                raise InputError(f"{path}: line {number + 1} is longer than any of a recording.")
    except OSError as fault:
        raise InputError(f"{path}: cannot be read ({fault}).") from fault


class _Reader:
    """Reads the lines of one kind, and the media that belong to them, in step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._time = 0.0

    def frames(self) -> Iterator[Event]:
        part, frame = -1, None
        stored: Iterator[Any] = iter(())
        for line in self._lines("picture"):
            if line.kind == "device":
                yield _device_event(line)
                continue
            if line.part != part:
                part, frame, stored = line.part, None, self._pictures(line.part)
            while frame is None or frame.pts < line.pts:
                if (frame := next(stored, None)) is None:
                    break
            if frame is None:  # a kill took it
                break
            if frame.pts == line.pts:
                yield FrameEvent(line.time, FramePicture(frame), line.size, line.date, line.lost)
        yield DeviceEvent(self._time, "picture", State.ENDED)

    def blocks(self) -> Iterator[Event]:
        part, held = -1, np.empty(0, np.float32)
        stored: Iterator[NDArray[np.float32]] = iter(())
        for line in self._lines("sound"):
            if line.kind == "device":
                yield _device_event(line)
                continue
            if line.part != part:
                part, held, stored = line.part, np.empty(0, np.float32), self._samples(line.part)
            while len(held) < line.samples and (more := next(stored, None)) is not None:
                held = np.concatenate((held, more))
            if len(held) < line.samples:  # a kill took it
                break
            yield SoundEvent(line.time, held[: line.samples], line.rate, line.overflow, line.after_gap)
            held = held[line.samples :]
        yield DeviceEvent(self._time, "sound", State.ENDED)

    def _lines(self, kind: Kind) -> Iterator[Line]:
        for number, data in _raw_lines(self._folder):
            if number == 1:
                continue
            line = build(Line, data, f"{self._folder / CLOCK}: line {number}")
            if kind in (line.kind, line.device):
                self._time = max(self._time, line.time)
                yield line

    def _pictures(self, part: int) -> Iterator[Any]:
        with suppress(InputError), PictureTrack(self._folder / picture_file(part), 0.0) as track:
            yield from (frame for frame in track.decoded() if frame.pts is not None)

    def _samples(self, part: int) -> Iterator[NDArray[np.float32]]:
        with suppress(InputError), SoundTrack(self._folder / sound_file(part), 0.0, 8000) as track:
            for frame in track.decoded():
                yield frame.to_ndarray().reshape(-1).astype(np.float32) / 32767


def _device_event(line: Line) -> DeviceEvent:
    if line.state not in list(State) or not line.device:
        raise InputError(f"recording: the state {line.state!r:.40} of device {line.device!r} is not known.")
    return DeviceEvent(line.time, line.device, State(line.state), line.fault)
