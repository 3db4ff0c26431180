"""A folder of clips as one tape: played one after the other, as if a camera had seen them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avgn.config import SoundConfig
from avgn.errors import InputError
from avgn.media import faults_named, read_timeline
from runtimes.capture.events import KINDS, DeviceEvent, Event, FrameEvent, Kind, SoundEvent, Tape
from runtimes.capture.replay import file_tape
from runtimes.capture.source import State


@dataclass(frozen=True)
class _Part:
    """A clip, and when it begins on the tape."""

    path: Path
    begin: float
    kinds: frozenset[str]


def folder_tape(folder: str | Path, sound: SoundConfig) -> Tape:
    """All clips in `folder`, by name. Raises InputError where there is none."""
    return clips_tape(sorted(path for path in Path(folder).iterdir() if path.is_file()), sound, str(folder))


def clips_tape(paths: Sequence[Path], sound: SoundConfig, where: str = "clips") -> Tape:
    """The clips at `paths` in that order; what is none is left out. Raises InputError where none is left."""
    parts, end = [], 0.0
    for path in paths:
        try:
            with faults_named(path):
                timeline = read_timeline(path)
        except InputError:
            continue
        parts.append(_Part(path, end, frozenset(timeline.tracks)))
        end += timeline.duration
    if not parts:
        raise InputError(f"{where}: there is neither a recording nor a clip in it.")
    there = {kind for part in parts for kind in part.kinds}
    streams = {kind: _events(parts, kind, end, sound) if _track(kind) in there else None for kind in KINDS}
    return Tape(streams["picture"], streams["sound"])


def _track(kind: Kind) -> str:
    return "video" if kind == "picture" else "audio"


def _events(parts: Sequence[_Part], kind: Kind, end: float, sound: SoundConfig) -> Iterator[Event]:
    """Everything of one kind, each clip's moved to its time."""
    reached = 0.0
    for part in parts:
        tape, begin = file_tape(part.path, sound), part.begin
        first = True
        for event in (tape.picture if kind == "picture" else tape.sound) or ():
            if isinstance(event, FrameEvent):
                yield replace(event, time=begin + event.time, date=begin + event.time)
            elif isinstance(event, SoundEvent):
                starts = begin + event.time - len(event.samples) / event.rate
                # the sound of a clip may end before its picture
                hole = first and begin > 0 and starts - reached > 1e-3
                first, reached = False, begin + event.time
                yield replace(event, time=reached, after_gap=event.after_gap or hole)
    yield DeviceEvent(end, kind, State.ENDED)
